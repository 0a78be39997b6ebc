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

from parley.chat.domain.batch import decide_batch
from parley.chat.domain.batch_state import Submission
from parley.chat.domain.encoding.compact import pack
from parley.chat.domain.encoding.event_codec import CODEC, ERASED, StoredEvent
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.encoding.room_ids import FIRST_ROOM, LogSecret, event_id, public_room_id
from parley.chat.domain.erasure import NAMING_TYPES, TEXTS, Erasure, ErasureScope, ranges, text_of
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.membership import LeaveRoom, MemberInvited
from parley.chat.domain.messages.amendments import AMENDING_TYPES
from parley.chat.domain.people.invites import InviteCreated
from parley.chat.domain.projectors import PROJECTORS
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import CloseRoom, RoomCreated
from parley.chat.domain.state import UserLimits
from parley.chat.log import event_store
from parley.chat.log.erasure import erasure_statements as statements
from parley.chat.log.erasure import own_rows, people_rows
from parley.chat.log.erasure.erasures import find
from parley.chat.log.messages.message_rows import edits_of, withdraw
from parley.chat.log.own_connection import CONFLICTS
from parley.chat.log.position import Position
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
        await self._connection.execute(statements.BEGIN, erasure.id)
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
        await self._connection.execute(statements.COMPLETE, erasure.id)
        return await self._current(erasure, report)

    async def _end_memberships(self, erasure: Erasure, user_id: str) -> None:
        """Let the user leave all rooms, as if by commands of their own: rooms get other owners, and gateways are told.

        Afterwards none of their messages can be appended, because what writers know of these rooms is outdated.
        """
        room_id, last = FIRST_ROOM, 0
        while rows := await self._connection.fetch(statements.ROOMS_OF, user_id, room_id):
            for row in rows:
                room_id = row["room_id"]
                leave = LeaveRoom(_command_id(erasure), public_room_id(room_id))
                key = await self._decide(leave, Identity(user_id, ""))
                last = max(last, await self._connection.fetchval(statements.TRANSACTION, room_id, key) or 0)
                await asyncio.sleep(self._pause)
        await self._until_announced(last)

    async def _until_announced(self, transaction: int) -> None:
        """Wait until gateways were told who left. Soon no event will say any more whom it was about.

        If no process announces, there is no gateway to wait for.
        """
        for _ in range(round(ANNOUNCED_SECONDS / RETRY)):
            position = await self._connection.fetchval(statements.ANNOUNCED)
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
            rows = await self._connection.fetch(statements.COVERED, erasure.id, *map(list, columns))
            for of_room, group in groupby(map(_recorded, rows), key=lambda one: one.room_id):
                events = list(group)
                for start in range(0, len(events), BATCH):
                    await self._erase(erasure, of_room, events[start : start + BATCH])
                    await asyncio.sleep(self._pause)
            place = slices[-1]
            await self._connection.execute(statements.MOVE, erasure.id, place.room_id, place.up_to)
            await self._current(erasure, report)
            await asyncio.sleep(self._pause)

    async def _slices(self, erasure: Erasure, place: _Slice) -> list[_Slice]:
        """Return what to look through after a place; nothing at the end of the log."""
        if erasure.room_id is not None and place.last:
            return []
        if erasure.scope is ErasureScope.MESSAGE:
            sequence = await self._connection.fetchval(statements.MESSAGE, erasure.room_id, erasure.event_id)
            if sequence is None or erasure.room_id is None:
                return []
            edits = await edits_of(self._connection, erasure.room_id, sequence)
            return [_Slice(erasure.room_id, one - 1, one, last=True) for one in sorted([sequence, *edits])]
        if erasure.room_id is not None:
            rows = await self._connection.fetch(statements.ROOM, erasure.room_id)
        else:
            # A room whose end was reached is left behind, even if it is still being written to.
            rooms = statements.ROOMS_AFTER if place.last else statements.ROOMS_FROM
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
        named = await self._connection.fetchrow(statements.NAMED_BY, room_id) if naming else None

        async def erase() -> bool:
            connection = self._connection
            changed, others = await connection.fetchrow(statements.LOCK, room_id)
            if named is not None and named["changed"] != changed:
                return False
            present = {} if named is None else {text: named[text] for text in TEXTS}
            erased = [
                erasure.erase(one, keeps=[text for text, at in present.items() if others and at == one.sequence])
                for one in events
            ]
            sequences = [one.sequence for one in erased]
            await connection.execute(statements.OVERWRITE, room_id, sequences, [one.data.decode() for one in erased])
            await self._notify(erasure, room_id, sequences)
            await self._project(erasure, room_id, erased, present)
            await withdraw(connection, room_id, [one for one in events if one.type in AMENDING_TYPES], erasure.user_id)
            await connection.execute(statements.COUNT, erasure.id, len(erased))
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
            statements.NOTIFY, room_id, notice, stored.number, stored.version, command_id, stored.data.decode()
        )

    async def _project(self, erasure: Erasure, room_id: int, erased: list[Recorded], present: dict[str, int]) -> None:
        """Bring the projections up to what the erased events say now.

        `present` has the sequences of the events that the room has its texts from.
        """
        for one in erased:
            event = one.event() if one.type in NAMING_TYPES else None
            if isinstance(event, RoomCreated):
                await self._connection.execute(statements.FORGET_MAKER, room_id, event.kind)
            for text in [text for text, at in present.items() if at == one.sequence]:
                kept = text_of(event, text) if event is not None else ""
                await self._connection.execute(statements.RENAME[text], room_id, kept, one.sequence if kept else None)
        if erasure.user_id is not None:
            for statement in statements.FORGET_USER:
                await self._connection.execute(statement, room_id, erasure.user_id)
        if made := [one.sequence for one in erased if one.type == InviteCreated.TYPE]:
            await self._connection.execute(statements.FORGET_INVITES, room_id, made)
        if invited := [one.sequence for one in erased if one.type == MemberInvited.TYPE and one.data != NOTHING]:
            await self._connection.execute(statements.FORGET_INVITER, room_id, invited)

    async def _empty(self, room_id: int | None) -> None:
        for table in (*(name for name in PROJECTORS if name != "rooms"), "commands"):
            cleared = ""
            while cleared != "DELETE 0":
                cleared = await self._connection.execute(statements.CLEAR.format(table=table), room_id)
                await asyncio.sleep(self._pause)
        await self._connection.execute(statements.EMPTY, room_id)

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
    version = row["version"] if row["type"] in statements.WHOLE else ERASED
    name, upcast = CODEC.upcast(StoredEvent(row["type"], version, data.encode()))
    return Recorded(
        row["room_id"], row["sequence"], 0, identifier, name, "", "", "", 0, upcast, row["recorded_at"]
    )  # fmt: skip
