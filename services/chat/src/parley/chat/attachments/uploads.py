"""Uploads: a file is announced, sent in parts, and said to be complete; then it is looked at, and may be attached.

What is announced is what must come: size, type and SHA-256 are compared with the bytes. Who announces more than their
quota is refused before a byte is taken. Each part is a request of its own, so a slow line loses a part and not a file,
and a part that stalls ends by the server's deadline for a body.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec

from parley.chat.attachments.byte_store import NO_SUCH, STORE_ERRORS, ByteStore
from parley.chat.attachments.inspection import Inspector, Mismatch
from parley.chat.attachments.media_types import allowed, named
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.log.database import Pool
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.user_shares import UserShares
from parley.common.wire.text import check_name

log = get_logger(__name__)

PART = 1024 * 1024
"""Bytes of each part but the last: what fits any proxy, and the server's deadline on a slow line."""
PENDING_SECONDS = 3600
"""For which the parts of an upload are waited for."""
READY_SECONDS = 24 * 3600
"""For which a complete upload waits to be attached."""
MAX_WAITING = 20
"""Uploads of one user that no message has."""
AT_ONCE, AT_ONCE_EACH = 16, 4
"""Parts that one process takes at a time, and of one user: each is in memory until it is stored."""
LOOKED_AT, LOOKED_AT_EACH = 8, 2
"""Complete files that one process looks at, at a time, and of one user."""
TOTAL_SECONDS = 30.0
"""For which the size of all uploads together is remembered."""
CLAIM = "2 minutes"
"""After which a check is taken to have died with its process."""
_FIELDS = "upload_id, name, type, size, state, created_at, expires_at, width, height, thumbnail, room_id, sequence"

_LOCK_USER = "SELECT pg_advisory_xact_lock(hashtextextended('uploads of ' || $1, 0))"
_USED = """
SELECT coalesce(sum(size) FILTER (WHERE state <> 'kept'), 0)::bigint,
  coalesce(sum(size) FILTER (WHERE state = 'kept'), 0)::bigint,
  count(*) FILTER (WHERE state IN ('pending', 'checking', 'ready'))
FROM chat.uploads WHERE user_id = $1
"""
_TOTAL = "SELECT coalesce(sum(size), 0)::bigint FROM chat.uploads"
_CREATE = """
INSERT INTO chat.uploads (upload_id, user_id, state, name, type, size, sha256, expires_at)
VALUES ($1, $2, 'pending', $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7)) RETURNING expires_at
"""
_OWN = f"""
SELECT {_FIELDS}, sha256, expires_at > clock_timestamp() AS fresh FROM chat.uploads
WHERE upload_id = $1 AND user_id = $2 AND state <> 'kept'
"""
_CLAIM = f"""
UPDATE chat.uploads SET state = 'checking', claimed_at = clock_timestamp()
WHERE upload_id = $1 AND user_id = $2 AND expires_at > clock_timestamp() AND (
  state = 'pending' OR (state = 'checking' AND claimed_at < clock_timestamp() - interval '{CLAIM}')
) RETURNING claimed_at
"""
_SETTLE = f"""
UPDATE chat.uploads SET state = $3, width = $4, height = $5, thumbnail = $6,
  expires_at = CASE $3 WHEN 'ready' THEN clock_timestamp() + interval '{READY_SECONDS} s'
                       WHEN 'gone' THEN clock_timestamp() ELSE expires_at END
WHERE upload_id = $1 AND claimed_at = $2 AND state = 'checking' RETURNING {_FIELDS}
"""
_DROP = """
UPDATE chat.uploads SET state = 'gone', expires_at = clock_timestamp()
WHERE upload_id = $1 AND user_id = $2 AND state IN ('pending', 'ready') RETURNING true
"""
_LIST = f"""
SELECT {_FIELDS} FROM chat.uploads WHERE user_id = $1 AND upload_id > $2 AND state NOT IN ('gone', 'kept')
ORDER BY upload_id LIMIT $3
"""


class NewUpload(msgspec.Struct, frozen=True):
    """Announces a file: its name, bytes, media type, and the SHA-256 of its bytes in hexadecimal digits."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    size: Annotated[int, msgspec.Meta(ge=1)]
    type: Annotated[str, msgspec.Meta(max_length=200)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]


class UploadPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the bytes go: in `parts` parts of `part_size` bytes, or with one PUT to `url`."""

    id: UUID
    expires_at: datetime
    parts: int = 0
    part_size: int = 0
    url: str | None = None


