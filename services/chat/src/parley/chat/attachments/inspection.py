"""Looks at a file that is said to be complete: is it what was announced, and is it harmless as far as that can be told.

Nothing is unpacked: of an archive the first bytes are looked at, so an archive that would unpack to terabytes is a
small file here. Images are decoded by a process of their own, within limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from parley.chat.attachments.byte_store import ByteStore
from parley.chat.attachments.media_types import DRAWN, HEAD_BYTES, is_what_it_says
from parley.chat.attachments.scanner import Scanner
from parley.chat.attachments.thumbnails import Thumbnail, ThumbnailMaker
from parley.common.errors import Code, Reject


class Mismatch(Reject):
    """A file that is refused for good."""


class Inspector:
    """Looks at files, one after the other or several at a time."""

    def __init__(self, store: ByteStore, thumbnails: ThumbnailMaker, scanner: Scanner | None) -> None:
        self._store = store
        self._thumbnails = thumbnails
        self._scanner = scanner

    async def look(self, upload: UUID, announced: Any, parts: int) -> Thumbnail | None:
        """Return the thumbnail of a file that is as announced, if it has one. Its parts are joined before.

        Raises `Mismatch` for one that is not, `Reject(unavailable)` if that cannot be told now, and what the store
        raises.
        """
        size: int = announced["size"]
        if self._store.address_for_sending(upload, 1) is None:
            await self._store.join(upload, parts)
        if await self._store.size(upload) != size:
            raise Mismatch(Code.INVALID_PAYLOAD, f"The file does not have {size} bytes.")
        digest, head = hashlib.sha256(), b""
        async for piece in self._bytes(upload, size):
            digest.update(piece)
            if len(head) < HEAD_BYTES:
                head = (head + piece)[:HEAD_BYTES]
        if digest.digest() != announced["sha256"]:
            raise Mismatch(Code.INVALID_PAYLOAD, "The file's bytes have another SHA-256.")
        if not is_what_it_says(announced["type"], head):
            raise Mismatch(Code.INVALID_PAYLOAD, f"The file's bytes are not those of {announced['type']}.")
        try:
            if self._scanner is not None:
                await self._scanner.check(self._bytes(upload, size), size)
            if announced["type"] not in DRAWN:
                return None
            made = await self._thumbnails.make(announced["type"], self._bytes(upload, size))
        except Reject as refused:
            if refused.retryable:
                raise
            raise Mismatch(refused.code, refused.message) from refused
        await self._store.put_thumbnail(upload, made.data)
        return made

    def _bytes(self, upload: UUID, size: int) -> AsyncIterator[bytes]:
        return self._store.read(upload, "file", 0, size - 1)
