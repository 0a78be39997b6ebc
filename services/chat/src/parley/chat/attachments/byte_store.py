"""Where the bytes of files are: in a directory, or in a bucket of any S3. `obstore` is the same for both.

    UPLOAD/part-N        what was sent so far, while the upload is pending
    UPLOAD/file          the file
    UPLOAD/thumbnail     a small picture of it

Names are made of ids alone, never of what users call their files. All of it is in pieces: no file is in memory as a
whole. Calls block, so they are made on threads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import obstore
from obstore.store import LocalStore, S3Store

PIECE = 256 * 1024
"""Bytes that are read at a time."""
NO_SUCH = (FileNotFoundError,)
STORE_ERRORS: tuple[type[Exception], ...] = (OSError, obstore.exceptions.BaseError)
"""What a store may raise. `NO_SUCH` of them mean that something is not there."""


class ByteStore:
    """The directory or the bucket that a setting names."""

    def __init__(self, where: str) -> None:
        """Open it; a directory is made. Raises `STORE_ERRORS`, and `ValueError` for a URL that names no bucket."""
        self._directory: Path | None = None
        if where.startswith("s3://"):
            self._store: Any = S3Store.from_url(where, client_options={"timeout": "30s", "allow_http": True})
        elif "://" in where:
            raise ValueError("PARLEY_CHAT_UPLOADS is a directory, or a bucket as s3://name/prefix")
        else:
            self._directory = Path(where).absolute()
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = LocalStore(str(self._directory))

    def address_for_sending(self, upload: UUID, seconds: int) -> str | None:
        """Return a URL to which the file may be sent with PUT, where the store takes it from clients itself."""
        if self._directory is not None:
            return None
        return cast("Any", obstore).sign(self._store, "PUT", f"{upload}/file", timedelta(seconds=seconds))

    async def put_part(self, upload: UUID, part: int, data: bytes) -> None:
        """Keep a part; one that comes again replaces the former."""
        await asyncio.to_thread(obstore.put, self._store, f"{upload}/part-{part}", data)

    async def put_thumbnail(self, upload: UUID, data: bytes) -> None:
        """Keep a thumbnail."""
        await asyncio.to_thread(obstore.put, self._store, f"{upload}/thumbnail", data)

    async def join(self, upload: UUID, parts: int) -> None:
        """Make the file of its parts; it is on the disk when this returns.

        Raises one of `NO_SUCH` if a part is missing.
        """
        await asyncio.to_thread(self._join, upload, parts)

    async def read(self, upload: UUID, what: str, first: int, last: int) -> AsyncIterator[bytes]:
        """Read bytes of a file, or of its thumbnail, from the first to the last."""
        # Opening, and each piece, may wait for a disk or a bucket, so neither is done on the loop.
        pieces = await asyncio.to_thread(self._pieces, f"{upload}/{what}", first, last)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece

    async def size(self, upload: UUID) -> int:
        """Return the bytes that a file has. Raises one of `NO_SUCH`."""
        return (await asyncio.to_thread(obstore.head, self._store, f"{upload}/file"))["size"]

    async def remove(self, upload: UUID, parts: int) -> None:
        """Remove all that there is of an upload."""
        await asyncio.to_thread(self._remove, upload, ["file", "thumbnail", *_parts(parts)])

    async def remove_parts(self, upload: UUID, parts: int) -> None:
        """Remove the parts of a file that is complete."""
        await asyncio.to_thread(self._remove, upload, _parts(parts))

    def _join(self, upload: UUID, parts: int) -> None:
        # Piece by piece, so that however large the file is, little of it is in memory.
        with obstore.open_writer(self._store, f"{upload}/file") as file:
            for part in range(parts):
                for piece in self._stream(f"{upload}/part-{part}"):
                    file.write(piece)
        if self._directory is not None:
            # A message that is acked names this file: it must survive a power cut as the message does.
            for path in (self._directory / str(upload) / "file", self._directory / str(upload), self._directory):
                opened = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(opened)
                finally:
                    os.close(opened)

    def _pieces(self, path: str, first: int, last: int) -> Iterator[bytes]:
        if last < first:
            return iter(())
        # The store's ranges end before their last byte, those of HTTP with it (RFC 9110, section 14.1.2).
        return self._stream(path, {"range": (first, last + 1)})

    def _stream(self, path: str, options: Any = None) -> Iterator[bytes]:
        found = cast("Any", obstore).get(self._store, path, options=options)
        return (bytes(piece) for piece in found.stream(min_chunk_size=PIECE))

    def _remove(self, upload: UUID, names: list[str]) -> None:
        for name in names:
            with suppress(*NO_SUCH):
                obstore.delete(self._store, f"{upload}/{name}")
        if self._directory is not None:
            with suppress(OSError):  # it is gone, or something is still in it
                (self._directory / str(upload)).rmdir()


def _parts(parts: int) -> list[str]:
    return [f"part-{part}" for part in range(parts)]
