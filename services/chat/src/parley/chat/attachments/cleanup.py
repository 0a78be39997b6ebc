"""Removes files that nobody may have any more: a consumer of the log, and a look at what has expired.

The consumer `chat.files` is handed the events that say which messages are no more, again until their files are removed.
Uploads that were thrown away, refused or never attached, and those of a user who is being erased, are found by looking.

What a report names is kept when its message is deleted, while the report is open and for a time after it. Whether it is
named is asked again at each look, so whatever becomes of a report, nothing has to be told here. An erasure keeps
nothing: it goes over reports.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from parley.chat.attachments.byte_store import STORE_ERRORS, ByteStore
from parley.chat.attachments.uploads import parts_of
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.common.errors import Reject
from parley.common.process.outage_log import OutageLog
from parley.framework import LogEvent, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "expired uploads cannot be removed")

NAME = "chat.files"
EVENTS = "message.deleted, events.erased"
LOOK_SECONDS = 30.0
AT_ONCE = 100
FAILURES: tuple[type[Exception], ...] = (*DATABASE_ERRORS, *STORE_ERRORS, Reject)
"""What removing may raise; what is left is removed at the next look."""

_OF_MESSAGES = """
SELECT upload_id, size FROM chat.uploads WHERE room_id = $1 AND sequence BETWEEN $2 AND $3
"""
# First the files are of no message any more, and then it is asked who names them. A report that is being made locks the
# files it names while they are a message's: so it is seen here, or finds none.
_KEEP = """
UPDATE chat.uploads SET state = 'kept' WHERE upload_id = ANY(ARRAY(
  SELECT upload_id FROM chat.uploads WHERE room_id = $1 AND sequence = $2 AND state = 'attached'
  ORDER BY upload_id FOR NO KEY UPDATE
))
"""
_NAMED = """EXISTS (
  SELECT FROM chat.reports r, json_array_elements(r.copy) one,
    json_array_elements(coalesce(one -> 'attachments', '[]')) file
  WHERE r.room_id = u.room_id AND r.message = u.sequence AND file ->> 'id' = u.upload_id::text
    AND (r.state = 'open' OR r.resolved_at > clock_timestamp() - make_interval(secs => $1))
)"""
_OF_DELETED = f"""
SELECT upload_id, size FROM chat.uploads u WHERE room_id = $2 AND sequence = $3 AND NOT {_NAMED}
"""
_NO_MORE_NAMED = f"""
UPDATE chat.uploads
SET state = 'gone', claimed_at = clock_timestamp(), expires_at = clock_timestamp() + interval '1 minute'
WHERE upload_id = ANY(ARRAY(
  SELECT upload_id FROM chat.uploads u WHERE state = 'kept' AND NOT {_NAMED} LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING upload_id, size
"""
# What is claimed is not claimed again for a minute: a process that died in between leaves it to the next one.
_EXPIRED = """
UPDATE chat.uploads
SET state = 'gone', claimed_at = clock_timestamp(), expires_at = clock_timestamp() + interval '1 minute'
WHERE upload_id = ANY(ARRAY(
  SELECT upload_id FROM chat.uploads
  WHERE expires_at < clock_timestamp()
    OR (expires_at IS NOT NULL AND state <> 'gone' AND user_id IN (
      SELECT user_id FROM chat.erasures WHERE completed_at IS NULL AND user_id IS NOT NULL))
  LIMIT $1 FOR UPDATE SKIP LOCKED
)) RETURNING upload_id, size
"""
_FORGET = "DELETE FROM chat.uploads WHERE upload_id = $1"


class FileCleanup:
    """Removes bytes first, and then the row that tells of them, so that no bytes are ever left without one."""

    def __init__(self, pool: Pool, store: ByteStore, kept_seconds: float) -> None:
        self._pool = pool
        self._store = store
        self._kept_seconds = kept_seconds

    async def consume(self, events: list[LogEvent]) -> None:
        """Remove the files of messages that are no more. Raises what fails; then the events come again."""
        for event in events:
            room_id = room_key(event.room)
            if event.type == "events.erased":
                for first, last in event.data["ranges"]:
                    await self._remove(await self._pool.fetch(_OF_MESSAGES, room_id, first, last))
            elif event.type == "message.deleted":
                message: int = event.data["message"]
                await self._pool.fetch(_KEEP, room_id, message)
                await self._remove(await self._pool.fetch(_OF_DELETED, self._kept_seconds, room_id, message))

    async def run(self) -> None:
        """Look for what has expired, for ever."""
        while True:
            try:
                while await self.look():
                    pass
            except FAILURES as error:
                outages.note(error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Remove what has expired, or was kept long enough, some of it at once. Returns how many uploads that were."""
        rows = await self._pool.fetch(_EXPIRED, AT_ONCE)
        rows += await self._pool.fetch(_NO_MORE_NAMED, self._kept_seconds, AT_ONCE)
        await self._remove(rows)
        return len(rows)

    async def _remove(self, rows: list[Any]) -> None:
        for row in rows:
            upload: UUID = row["upload_id"]
            await self._store.remove(upload, parts_of(row["size"]))
            await self._pool.fetchval(_FORGET, upload)
