"""Asks services for the heads of rooms: so a gateway learns what it missed although no event tells it.

It asks about rooms that are new here, about all rooms after NATS was away, and about a room that a service does not
name any more among a user's. An answer counts more than an announcement, which may be late: an answer with a head below
what had been delivered when it was asked for means that the log was restored to an earlier state. Where the log has a
name, a new name says so too, also for rooms that have had as many events again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import NamedTuple

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
"""Seconds after which a member that its service does not name leaves, even without an answer where the room's log ends.
"""
LATE_SECONDS = 3.0
"""Seconds after which an announced head below what was delivered is not just late any more."""


class _Doubt(NamedTuple):
    """The count of questions when a service was asked that did not name the room, and when it answered."""

    asked_at: int
    since: float


class RoomHeadReader:
    """Asks for heads until they are known, and compares announced ones with what was delivered."""

    def __init__(
        self,
        bus: Bus,
        rooms: RoomRegistry,
        tasks: Tasks,
        known: Callable[[LocalRoom, int], None],
        restored: Callable[[LocalRoom, int], None],
        absent: Callable[[LocalRoom, Connection, int | None, int], None],
    ) -> None:
        """Take the functions that act on what is learnt.

        `known` is called with a room and its head, `restored` with a room whose log ends before what was delivered.
        `absent` is called with a member that its service did not name, the room's head afterwards (None without
        one), and the count of questions when the service was asked.
        """
        self._bus = bus
        self._rooms = rooms
        self._tasks = tasks
        self._known = known
        self._restored = restored
        self._absent = absent
        self._unverified: dict[str, dict[LocalRoom, None]] = {}
        """By namespace, rooms whose heads have to be asked for."""
        self._doubts: dict[LocalRoom, dict[Connection, _Doubt]] = {}
        """Members that are none, as their service says."""
        self._suspects: dict[LocalRoom, tuple[int, float]] = {}
        """Rooms of which a lower head was announced than was delivered; what had been delivered, and when that was."""
        self._anew: set[LocalRoom] = set()
        """Rooms whose log was restored. They begin at their heads, whatever these are."""

    def verify(self, namespace: str, rooms: Iterable[LocalRoom]) -> None:
        """Ask for the heads of rooms soon, many in one request."""
        wanted = [room for room in rooms if room.has_log or not room.is_user_room]
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
        """Let each room of a namespace begin at its head, because the log was restored."""
        for name, rooms in self._rooms:
            if name == namespace:
                # A room without a sequence has no log, or nothing of it was delivered here.
                self._anew.update(room for room in rooms.values() if room.has_log)
        self.verify_all(namespace)

    def doubt(self, room: LocalRoom, connection: Connection, asked_at: int) -> None:
        """Ask for the head of a room in which a connection is no member any more, as far as its service knows."""
        self._doubts.setdefault(room, {})[connection] = _Doubt(asked_at, asyncio.get_running_loop().time())
        self.verify(room.namespace, (room,))

    def forget(self, room: LocalRoom) -> None:
        """Forget a room that has no member here any more."""
        self._unverified.get(room.namespace, {}).pop(room, None)
        self._doubts.pop(room, None)
        self._suspects.pop(room, None)
        self._anew.discard(room)

    def take_announced(self, namespace: str, heads: Iterable[RoomHead]) -> None:
        """Take the heads that a service announces, of rooms that changed lately."""
        for head in heads:
            if (room := self._rooms.get(namespace, head.room)) is None:
                continue
            if head.head < room.cursor.head:
                self._suspect(room, head.head)
            else:
                self._suspects.pop(room, None)
            self._known(room, head.head)

    def _suspect(self, room: LocalRoom, head: int) -> None:
        """Note an announced head below what was delivered.

        Most of them are just late; one that stays is asked about.
        """
        now = asyncio.get_running_loop().time()
        # Compared with what had been delivered at first: what came since is newer than that announcement.
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
                # Taken out before the request: what is asked for while it is under way is asked for once more.
                taken = list(islice(waiting, most))
                for room in taken:
                    del waiting[room]
                if await self._ask(namespace, taken, failing=failing):
                    failing, most = False, min(2 * most, HEADS_PER_REQUEST)
                else:
                    # Fewer rooms next time, and these last, so that one room on which the service fails cannot hold up
                    # the others for ever.
                    failing, most = True, max(1, most // 2)
                    waiting.update(dict.fromkeys(room for room in taken if not room.closed))
                    await asyncio.sleep(RETRY)
        finally:
            del self._unverified[namespace]

    async def _ask(self, namespace: str, rooms: Collection[LocalRoom], *, failing: bool) -> bool:
        # Read before the request: what is delivered while it is under way must not make the answer's head look low.
        delivered = {room.room: room.cursor.head for room in rooms}
        # Doubts that come from here on are asked about anew, because this answer may be older than they are.
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
                    self._restored(room, head)
                else:
                    self._known(room, head)
            for connection, doubt in doubts.get(room, {}).items():
                if not room.closed:
                    self._absent(room, connection, head, doubt.asked_at)
        return True

    def _keep_doubts(self, doubts: dict[LocalRoom, dict[Connection, _Doubt]]) -> None:
        """Ask again, but not for long: meanwhile a connection may hear what it must not."""
        now = asyncio.get_running_loop().time()
        for room, doubted in doubts.items():
            for connection, doubt in doubted.items():
                if room.closed:
                    break
                if now - doubt.since < DOUBT_SECONDS:
                    self._doubts.setdefault(room, {}).setdefault(connection, doubt)
                else:
                    self._absent(room, connection, None, doubt.asked_at)
