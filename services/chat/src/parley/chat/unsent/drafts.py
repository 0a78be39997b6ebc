"""Drafts: what a user is writing, the same on all of their devices.

A draft changes with each few letters and is of no interest to anybody else, so it is no event. The last text counts: it
is stored at most every two seconds, and told to the user's other devices then. A process that is killed forgets what
came since. `run` is one task.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, NamedTuple

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import Instant
from parley.chat.domain.fields import RoomId
from parley.chat.log.database import DATABASE_ERRORS, Pool, reachable
from parley.chat.log.erasure.erasures import ANY_OPEN
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.chat.reading.latest_values import LatestValues
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.common.wire.text import checked_text
from parley.framework import Code, Delivery, Identity, Reject, RoomEvent, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot store drafts")

INTERVAL = 2.0
"""Seconds between two writes of one draft."""
TICK = 0.1
BATCH = 50
"""Drafts in one statement."""
MOST = 500
"""Drafts that wait to be stored, each of as many bytes as a message. Further ones are refused with `overloaded`."""
MAX_DRAFTS = 200
"""Drafts that are kept of one user. The one that was changed the longest ago goes first."""

_MAY_SEE = f"SELECT true FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}"
_PUT = f"""
INSERT INTO chat.drafts (user_id, room_id, thread, body, reply_to)
SELECT q.* FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
  AS q(user_id, room_id, thread, body, reply_to)
WHERE q.body <> '' AND CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
  SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id = q.user_id
) ELSE true END
ORDER BY q.user_id, q.room_id, q.thread
ON CONFLICT (user_id, room_id, thread) DO UPDATE
SET body = excluded.body, reply_to = excluded.reply_to, updated_at = clock_timestamp()
"""
_REMOVE = """
DELETE FROM chat.drafts d
USING unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS q(user_id, room_id, thread, body)
WHERE d.user_id = q.user_id AND d.room_id = q.room_id AND d.thread = q.thread AND q.body = ''
"""
_BOUND = """
DELETE FROM chat.drafts WHERE (user_id, room_id, thread) IN (
  SELECT d.user_id, d.room_id, d.thread FROM unnest($1::text[]) AS q(user_id) CROSS JOIN LATERAL (
    SELECT user_id, room_id, thread FROM chat.drafts WHERE user_id = q.user_id ORDER BY updated_at DESC OFFSET $2
  ) d
)
"""
# By the newest first, as many as fit an answer.
_LIST = """
SELECT room_id, thread, body, reply_to, updated_at FROM (
  SELECT *, sum(octet_length(body) + 200) OVER (ORDER BY updated_at DESC, room_id, thread) AS size
  FROM chat.drafts WHERE user_id = $1
) d WHERE size < 300000 ORDER BY updated_at DESC, room_id, thread
"""


class PutDraft(msgspec.Struct, frozen=True):
    """`draft.put`: what the user is writing in a room, or in a thread of it. An empty text is none."""

    room: RoomId
    body: Annotated[str, msgspec.Meta(max_length=80 * 1024)]
    thread: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    reply_to: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None


class ListDrafts(msgspec.Struct, frozen=True):
    """`drafts`: what the user is writing anywhere."""


class StoredDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user is writing; with an empty text, nothing any more. `updated_at` is left out while it is not stored."""

    room: str
    body: str
    thread: int | None = None
    reply_to: int | None = None
    updated_at: Instant | None = None


class StoredDrafts(msgspec.Struct, frozen=True):
    """What a user is writing, what was changed last first."""

    drafts: list[StoredDraft]


class _Place(NamedTuple):
    user_id: str
    room_id: int
    thread: int


class DraftKeeper:
    """The drafts that wait to be stored in this process."""

    def __init__(self, pool: Pool, rooms: RoomPublisher, max_body: int) -> None:
        self._pool = pool
        self._rooms = rooms
        self._max_body = max_body
        self._waiting: LatestValues[_Place, PutDraft] = LatestValues(INTERVAL, MOST, lambda _, later: later)

    async def put(self, identity: Identity, said: PutDraft) -> None:
        """Keep a draft. Raises `Reject`."""
        if len(said.body) > self._max_body or len(checked_text(said.body)) > self._max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {self._max_body} bytes of text.")
        key = key_of(said.room)
        with reachable():
            if not await self._pool.fetchval(_MAY_SEE, identity.user_id, key):
                raise no_such_room()
        # Asked before it waits, and not again when it is stored: only the user sees it, wherever they are by then.
        if not self._waiting.put(_Place(identity.user_id, key, said.thread or 0), said):
            raise Reject(Code.OVERLOADED)

    async def listed(self, identity: Identity, _asked: ListDrafts) -> StoredDrafts:
        """Return what a user is writing, as far as it is stored."""
        with reachable():
            rows = await self._pool.fetch(_LIST, identity.user_id)
        return StoredDrafts([_draft(row) for row in rows])

    async def run(self) -> None:
        """Store what waits, for ever."""
        while True:
            await asyncio.sleep(TICK)
            if drafts := self._waiting.take(time.monotonic(), BATCH):
                await self._store(drafts)

    async def flush(self) -> None:
        """Store all that waits, because the process stops."""
        drafts = list(self._waiting.take_all().items())
        for start in range(0, len(drafts), BATCH):
            await self._store(dict(drafts[start : start + BATCH]))

    async def _store(self, drafts: dict[_Place, PutDraft]) -> None:
        users, rooms, threads = (list(column) for column in zip(*drafts, strict=True))
        bodies = [draft.body for draft in drafts.values()]
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                # One transaction, so that nobody ever sees more of a user's drafts than are kept.
                await connection.execute(_PUT, users, rooms, threads, bodies, [d.reply_to for d in drafts.values()])
                await connection.execute(_REMOVE, users, rooms, threads, bodies)
                await connection.execute(_BOUND, list(set(users)), MAX_DRAFTS)
        except (*DATABASE_ERRORS, Reject) as error:
            outages.note(error)
            # A later text of the same draft, which has come meanwhile, stays.
            self._waiting.put_back(drafts)
            return
        except asyncio.CancelledError:
            self._waiting.put_back(drafts)  # the process stops, and stores once more what waits
            raise
        told = [
            (subjects.user_room(place.user_id), Delivery([RoomEvent("draft", _encoded(place, said), volatile=True)]))
            for place, said in drafts.items()
        ]
        try:
            await self._rooms.publish_all(told)
        except Exception as error:
            log.warning("other devices were not told of drafts", exc_info=error)


def _encoded(place: _Place, said: PutDraft) -> bytes:
    return msgspec.json.encode(
        StoredDraft(public_room_id(place.room_id), said.body, place.thread or None, said.reply_to)
    )


def _draft(row: Any) -> StoredDraft:
    return StoredDraft(
        public_room_id(row["room_id"]), row["body"], row["thread"] or None, row["reply_to"], row["updated_at"]
    )  # fmt: skip
