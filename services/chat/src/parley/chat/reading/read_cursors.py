"""How far users have read: a cursor per user and room, which only moves forward, on all of the user's devices.

A cursor is state and no event. What is said of it is checked at once and answered; it is stored at most once per
second, user and room, the last one said, and then told to the user's devices and to those who look at the room's
receipts. A process that is killed forgets what it was told within the last second, which shows a message as unread once
more.

Who sends a message has read up to it. Nobody is told, since the message says it, and the cursor of somebody who sends
one after the other is stored less often: a write for each would cost as much as the message. `run` is one task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated, Any

import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import RoomId
from parley.chat.domain.messages import MessageSent
from parley.chat.log.database import DATABASE_ERRORS, Pool, reachable
from parley.chat.queries.visibility import key_of, no_such_room, require_joined
from parley.chat.reading import read_store
from parley.chat.reading.latest_values import LatestValues
from parley.chat.reading.read_store import CursorKey, CursorPlace, MovedCursor, ReadablePlace, later
from parley.chat.reading.receipts import SMALL_ROOM, receipts_room
from parley.common.batch_loader import BatchLoader
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.framework import Code, Delivery, Identity, Reject, RoomEvent, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot store how far users have read")

INTERVAL = 1.0
"""Seconds between two writes of the cursor of one user in one room."""
SENDERS_INTERVAL = 5.0
"""The same in seconds, where the user has not said it but sent messages."""
TICK = 0.2
"""Seconds between two looks for cursors whose time has come. Many in one statement cost little more than one."""
BATCH = 500
"""Cursors in one statement."""
MOST = 100_000
"""Cursors that wait to be stored. Further ones are refused with `overloaded`."""

Sequence = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
OnMoved = Callable[[Any, list[MovedCursor]], Awaitable[list[tuple[str, RoomEvent]]]]
"""Does on a connection what follows from moved cursors, in their transaction. Returns what is told in which rooms."""


class MarkRead(msgspec.Struct, frozen=True):
    """`read`: the user has read a room up to the event with this sequence."""

    room: RoomId
    sequence: Sequence


class MarkUnread(msgspec.Struct, frozen=True):
    """`unread.mark`: from the event with this sequence on, the room counts as not read."""

    room: RoomId
    sequence: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class ReadState(msgspec.Struct, frozen=True):
    """How far a user has read a room, with how many messages and mentions of them come after that."""

    sequence: int
    unread: int
    mentions: int


class ReadChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a user has read a room from now on; with `back`, they set it back themselves."""

    room: str
    user: str
    sequence: int
    unread: int | None = None
    back: bool = False


