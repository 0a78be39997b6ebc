"""Hands files out to those who may read their messages: by tickets, which are looked at whenever a file is fetched.

A file that is in no message is its user's alone, and who uploaded a file may always have it back. Of a message that is
deleted, or being erased, nobody gets the file, but for the moderators who see a report of a message that was deleted.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec

from parley.chat.attachments import file_tickets
from parley.chat.attachments.byte_store import STORE_ERRORS, ByteStore
from parley.chat.attachments.file_tickets import FileTicket, ReportOfTicket
from parley.chat.attachments.uploads import no_such_upload
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import HIDDEN
from parley.chat.log.event_store import read_secret
from parley.chat.queries.visibility import VISIBLE
from parley.common.errors import Code, Reject
from parley.common.user_shares import UserShares

MAX_TICKETS = 100
AT_ONCE, AT_ONCE_EACH = 64, 16
"""Files that one process hands out at a time, and to one user."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_FIELDS = "u.upload_id, u.name, u.type, u.size, u.sha256, u.thumbnail"
# The message is looked at in the same snapshot: one that is erased, or being erased, has no files any more.
_READABLE = f"""
SELECT {_FIELDS} FROM chat.uploads u
WHERE u.upload_id = ANY($2::uuid[]) AND u.state IN ('ready', 'attached') AND (
  (u.state = 'ready' AND u.user_id = $1 AND u.expires_at > clock_timestamp())
  OR (u.state = 'attached' AND (
    SELECT e.version <> 0 AND NOT {HIDDEN} FROM chat.events e
    WHERE e.room_id = u.room_id AND e.sequence = u.sequence LIMIT 1
  ) AND (u.user_id = $1 OR (SELECT true FROM chat.rooms r WHERE r.room_id = u.room_id AND {VISIBLE} LIMIT 1)))
)
"""

_REPORTED = f"""
SELECT {_FIELDS} FROM chat.uploads u WHERE u.upload_id = ANY($1::uuid[]) AND u.state IN ('attached', 'kept')
"""

SeesFiles = Callable[[str, int, UUID, bool], Awaitable[Collection[UUID]]]
"""Says which files a user sees by a report now; as `ReportOfTicket` has it. Raises `Reject` for who may not see it."""


class AskFiles(msgspec.Struct, frozen=True):
    """`files`: addresses of files, by the ids that messages name."""

    uploads: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MAX_TICKETS)]


class FileAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a file is fetched from, without a token and until `expires_at`, and where its thumbnail is."""

    id: UUID
    url: str
    expires_at: datetime
    thumbnail_url: str | None = None


class FileAddresses(msgspec.Struct, frozen=True):
    """The addresses of those files that the user may have; others are left out."""

    files: list[FileAddress]


class Readable(NamedTuple):
    """A file that somebody may have now."""

    upload: UUID
    name: str
    type: str
    size: int
    etag: str


class Downloads:
    """Hands files out. One for a process."""

    def __init__(self, pool: Pool, store: ByteStore, sees: SeesFiles) -> None:
        self._pool = pool
        self._store = store
        self._sees = sees
        self._key = b""
        self._handing = UserShares(AT_ONCE, AT_ONCE_EACH)

    async def addresses(self, user_id: str, uploads: list[UUID]) -> FileAddresses:
        """Return addresses for the files that a user may have."""
        return await self._addresses(user_id, await self._pool.fetch(_READABLE, user_id, uploads), None)

    async def of_report(self, user_id: str, report: ReportOfTicket) -> FileAddresses:
        """Return addresses for the files of a reported message, to who may see the report. Raises `Reject`."""
        rows = await self._pool.fetch(_REPORTED, list(await self._sees(user_id, *report)))
        return await self._addresses(user_id, rows, report)

    async def _addresses(self, user_id: str, rows: list[Any], report: ReportOfTicket | None) -> FileAddresses:
        key = await self._secret()
        until = file_tickets.expiry(time.time())
        found: list[FileAddress] = []
        for row in rows:
            upload: UUID = row["upload_id"]
            address = f"/api/files/{file_tickets.write(FileTicket(upload, user_id, until, report), key)}"
            small = f"{address}/thumbnail" if row["thumbnail"] else None
            found.append(FileAddress(upload, f"{address}/file", datetime.fromtimestamp(until, UTC), small))
        return FileAddresses(found)

    async def redeem(self, text: str, what: str) -> tuple[str, Readable]:
        """Return whose ticket this is and the file that they may have by it now. Raises `Reject(not_found)`."""
        ticket = file_tickets.read(text, await self._secret(), time.time())
        if ticket is None:
            raise no_such_upload()
        row = await self._row(ticket)
        if row is None or (what == "thumbnail" and not row["thumbnail"]):
            raise no_such_upload()
        etag = f'"{row["sha256"].hex()[:32]}-{what}"'
        if what == "thumbnail":
            return ticket.user_id, Readable(ticket.upload, "thumbnail.webp", "image/webp", row["thumbnail"], etag)
        return ticket.user_id, Readable(ticket.upload, row["name"], row["type"], row["size"], etag)

    async def _row(self, ticket: FileTicket) -> Any:
        if ticket.report is None:
            return await self._pool.fetchrow(_READABLE, ticket.user_id, [ticket.upload])
        try:
            seen = await self._sees(ticket.user_id, *ticket.report)
        except Reject as refusal:
            if refusal.retryable:
                raise
            return None
        return await self._pool.fetchrow(_REPORTED, [ticket.upload]) if ticket.upload in seen else None

    async def bytes_of(self, user_id: str, upload: UUID, what: str, first: int, last: int) -> AsyncIterator[bytes]:
        """Return the bytes of a file from the first to the last, as a user asks for them. Raises `Reject`.

        Its first bytes are read before this returns, so that a store that fails is an answer and not a broken one.
        """
        self._handing.check(user_id)
        pieces = self._store.read(upload, what, first, last)
        try:
            async with asyncio.timeout(10.0):
                # Once the head of an answer is out, all that can be said of a failure is to break off.
                begun = await anext(pieces, b"")
        except STORE_ERRORS as error:
            raise Reject(Code.UNAVAILABLE, "Files cannot be read now; try again.") from error
        return self._hand_out(user_id, begun, pieces)

    async def _hand_out(self, user_id: str, begun: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self._handing.place(user_id):
            yield begun
            async for piece in pieces:
                yield piece

    async def _secret(self) -> bytes:
        if not self._key:
            async with self._pool.acquire() as connection:
                self._key = await read_secret(connection)
        return self._key


def part_of(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte of the one range that a header Range asks for (RFC 9110, section 14).

    None stands for the whole file: for a header that is not understood, and for several ranges at once. Raises
    `ValueError` for a range that the file does not have. Pure.
    """
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[1] == match[2] == "":
        return None
    # `-500` asks for the last 500 bytes, which may be more than there are (section 14.1.2).
    if match[1] == "":
        length = min(size, int(match[2]))
        if length == 0:
            raise ValueError(asked)
        return size - length, size - 1
    first = int(match[1])
    last = min(size - 1, int(match[2])) if match[2] else size - 1
    # Such a range is invalid, and a header with an invalid one is ignored (section 14.1.1).
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise ValueError(asked)
    return first, last
