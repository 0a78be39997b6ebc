"""Executes an erasure: room by room through the log, a few hundred events per transaction, while everybody writes.

The erasure's row says how far it is, so an executor that takes over after a crash goes on from there; events that are
erased already are skipped. Each transaction locks one room for some milliseconds, as a batch of messages does.

    1. The user's memberships are ended by commands like their own, and their leaving is announced to the gateways.
    2. For a room, the room is archived.
    3. Slice by slice, covered events are overwritten; each room gets `events.erased`, and its projections follow.
    4. An erased room loses its members and commands.
    5. Blocks and reports lose what it covers (`people_rows`), and what single users have of it, or the user has, is
       deleted (`own_rows`).
    6. The erasure is completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg

from parley.chat.domain.batch import Submission, decide_batch
from parley.chat.domain.encoding.compact import pack
from parley.chat.domain.encoding.event_codec import CODEC, ERASED, StoredEvent
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.encoding.room_ids import FIRST_ROOM, LogSecret, event_id, public_room_id
from parley.chat.domain.erasure import (
    ABOUT_MESSAGES,
    ABOUT_USERS,
    KEEPING_TYPES,
    NAMING_TYPES,
    TEXT_TYPES,
    TEXTS,
    Erasure,
    ErasureScope,
    ranges,
    text_of,
)
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.membership import LeaveRoom, MemberInvited
from parley.chat.domain.messages.amendments import AMENDING_TYPES
from parley.chat.domain.messages.reactions import ReactionAdded
from parley.chat.domain.people.invites import InviteCreated
from parley.chat.domain.projectors import PROJECTORS
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import CloseRoom, RoomCreated
from parley.chat.domain.state import UserLimits
from parley.chat.log import event_store
from parley.chat.log.erasure import own_rows, people_rows
from parley.chat.log.erasure.erasures import COVERS, EDITS, MESSAGES, find, numbers_of
from parley.chat.log.messages.message_rows import edits_of, withdraw
from parley.chat.log.own_connection import CONFLICTS
from parley.chat.log.position import Position
from parley.chat.log.tail import ANNOUNCEMENTS
from parley.chat.log.tail import SETTINGS as FOLLOWING
from parley.common.wire.identity import Identity

SLICE = 2000
"""Events that one statement looks through."""
ROOMS = 100
"""Rooms whose events one statement looks through."""
BATCH = 200
"""Events that one transaction erases."""
ATTEMPTS = 100
RETRY = 0.02
"""Seconds before a transaction that met another one is tried again."""
ANNOUNCED_SECONDS = 10.0
"""Seconds to wait until gateways were told that a user left."""

Report = Callable[[Erasure], None]
ResultT = TypeVar("ResultT")

_NAMING = numbers_of(NAMING_TYPES)
_ABOUT_USERS = numbers_of(ABOUT_USERS)
_ABOUT_MESSAGES = numbers_of(ABOUT_MESSAGES)
NEEDED = (KEEPING_TYPES - TEXT_TYPES) | {ReactionAdded.TYPE}
"""The types of events whose data are needed as a whole to say what remains of them, and what follows."""
_NEEDED = numbers_of(NEEDED)

_WHOLE = frozenset(CODEC.stored_as(name)[0] for name in NEEDED)

_BEGIN = "UPDATE chat.erasures SET started_at = coalesce(started_at, clock_timestamp()) WHERE id = $1"
_MOVE = "UPDATE chat.erasures SET at_room = $2, at_sequence = $3 WHERE id = $1"
_COUNT = "UPDATE chat.erasures SET events = events + $2 WHERE id = $1"
_COMPLETE = "UPDATE chat.erasures SET completed_at = clock_timestamp() WHERE id = $1"
_TRANSACTION = "SELECT transaction_id FROM chat.events WHERE room_id = $1 AND event_id = $2"
_ANNOUNCED = f"""
SELECT position FROM chat.consumers WHERE name = '{ANNOUNCEMENTS}' AND EXISTS (
  SELECT FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = '{FOLLOWING["application_name"]}'
)
"""
_ROOMS_OF = "SELECT room_id FROM chat.members WHERE user_id = $1 AND room_id > $2 ORDER BY room_id LIMIT 100"
_ROOMS_FROM = "SELECT room_id, head FROM chat.rooms WHERE room_id >= $1 ORDER BY room_id LIMIT $2"
_ROOMS_AFTER = "SELECT room_id, head FROM chat.rooms WHERE room_id > $1 ORDER BY room_id LIMIT $2"
_ROOM = "SELECT room_id, head FROM chat.rooms WHERE room_id = $1"
_MESSAGE = "SELECT sequence FROM chat.events WHERE room_id = $1 AND event_id = $2"

# What is left of an erased event may say whom it moved where, how the room is called, and of which message it was. If
# such a user or the room is erased, that goes too.
_LEFT_OVER = f"""(CASE WHEN e.type IN ({_ABOUT_USERS}) THEN
  CASE x.scope WHEN 'room' THEN e.data -> 'user' IS NOT NULL ELSE e.data -> 'user' ->> 'id' = x.user_id END
WHEN e.type IN ({_ABOUT_MESSAGES}) THEN x.scope = 'room' AND e.data::text <> '{{}}'
WHEN e.type IN ({_NAMING}) AND x.scope = 'room' THEN
  concat(e.data ->> 'name', e.data ->> 'topic', nullif(e.data ->> 'custom', '{{}}')) <> ''
    OR e.data ->> 'kind' = 'public'
ELSE false END)"""
# Only events that make a room what it is need their data; the texts of all others are not fetched. Of a message, it is
# needed in which thread it is, and of an edit of which message.
_COVERED = f"""
SELECT e.* FROM chat.erasures x
CROSS JOIN unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS q(room_id, after, up_to)
CROSS JOIN LATERAL (
  SELECT e.room_id, e.sequence, e.event_id, e.type, e.version, e.recorded_at,
    CASE WHEN e.type IN ({_NEEDED}) THEN e.data::text
         WHEN e.type IN ({MESSAGES}) AND e.data -> 'thread' IS NOT NULL
         THEN concat('{{"thread":', e.data ->> 'thread', '}}')
         WHEN e.type IN ({EDITS}) AND e.data -> 'message' IS NOT NULL
         THEN concat('{{"message":', e.data ->> 'message', '}}')
         ELSE '{{}}' END AS data
  FROM chat.events e
  WHERE e.room_id = q.room_id AND e.sequence > q.after AND e.sequence <= q.up_to
    AND (e.version <> 0 OR e.actor_id <> '' OR {_LEFT_OVER}) AND {COVERS}
) e
WHERE x.id = $1 ORDER BY e.room_id, e.sequence
"""
_OVERWRITE = """
UPDATE chat.events e
SET version = 0, actor_id = '', actor_name = '', command_id = '', fingerprint = 0, data = left_over.data
FROM unnest($2::bigint[], $3::json[]) AS left_over(sequence, data)
WHERE e.room_id = $1 AND e.sequence = left_over.sequence
"""
_NOTIFY = """
WITH moved AS (
  UPDATE chat.rooms SET head = head + 1 WHERE room_id = $1 RETURNING head, messages
)
INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                         fingerprint, data, recorded_at)
SELECT $1, head, messages, $2, $3, $4, '', '', $5, 0, $6, clock_timestamp() FROM moved
"""


def _named_by(text: str) -> str:
    # The event that creates a room has all texts, and the first version of the one that changes them both that there
    # were then; custom data came later than any of that version.
    return f"""(
  SELECT sequence FROM chat.events e WHERE e.room_id = r.room_id AND e.type IN ({_NAMING})
    AND (e.type = {RoomCreated.NUMBER} OR e.version = 1 OR e.data -> '{text}' IS NOT NULL)
  ORDER BY sequence DESC LIMIT 1
)"""


_NAMED_BY = f"""
SELECT changed, {", ".join(f"{_named_by(text)} AS {text}" for text in TEXTS)} FROM chat.rooms r WHERE room_id = $1
"""
_LOCK = "SELECT changed, member_count FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE"
_FORGET_MAKER = "UPDATE chat.rooms SET created_by = '', kind = $2 WHERE room_id = $1"
_RENAME = {text: f"UPDATE chat.rooms SET {text} = $2, {text}_kept_in = $3 WHERE room_id = $1" for text in TEXTS}
_FORGET_USER = [
    f"DELETE FROM chat.{table} WHERE room_id = $1 AND user_id = $2"
    for table in ("declined", "restrictions", "participants")
]
_FORGET_INVITES = "DELETE FROM chat.invites WHERE room_id = $1 AND invite = ANY($2::bigint[])"
_FORGET_INVITER = """
UPDATE chat.members SET name = user_id, invited_by = ''
WHERE room_id = $1 AND sequence = ANY($2::bigint[]) AND state = 'invited'
"""
_EMPTY = "UPDATE chat.rooms SET member_count = 0, slow_seconds = 0, rules = '' WHERE room_id = $1"
_CLEAR = """
DELETE FROM chat.{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM chat.{table} WHERE room_id = $1 LIMIT 500))
"""

SESSION = {
    # Always by keys, whatever the sizes of the tables are.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class _Slice(NamedTuple):
    """Events of one room after one sequence and up to another. `last` says that the room has none after these."""

    room_id: int
    after: int
    up_to: int
    last: bool


class Executor:
    """Executes erasures on a connection of its own, resting `pause` seconds after each statement.

    No other process may execute erasures meanwhile; `erasure_runner` holds a lock for that.
    """

    def __init__(self, connection: Any, *, pause: float = 0.0) -> None:
        self._connection = connection
        self._pause = pause
        self._secret: LogSecret | None = None

    async def run(self, erasure: Erasure, report: Report = lambda _: None) -> Erasure:
        """Execute an erasure to its end. Raises what asyncpg raises; then it has to be run again."""
        await self._connection.execute(_BEGIN, erasure.id)
        if erasure.user_id is not None:
            await self._end_memberships(erasure, erasure.user_id)
        if erasure.scope is ErasureScope.ROOM and erasure.room_id is not None:
            await self._decide(CloseRoom(_command_id(erasure), public_room_id(erasure.room_id)), _SYSTEM)
        await self._go_through(erasure, report)
        if erasure.scope is ErasureScope.ROOM:
            await self._empty(erasure.room_id)
        for statement, arguments in people_rows.statements(erasure):
            await self._connection.execute(statement, *arguments)
        for statement, of in own_rows.covered(erasure):
            left = True
            while left:
                left = await self._connection.fetchval(statement, of)
                await asyncio.sleep(self._pause)
        await self._connection.execute(_COMPLETE, erasure.id)
        return await self._current(erasure, report)

    async def _end_memberships(self, erasure: Erasure, user_id: str) -> None:
        """Let the user leave all rooms, as if by commands of their own: rooms get other owners, and gateways are told.

        Afterwards none of their messages can be appended, because what writers know of these rooms is outdated.
        """
        room_id, last = FIRST_ROOM, 0
        while rows := await self._connection.fetch(_ROOMS_OF, user_id, room_id):
            for row in rows:
                room_id = row["room_id"]
                leave = LeaveRoom(_command_id(erasure), public_room_id(room_id))
                key = await self._decide(leave, Identity(user_id, ""))
                last = max(last, await self._connection.fetchval(_TRANSACTION, room_id, key) or 0)
                await asyncio.sleep(self._pause)
        await self._until_announced(last)

    async def _until_announced(self, transaction: int) -> None:
        """Wait until gateways were told who left. Soon no event will say any more whom it was about.

        If no process announces, there is no gateway to wait for.
        """
        for _ in range(round(ANNOUNCED_SECONDS / RETRY)):
            position = await self._connection.fetchval(_ANNOUNCED)
            if position is None or Position.decode(position).has_read(transaction):
                return
            await asyncio.sleep(RETRY)

    async def _decide(self, command: ChatCommand, identity: Identity) -> UUID:
        """Decide and commit a command as if somebody had sent it. Returns the id of its first event."""
        if self._secret is None:
            self._secret = LogSecret(await event_store.read_secret(self._connection))
        submission = Submission(command, identity, "", self._secret)

        async def decide() -> None:
            locked = await event_store.lock_rooms(self._connection, [submission], wait=True)
            loaded = await event_store.load(self._connection, [submission], locked.rooms)
            # The user's own erasure would forbid the command.
            loaded.erasing.clear()
            decided = decide_batch([submission], loaded, UserLimits())
            if decided.stores:
                await event_store.save(self._connection, decided, loaded.rooms)

        await self._transact(decide)
        return submission.key

    async def _go_through(self, erasure: Erasure, report: Report) -> None:
        room_id = FIRST_ROOM if erasure.at_room is None else erasure.at_room
        place = _Slice(room_id, erasure.at_sequence, erasure.at_sequence, last=False)
        while slices := await self._slices(erasure, place):
            columns = zip(*[one[:3] for one in slices], strict=True)
            rows = await self._connection.fetch(_COVERED, erasure.id, *map(list, columns))
            for of_room, group in groupby(map(_recorded, rows), key=lambda one: one.room_id):
                events = list(group)
                for start in range(0, len(events), BATCH):
                    await self._erase(erasure, of_room, events[start : start + BATCH])
                    await asyncio.sleep(self._pause)
            place = slices[-1]
            await self._connection.execute(_MOVE, erasure.id, place.room_id, place.up_to)
            await self._current(erasure, report)
            await asyncio.sleep(self._pause)

    async def _slices(self, erasure: Erasure, place: _Slice) -> list[_Slice]:
        """Return what to look through after a place; nothing at the end of the log."""
        if erasure.room_id is not None and place.last:
            return []
        if erasure.scope is ErasureScope.MESSAGE:
            sequence = await self._connection.fetchval(_MESSAGE, erasure.room_id, erasure.event_id)
            if sequence is None or erasure.room_id is None:
                return []
            edits = await edits_of(self._connection, erasure.room_id, sequence)
            return [_Slice(erasure.room_id, one - 1, one, last=True) for one in sorted([sequence, *edits])]
        if erasure.room_id is not None:
            rows = await self._connection.fetch(_ROOM, erasure.room_id)
        else:
            # A room whose end was reached is left behind, even if it is still being written to.
            rooms = _ROOMS_AFTER if place.last else _ROOMS_FROM
            rows = await self._connection.fetch(rooms, place.room_id, ROOMS)
        slices: list[_Slice] = []
        left = SLICE
        for room_id, head in rows:
            after = min(head, place.up_to if room_id == place.room_id else 0)
            up_to = min(head, after + left)
            slices.append(_Slice(room_id, after, up_to, last=up_to == head))
            left -= up_to - after
            if not left:
                break
        return slices

    async def _erase(self, erasure: Erasure, room_id: int, events: list[Recorded]) -> None:
        # This is looked up before the room is locked, because the room may have many events after it.
        naming = any(one.type in NAMING_TYPES for one in events)
        named = await self._connection.fetchrow(_NAMED_BY, room_id) if naming else None

        async def erase() -> bool:
            connection = self._connection
            changed, others = await connection.fetchrow(_LOCK, room_id)
            if named is not None and named["changed"] != changed:
                return False
            present = {} if named is None else {text: named[text] for text in TEXTS}
            erased = [
                erasure.erase(one, keeps=[text for text, at in present.items() if others and at == one.sequence])
                for one in events
            ]
            sequences = [one.sequence for one in erased]
            await connection.execute(_OVERWRITE, room_id, sequences, [one.data.decode() for one in erased])
            await self._notify(erasure, room_id, sequences)
            await self._project(erasure, room_id, erased, present)
            await withdraw(connection, room_id, [one for one in events if one.type in AMENDING_TYPES], erasure.user_id)
            await connection.execute(_COUNT, erasure.id, len(erased))
            return True

        if not await self._transact(erase):
            # Somebody changed the room in between, perhaps its name: what was looked up may be wrong.
            await self._erase(erasure, room_id, events)

    async def _notify(self, erasure: Erasure, room_id: int, sequences: list[int]) -> None:
        """Append the event that tells everybody which events were erased. Its id is derived from the first of them."""
        stored = CODEC.encode(EventsErased(ranges(sequences)))
        notice = event_id(room_id, "", str(erasure.id), sequences[0])
        command_id = pack(str(erasure.id))
        await self._connection.execute(
            _NOTIFY, room_id, notice, stored.number, stored.version, command_id, stored.data.decode()
        )

    async def _project(self, erasure: Erasure, room_id: int, erased: list[Recorded], present: dict[str, int]) -> None:
        """Bring the projections up to what the erased events say now.

        `present` has the sequences of the events that the room has its texts from.
        """
        for one in erased:
            event = one.event() if one.type in NAMING_TYPES else None
            if isinstance(event, RoomCreated):
                await self._connection.execute(_FORGET_MAKER, room_id, event.kind)
            for text in [text for text, at in present.items() if at == one.sequence]:
                kept = text_of(event, text) if event is not None else ""
                await self._connection.execute(_RENAME[text], room_id, kept, one.sequence if kept else None)
        if erasure.user_id is not None:
            for statement in _FORGET_USER:
                await self._connection.execute(statement, room_id, erasure.user_id)
        if made := [one.sequence for one in erased if one.type == InviteCreated.TYPE]:
            await self._connection.execute(_FORGET_INVITES, room_id, made)
        if invited := [one.sequence for one in erased if one.type == MemberInvited.TYPE and one.data != NOTHING]:
            await self._connection.execute(_FORGET_INVITER, room_id, invited)

    async def _empty(self, room_id: int | None) -> None:
        for table in (*(name for name in PROJECTORS if name != "rooms"), "commands"):
            cleared = ""
            while cleared != "DELETE 0":
                cleared = await self._connection.execute(_CLEAR.format(table=table), room_id)
                await asyncio.sleep(self._pause)
        await self._connection.execute(_EMPTY, room_id)

    async def _current(self, erasure: Erasure, report: Report) -> Erasure:
        current = await find(self._connection, erasure.id) or erasure
        report(current)
        return current

    async def _transact(self, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connection.transaction(isolation="read_committed"):
                    return await work()
            except (*CONFLICTS, asyncpg.LockNotAvailableError):
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY)
        raise AssertionError("unreachable")


_SYSTEM = Identity("", "", roles=("admin",))


def _command_id(erasure: Erasure) -> str:
    return f"erasure-{erasure.id}"


def _recorded(row: Any) -> Recorded:
    identifier: UUID = row["event_id"]
    data: str = row["data"]
    # Data that were not fetched have no version to be upcast from.
    version = row["version"] if row["type"] in _WHOLE else ERASED
    name, upcast = CODEC.upcast(StoredEvent(row["type"], version, data.encode()))
    return Recorded(
        row["room_id"], row["sequence"], 0, identifier, name, "", "", "", 0, upcast, row["recorded_at"]
    )  # fmt: skip
