"""Asking services for the heads of rooms: how a gateway learns what it missed without any event telling it.

Rooms are asked for when they are new here, after the broker was away, and when a service no longer names them among a
user's. An answer to a question is worth more than what is told unasked, which may be late: a head below what had been
delivered when the question was asked means that the log was restored to an earlier state. Where a log has a name,
another name says so, also of rooms that have had as many events again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from itertools import islice
from typing import NamedTuple, Protocol

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.rooms import GetRoomHeads, RoomHead, RoomHeads
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.room_registry import RoomRegistry

log = get_logger(__name__)

HEADS_PER_REQUEST = 500
RETRY = 0.5
DOUBT_SECONDS = 3.0
"""A member that is none, says the service, leaves after so long without an answer to where the room's log ends."""
LATE_SECONDS = 3.0
"""Who tells of an earlier head than was delivered so long ago is not just late."""


class HeadListener(Protocol):
    """Who acts on what is heard of heads."""

    def head_known(self, room: LocalRoom, head: int) -> None:
        """The room has events up to this one."""
        ...

    def log_restored(self, room: LocalRoom, head: int) -> None:
        """The room's log ends here, before what was delivered already."""
        ...

    def stay_disproved(self, room: LocalRoom, connection: Connection, head: int | None, asked: int) -> None:
        """The service did not name the room among the user's at the mark `asked`; its head was this afterwards.

        None for a room that has no head.
        """
        ...


class _Doubt(NamedTuple):
    """The mark at which a service was asked that did not name the room, and when it answered."""

    asked: int
    since: float


class RoomHeadReader:
    """Asks for heads until they are known, and compares those it is told with what was delivered."""

    def __init__(self, bus: Bus, rooms: RoomRegistry, listener: HeadListener, tasks: Tasks) -> None:
        self._bus = bus
        self._rooms = rooms
        self._listener = listener
        self._tasks = tasks
        self._unverified: dict[str, dict[LocalRoom, None]] = {}
        """Per namespace, rooms whose head is to be asked for."""
        self._doubts: dict[LocalRoom, dict[Connection, _Doubt]] = {}
        """Members that are not, says the service."""
        self._suspects: dict[LocalRoom, tuple[int, float]] = {}
        """Rooms of which an earlier head was told than was delivered; how far that was, and when."""
        self._anew: set[LocalRoom] = set()
        """Rooms whose log was restored: whatever their head is, they begin there."""

    def verify(self, namespace: str, rooms: Iterable[LocalRoom]) -> None:
        """Ask for the heads of rooms soon, many in one request."""
        wanted = [room for room in rooms if not room.is_user_room]
        if not wanted:
            return
        if namespace not in self._unverified:
            self._unverified[namespace] = {}
            self._tasks.spawn(self._verify(namespace), name="verify heads")
        self._unverified[namespace].update(dict.fromkeys(wanted))

    def verify_all(self, namespace: str | None = None) -> None:
        """Ask for the heads of all rooms, or of all in a namespace."""
        for name, rooms in self._rooms:
            if namespace in (None, name):
                self.verify(name, rooms.values())

    def begin_anew(self, namespace: str) -> None:
        """The log of a namespace was restored: have each room begin where it ends now."""
        for name, rooms in self._rooms:
            if name == namespace:
                # A room that has no sequence has no log, or nothing of it was delivered here.
                self._anew.update(room for room in rooms.values() if not room.is_user_room and room.has_log)
        self.verify_all(namespace)

    def doubt(self, room: LocalRoom, connection: Connection, asked: int) -> None:
        """Ask for the head of a room of which a connection is no member any more, as far as its service knew."""
        self._doubts.setdefault(room, {})[connection] = _Doubt(asked, asyncio.get_running_loop().time())
        self.verify(room.namespace, (room,))

    def forget(self, room: LocalRoom) -> None:
        """A room has no member here any more."""
        self._unverified.get(room.namespace, {}).pop(room, None)
        self._doubts.pop(room, None)
        self._suspects.pop(room, None)
        self._anew.discard(room)

    def told(self, namespace: str, heads: Iterable[RoomHead]) -> None:
        """A service tells the heads of rooms that moved lately."""
        for head in heads:
            if (room := self._rooms.get(namespace, head.room)) is None:
                continue
            if head.head < room.cursor.head:
                self._suspect(room, head.head)
            else:
                self._suspects.pop(room, None)
            self._listener.head_known(room, head.head)

    def _suspect(self, room: LocalRoom, head: int) -> None:
        """An earlier head is told than was delivered. Most are just late; one that stays so is looked into."""
        now = asyncio.get_running_loop().time()
        delivered, since = self._suspects.setdefault(room, (room.cursor.head, now))
        if head >= delivered:
            del self._suspects[room]
        elif now - since >= LATE_SECONDS:
            del self._suspects[room]
            self.verify(room.namespace, (room,))

    async def _verify(self, namespace: str) -> None:
        waiting, failing, most = self._unverified[namespace], False, HEADS_PER_REQUEST
        try:
            while waiting:
                taken = list(islice(waiting, most))
                for room in taken:
                    del waiting[room]
                if await self._ask(namespace, taken, failing=failing):
                    failing, most = False, min(2 * most, HEADS_PER_REQUEST)
                else:
                    # Fewer next time, and these last: one room that the service fails over holds up no other for ever.
                    failing, most = True, max(1, most // 2)
                    waiting.update(dict.fromkeys(room for room in taken if not room.closed))
                    await asyncio.sleep(RETRY)
        finally:
            del self._unverified[namespace]

    async def _ask(self, namespace: str, rooms: Collection[LocalRoom], *, failing: bool) -> bool:
        delivered = {room.room: room.cursor.head for room in rooms}
        # Those that are doubted from here on are asked for anew: this answer may be older than that doubt.
        doubts = {room: self._doubts.pop(room) for room in rooms if room in self._doubts}
        try:
            request = GetRoomHeads([room.room for room in rooms])
            answer = await self._bus.request(subjects.room_heads(namespace), request, RoomHeads, repeat=True)
        except Reject as rejection:
            if not failing:
                log.warning("cannot verify rooms, trying again", namespace=namespace, code=str(rejection.code))
            self._keep_doubts(doubts)
            return False
        heads = {head.room: head.head for head in answer.heads}
        for room in rooms:
            head = heads.get(room.room)
            if head is None and room in self._anew:
                head = 0  # it was made after the backup
            if head is not None and not room.closed:
                if head < delivered[room.room] or room in self._anew:
                    self._anew.discard(room)
                    self._listener.log_restored(room, head)
                else:
                    self._listener.head_known(room, head)
            for connection, doubt in doubts.get(room, {}).items():
                if not room.closed:
                    self._listener.stay_disproved(room, connection, head, doubt.asked)
        return True

    def _keep_doubts(self, doubts: dict[LocalRoom, dict[Connection, _Doubt]]) -> None:
        """Ask again, but not for long: meanwhile somebody hears what may be none of their business."""
        now = asyncio.get_running_loop().time()
        for room, doubted in doubts.items():
            for connection, doubt in doubted.items():
                if room.closed:
                    break
                if now - doubt.since < DOUBT_SECONDS:
                    self._doubts.setdefault(room, {}).setdefault(connection, doubt)
                else:
                    self._listener.stay_disproved(room, connection, None, doubt.asked)
