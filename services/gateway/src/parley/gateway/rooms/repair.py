"""Repairs rooms: what was lost on the way to this gateway is read from the log, and delivered before anything later.

A few workers per namespace take the rooms that are behind, one after the other. After an outage these are thousands,
which are repaired at a steady pace instead of all at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from prometheus_client import Counter

from parley.common.process.tasks import Tasks
from parley.common.wire.rooms import RoomEvent
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.log_reader import LogReader

REPAIRED = Counter("parley_gateway_repairs_total", "Times a room was repaired from the log")

GRACE = 0.05
"""Seconds that a missing event may take before the log is asked, because services overtake each other all the time."""
RETRY = 0.5
WORKERS = 32
"""Rooms of one namespace that are repaired at the same time."""


class Repair:
    """Repairs the rooms that are behind. `deliver` takes a room's next events, in order."""

    def __init__(self, log: LogReader, deliver: Callable[[LocalRoom, list[RoomEvent]], None], tasks: Tasks) -> None:
        self._log = log
        self._deliver = deliver
        self._tasks = tasks
        self._waiting: defaultdict[str, deque[tuple[float, LocalRoom]]] = defaultdict(deque)
        """By namespace, the rooms to be repaired, and from when on."""
        self._workers: defaultdict[str, int] = defaultdict(int)

    def soon(self, room: LocalRoom) -> None:
        """Repair a room in a moment, unless it has caught up by then."""
        if room.repairing or not room.cursor.behind:
            return
        # One at a time, however often it is called: the worker itself goes on until the room is not behind.
        room.repairing = True
        namespace = room.namespace
        self._waiting[namespace].append((asyncio.get_running_loop().time() + GRACE, room))
        if self._workers[namespace] < WORKERS:
            self._workers[namespace] += 1
            self._tasks.spawn(self._work(namespace), name="repair")

    async def _work(self, namespace: str) -> None:
        waiting, loop = self._waiting[namespace], asyncio.get_running_loop()
        try:
            while waiting:
                # As a rule the first one is due before all others, since they wait equally long.
                begins, room = waiting.popleft()
                if (pause := begins - loop.time()) > 0:
                    await asyncio.sleep(pause)
                if await self._repair(room):
                    room.repairing = False
                else:
                    # `RETRY` is longer than `GRACE`, so the queue is not quite in order; who is behind it waits a
                    # little more.
                    waiting.append((loop.time() + RETRY, room))
        finally:
            self._workers[namespace] -= 1

    async def _repair(self, room: LocalRoom) -> bool:
        """Bring a room up to what is known of it. Returns False if the log has nothing that helps at the moment."""
        cursor = room.cursor
        if cursor.behind and not room.closed:
            REPAIRED.inc()
        while cursor.behind and not room.closed:
            replayed = await self._log.for_repair(room, cursor.head)
            if replayed is None:
                return False
            if not replayed.events:
                cursor.lower_known(replayed.head)
            before = cursor.head
            self._deliver(room, cursor.accept(replayed.events))
            if cursor.behind and cursor.head == before:
                return False  # the log does not have what follows yet, and asking again at once would never end
        return True