class ReadCursors:
    """The cursors that wait to be stored in this process, and what is asked about others."""

    def __init__(self, pool: Pool, rooms: RoomPublisher) -> None:
        self._pool = pool
        self._rooms = rooms
        self._waiting: LatestValues[CursorKey, CursorPlace] = LatestValues(INTERVAL, MOST, later)
        self._of_senders: LatestValues[CursorKey, CursorPlace] = LatestValues(SENDERS_INTERVAL, MOST, later)
        self._sent: dict[tuple[int, str], CursorPlace] = {}
        """What was sent since the last look: each message costs no more than an entry, and many are one in the end."""
        self._places = BatchLoader(partial(read_store.places, pool), BATCH)
        self.on_moved: OnMoved | None = None

    async def read(self, identity: Identity, said: MarkRead) -> ReadState:
        """Move a cursor forward. Raises `Reject`: the user has to be in the room, and the event to exist."""
        key = CursorKey(key_of(said.room), identity.user_id)
        place = await self._place(key, said.sequence)
        reached = CursorPlace(said.sequence, place.number, place.asked_at, place.marked_at)
        self._take_sent()
        # What waits may be of before another process marked the room as unread.
        for before in (self._waiting.get(key), self._of_senders.get(key), place.read):
            reached = later(reached, before or reached)
        # What is read already is not written again, and neither is what is before the join.
        behind = reached.sequence < place.joined
        if not behind and reached != place.read and not self._waiting.put(key, reached):
            raise Reject(Code.OVERLOADED)
        number = reached.number
        if behind:
            number = (await self._place(key, place.joined)).number
        sequence = max(reached.sequence, place.joined)
        return ReadState(sequence, max(0, place.messages - number), place.mentions)

    async def mark_unread(self, identity: Identity, said: MarkUnread) -> ReadState:
        """Set a cursor back, so that an event and those after it are unread. Raises `Reject` as `read` does."""
        key = CursorKey(key_of(said.room), identity.user_id)
        # What was before the join was never for the user to read.
        before = max(said.sequence - 1, (await self._place(key, said.sequence)).joined)
        place = await self._place(key, before)
        self._take_sent()
        self._waiting.drop(key)
        self._of_senders.drop(key)
        with reachable():
            await read_store.mark(self._pool, key, before, place.number)
        place = await self._place(key, before)
        state = ReadState(before, max(0, place.messages - place.number), place.mentions)
        change = ReadChange(said.room, identity.user_id, before, state.unread, back=True)
        await self._tell([(subjects.user_room(identity.user_id), _event(change))])
        return state

    def sent(self, appended: Iterable[Recorded]) -> None:
        """Move the cursors of those who sent messages past these."""
        if len(self._sent) >= MOST:
            self._take_sent()  # what is stored takes long; here it is bounded
        sent = self._sent
        for recorded in appended:
            if recorded.type == MessageSent.TYPE and recorded.actor_id:
                place = CursorPlace(recorded.sequence, recorded.number, recorded.recorded_at)
                sent[recorded.room_id, recorded.actor_id] = place

    def _take_sent(self) -> None:
        sent, self._sent = self._sent, {}
        for key, place in sent.items():
            # Where too many wait, one more message of their own is shown as unread.
            self._of_senders.put(CursorKey(*key), place)

    async def run(self) -> None:
        """Store what waits, for ever."""
        while True:
            await asyncio.sleep(TICK)
            self._take_sent()
            for waiting in (self._waiting, self._of_senders):
                if cursors := waiting.take(time.monotonic(), BATCH):
                    await self._store(waiting, cursors)

    async def flush(self) -> None:
        """Store all that waits, because the process stops."""
        self._take_sent()
        for waiting in (self._waiting, self._of_senders):
            cursors = list(waiting.take_all().items())
            for start in range(0, len(cursors), BATCH):
                await self._store(waiting, dict(cursors[start : start + BATCH]))
        await self._places.close()

    async def _place(self, key: CursorKey, sequence: int) -> ReadablePlace:
        with reachable():
            place = await self._places.load((key, sequence))
        if place is None:
            raise no_such_room()
        require_joined(place.kind, place.state)
        if sequence > place.head:
            raise Reject(Code.INVALID_PAYLOAD, "The room has no event with this sequence.")
        return place

    async def _store(
        self, waiting: LatestValues[CursorKey, CursorPlace], cursors: dict[CursorKey, CursorPlace]
    ) -> None:
        told: list[tuple[str, RoomEvent]] = []
        try:
            async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
                moved = await read_store.advance(connection, cursors)
                if moved and self.on_moved is not None:
                    # In one transaction: a cursor moves once, so what did not follow then would never follow.
                    told = await self.on_moved(connection, moved)
        except (*DATABASE_ERRORS, Reject) as error:
            # A cursor is stored twice without harm.
            outages.note(error)
            waiting.put_back(cursors)
            return
        except asyncio.CancelledError:
            waiting.put_back(cursors)  # the process stops, and stores once more what waits
            raise
        except Exception:
            log.exception("cannot store how far users have read")
            return
        if waiting is not self._of_senders:
            told = [*(change for one in moved for change in _events_of(one)), *told]
        await self._tell(told)

    async def _tell(self, told: list[tuple[str, RoomEvent]]) -> None:
        if not told:
            return
        try:
            await self._rooms.publish_all([(room, Delivery([room_event])) for room, room_event in told])
        except Exception as error:
            # A signal: the next list of rooms says the same.
            log.warning("nobody was told who has read", exc_info=error)


def _event(change: ReadChange) -> RoomEvent:
    return RoomEvent("read", msgspec.json.encode(change), volatile=True)


def _events_of(one: MovedCursor) -> Iterable[tuple[str, RoomEvent]]:
    room, sequence, user_id = public_room_id(one.key.room_id), one.place.sequence, one.key.user_id
    unread = max(0, one.messages - one.place.number)
    yield subjects.user_room(user_id), _event(ReadChange(room, user_id, sequence, unread))
    if one.members <= SMALL_ROOM and not one.private:
        yield receipts_room(room, one.changed), _event(ReadChange(room, user_id, sequence))
