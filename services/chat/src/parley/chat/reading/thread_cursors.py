"""How far users have read the threads that they follow: a cursor per user and thread, kept as `read_cursors` keeps its.

Whoever replies in a thread has read it up to there. Nothing is written for the others who follow it. `run` is one task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from functools import partial

import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import MessageSequence, RoomId
from parley.chat.domain.messages import MessageSent
from parley.chat.log.database import DATABASE_ERRORS, Pool, reachable
from parley.chat.queries.visibility import key_of, no_such_room, require_joined
from parley.chat.reading import thread_store
from parley.chat.reading.latest_values import LatestValues
from parley.chat.reading.read_cursors import BATCH, INTERVAL, MOST, TICK, Sequence
from parley.chat.reading.thread_store import MovedThreadCursor, ThreadCursorKey, ThreadPlace
from parley.common.batch_loader import BatchLoader
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.framework import Code, Delivery, Identity, Reject, RoomEvent, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot store how far users have read threads")


class MarkThreadRead(msgspec.Struct, frozen=True):
    """`thread.read`: the user has read a thread that they follow up to the event with this sequence."""

    room: RoomId
    thread: MessageSequence
    sequence: Sequence


class ThreadReadState(msgspec.Struct, frozen=True):
    """How far a user has read a thread, with how many replies come after that."""

    sequence: int
    unread: int


class ThreadReadChange(msgspec.Struct, frozen=True):
    """How far the user has read a thread from now on, on whatever device."""

    room: str
    thread: int
    sequence: int
    unread: int


class _InThread(msgspec.Struct, frozen=True):
    """Of a message, in which thread it is."""

    thread: int | None = None


_thread_of = msgspec.json.Decoder(_InThread)


class ThreadCursors:
    """The cursors that wait to be stored in this process, and what is asked about others."""

    def __init__(self, pool: Pool, rooms: RoomPublisher) -> None:
        self._pool = pool
        self._rooms = rooms
        self._waiting: LatestValues[ThreadCursorKey, int] = LatestValues(INTERVAL, MOST, max)
        self._places = BatchLoader(partial(thread_store.places, pool), BATCH)

    async def read(self, identity: Identity, said: MarkThreadRead) -> ThreadReadState:
        """Move a cursor forward. Raises `Reject`: the user has to follow the thread, and the event to exist."""
        key = ThreadCursorKey(key_of(said.room), said.thread, identity.user_id)
        # What waits is read already, so it counts for what is left.
        sequence = max(said.sequence, self._waiting.get(key) or 0)
        place = await self._place(key, sequence)
        if said.sequence > place.head:
            raise Reject(Code.INVALID_PAYLOAD, "The room has no event with this sequence.")
        if place.up_to is None:
            raise Reject(Code.NOT_FOUND, "You follow no such thread in this room.")
        if sequence > place.up_to and not self._waiting.put(key, sequence):
            raise Reject(Code.OVERLOADED)
        return ThreadReadState(max(sequence, place.up_to), place.unread)

    def sent(self, appended: Iterable[Recorded]) -> None:
        """Move the cursors of those who replied in threads past their replies."""
        for recorded in appended:
            # Few messages are replies, and looking for the name of the field is much quicker than decoding.
            if b'"thread":' not in recorded.data or recorded.type != MessageSent.TYPE or not recorded.actor_id:
                continue
            if (thread := _thread_of.decode(recorded.data).thread) is not None:
                # Where too many wait, one more reply of their own is shown as unread.
                self._waiting.put(ThreadCursorKey(recorded.room_id, thread, recorded.actor_id), recorded.sequence)

    async def run(self) -> None:
        """Store what waits, for ever."""
        while True:
            await asyncio.sleep(TICK)
            if cursors := self._waiting.take(time.monotonic(), BATCH):
                await self._store(cursors)

    async def flush(self) -> None:
        """Store all that waits, because the process stops."""
        cursors = list(self._waiting.take_all().items())
        for start in range(0, len(cursors), BATCH):
            await self._store(dict(cursors[start : start + BATCH]))
        await self._places.close()

    async def _place(self, key: ThreadCursorKey, sequence: int) -> ThreadPlace:
        with reachable():
            place = await self._places.load((key, sequence))
        if place is None:
            raise no_such_room()
        require_joined(place.kind, place.state)
        return place

    async def _store(self, cursors: dict[ThreadCursorKey, int]) -> None:
        try:
            moved = await thread_store.advance(self._pool, cursors)
        except (*DATABASE_ERRORS, Reject) as error:
            # A cursor is stored twice without harm.
            outages.note(error)
            self._waiting.put_back(cursors)
            return
        except asyncio.CancelledError:
            self._waiting.put_back(cursors)  # the process stops, and stores once more what waits
            raise
        except Exception:
            log.exception("cannot store how far users have read threads")
            return
        try:
            await self._rooms.publish_all([(subjects.user_room(one.key.user_id), _told(one)) for one in moved])
        except Exception as error:
            # A signal: the next list of threads says the same.
            log.warning("nobody was told who has read threads", exc_info=error)


def _told(one: MovedThreadCursor) -> Delivery:
    change = ThreadReadChange(public_room_id(one.key.room_id), one.key.thread, one.sequence, one.unread)
    return Delivery([RoomEvent("thread.read", msgspec.json.encode(change), volatile=True)])
