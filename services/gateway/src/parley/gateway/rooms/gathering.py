"""Lets events wait for others of their room that may wait as well, so that a storm of them is few writes per member.

A write to a socket costs the same for one event as for a hundred. The first event that may wait is delivered at once.
What comes within `SECONDS` after it waits until these are over, or until there is something in the room that does not
wait: that goes behind what waits, and at once. So a room's order stays as it is, and what waits is to everybody as if
it had come a moment later: nobody has it yet, and a room's cursor does not know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parley.common.wire.rooms import RoomEvent
from parley.gateway.rooms.local_room import LocalRoom

SECONDS = 0.1
MOST_BYTES = 64 * 1024
"""Bytes of payloads that wait in one room. With more they are delivered, and the time begins anew."""


class Gathering:
    """What waits in the rooms of this gateway. `deliver` takes the events of a room whose time is over."""

    def __init__(self, deliver: Callable[[LocalRoom, list[RoomEvent]], None]) -> None:
        self._deliver = deliver
        self._waiting: dict[LocalRoom, list[RoomEvent]] = {}
        """Of each room that had an event a moment ago which may wait, those after it."""

    def take(self, room: LocalRoom, events: list[RoomEvent]) -> list[RoomEvent]:
        """Take events as they arrive, and return those that are to be delivered now; none while they wait."""
        waiting = self._waiting.get(room)
        may_wait = bool(events) and all(event.may_wait for event in events)
        if waiting is None:
            if may_wait:
                self._begin(room)
            return events
        waiting += events
        if may_wait and sum(len(event.payload) for event in waiting) <= MOST_BYTES:
            return []
        return self.flush(room)

    def flush(self, room: LocalRoom) -> list[RoomEvent]:
        """Return what waits in a room, to be delivered now."""
        if not (waiting := self._waiting.get(room)):
            return []
        # Empty, but still there: its time runs on, and what comes next waits for its end.
        self._waiting[room] = []
        return waiting

    def forget(self, room: LocalRoom) -> None:
        """Drop what waits in a room that has no member here any more."""
        self._waiting.pop(room, None)

    def _begin(self, room: LocalRoom) -> None:
        self._waiting[room] = []
        asyncio.get_running_loop().call_later(SECONDS, self._over, room)

    def _over(self, room: LocalRoom) -> None:
        # A time in which nothing came ends the waiting: the next event is delivered at once.
        if not (waiting := self._waiting.pop(room, None)):
            return
        self._begin(room)
        self._deliver(room, waiting)