class UploadView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An upload as its user sees it. `room` and `message`, a sequence, are of the message that has it."""

    id: UUID
    name: str
    type: str
    size: int
    state: str
    created_at: datetime
    expires_at: datetime | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: bool = False
    room: str | None = None
    message: int | None = None


class Uploads:
    """Takes files. One for a process."""

    def __init__(self, pool: Pool, store: ByteStore, inspector: Inspector, settings: ChatSettings) -> None:
        self._pool = pool
        self._store = store
        self._inspector = inspector
        self._settings = settings
        self._taking = UserShares(AT_ONCE, AT_ONCE_EACH)
        self._looking = UserShares(LOOKED_AT, LOOKED_AT_EACH)
        self._total = 0
        self._total_at = -TOTAL_SECONDS

    async def create(self, user_id: str, asked: NewUpload) -> UploadPlace:
        """Announce a file. Raises `Reject`."""
        check_name(asked.name)
        if asked.name in {".", ".."} or any(char in "/\\" for char in asked.name):
            raise Reject(Code.INVALID_PAYLOAD, "A file's name holds no path.")
        kind = named(asked.type)
        if kind is None or not allowed(kind, self._settings.upload_types):
            raise Reject(Code.FORBIDDEN, "Files of this type are not taken.")
        if asked.size > self._settings.chat_upload_max_size:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A file is at most {self._settings.chat_upload_max_size} bytes.")
        upload, digest = uuid4(), bytes.fromhex(asked.sha256)
        async with self._pool.acquire() as connection:
            await self._check_total(connection, asked.size)
            try:
                expires_at = await self._announce(connection, (upload, user_id, asked.name, kind, asked.size, digest))
            except BaseException:
                # Who announces more than they may takes no place of others.
                self._total -= asked.size
                raise
        if (url := self._store.address_for_sending(upload, PENDING_SECONDS)) is not None:
            return UploadPlace(upload, expires_at, url=url)
        return UploadPlace(upload, expires_at, parts_of(asked.size), PART)

    async def put_part(self, user_id: str, upload: UUID, part: int, pieces: AsyncIterator[bytes]) -> None:
        """Take a part. Sending it again replaces it. Raises `Reject`."""
        row = await self._own(user_id, upload)
        if row["state"] != "pending" or not row["fresh"]:
            raise Reject(Code.NOT_FOUND, "This upload takes no more parts.")
        parts = parts_of(row["size"])
        if not 0 <= part < parts:
            raise Reject(Code.INVALID_PAYLOAD, f"This upload has parts 0 to {parts - 1}.")
        expected = PART if part < parts - 1 else row["size"] - part * PART
        self._taking.check(user_id)
        with self._taking.place(user_id):
            data = bytearray()
            async for piece in pieces:
                data += piece
                # Not read to its end: what is too long is refused in any case.
                if len(data) > expected:
                    break
            if len(data) != expected:
                raise Reject(Code.INVALID_PAYLOAD, f"This part has {expected} bytes.")
            with _stored():
                await self._store.put_part(upload, part, bytes(data))

    async def complete(self, user_id: str, upload: UUID) -> UploadView:
        """Have a file looked at; from then on it may be attached. Doing it again is harmless. Raises `Reject`."""
        row = await self._own(user_id, upload)
        if row["state"] in {"ready", "attached"}:
            return view(row)
        if row["state"] == "gone" or not row["fresh"]:
            raise no_such_upload()
        self._looking.check(user_id)
        with self._looking.place(user_id):
            return await self._look(user_id, upload, row)

    async def _look(self, user_id: str, upload: UUID, row: Any) -> UploadView:
        # Two checks of one upload would both read all of it. If a check's process died, `CLAIM` lets another one in.
        claimed = await self._pool.fetchval(_CLAIM, upload, user_id)
        if claimed is None:
            raise Reject(Code.UNAVAILABLE, "This upload is being looked at; ask again.")
        state, seen = "pending", None
        try:
            with _stored():
                seen = await self._inspector.look(upload, row, parts_of(row["size"]))
            state = "ready"
        except Mismatch:
            # It will never be what it was said to be.
            state = "gone"
            raise
        except NO_SUCH:
            raise Reject(Code.INVALID_PAYLOAD, "Not all of the file was sent.") from None
        finally:
            picture = (seen.width, seen.height, len(seen.data)) if seen is not None else (None, None, 0)
            # By the time of the claim: if this check took so long that another one claimed the upload, that one
            # decides.
            settled = await self._pool.fetchrow(_SETTLE, upload, claimed, state, *picture)
        if settled is None:
            raise no_such_upload()
        with _stored():
            # After the row says that the whole file is there. What is left of them goes with the file.
            await self._store.remove_parts(upload, parts_of(row["size"]))
        return view(settled)

    async def drop(self, user_id: str, upload: UUID) -> None:
        """Throw an upload away that no message has. Raises `Reject(not_found)`."""
        if not await self._pool.fetchval(_DROP, upload, user_id):
            raise no_such_upload()

    async def own(self, user_id: str, after: UUID | None, limit: int) -> tuple[list[UploadView], bool]:
        """Return uploads of a user by their ids, after one of them, and whether there are more."""
        rows = await self._pool.fetch(_LIST, user_id, after or UUID(int=0), limit + 1)
        return [view(row) for row in rows[:limit]], len(rows) > limit

    async def _own(self, user_id: str, upload: UUID) -> Any:
        row = await self._pool.fetchrow(_OWN, upload, user_id)
        if row is None:
            raise no_such_upload()
        return row

    async def _check_total(self, connection: Any, size: int) -> None:
        if (most := self._settings.chat_upload_total) == 0:
            return
        if (now := time.monotonic()) - self._total_at > TOTAL_SECONDS:
            self._total, self._total_at = await connection.fetchval(_TOTAL), now
        if self._total + size > most:
            log.error("no room for uploads", used=self._total, most=most)
            raise Reject(Code.LIMIT_EXCEEDED, "This server has no room for more files.")
        # Counted here until the sum is read anew, so that many announcements within that time do not all find room.
        self._total += size

    async def _announce(self, connection: Any, row: tuple[Any, ...]) -> datetime:
        """Keep an announcement within its user's quota, and return until when it waits. Raises `Reject`."""
        _, user_id, _, _, size, _ = row
        quota = self._settings.chat_upload_quota
        async with connection.transaction():
            # Announcements of one user come one after the other, or two at once would both find room.
            await connection.execute(_LOCK_USER, user_id)
            used, kept, waiting = await connection.fetchrow(_USED, user_id)
            if waiting >= MAX_WAITING:
                raise Reject(Code.LIMIT_EXCEEDED, f"At most {MAX_WAITING} uploads wait to be attached.")
            # Whoever is reported learns nothing of it: what is kept for moderators is not in their list, nor in
            # their way. But two who report each other would fill the disk, so it is once as much as their quota.
            if used + max(0, kept - quota) + size > quota:
                raise Reject(Code.LIMIT_EXCEEDED, f"Your files are at most {quota} bytes.")
            return await connection.fetchval(_CREATE, *row, PENDING_SECONDS)


@contextmanager
def _stored() -> Generator[None]:
    """Refuse with `unavailable` if the store fails inside of the block; what is not there is left to the caller."""
    try:
        yield
    except NO_SUCH:
        raise
    except STORE_ERRORS as error:
        log.error("files cannot be stored or read", error=str(error))
        raise Reject(Code.UNAVAILABLE, "Files cannot be stored now; try again.") from error


def parts_of(size: int) -> int:
    """Return how many parts a file of so many bytes has."""
    return -(-size // PART)


def no_such_upload() -> Reject:
    """Return what is said of an upload that does not exist, and in the same words of somebody else's."""
    return Reject(Code.NOT_FOUND, "There is no such upload.")


def view(row: Any) -> UploadView:
    """Return an upload's row as its user sees it."""
    room_id = row["room_id"]
    return UploadView(
        row["upload_id"], row["name"], row["type"], row["size"], row["state"], row["created_at"], row["expires_at"],
        row["width"], row["height"], row["thumbnail"] > 0, None if room_id is None else public_room_id(room_id),
        row["sequence"],
    )  # fmt: skip
