"""What a process knows of rooms between batches: enough to say yes without asking, and never to say no.

A room here is as it was after event `changed`, the last one that changes what decisions read. Whoever appends because
of it has Postgres compare `changed` under the room's lock, so that what is out of date does no harm. It is of one
connection: behind another one may be another Postgres, with an older log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from parley.chat.domain.state import Member, Room

MAX_ROOMS = 20_000
MAX_MEMBERS = 200_000
"""Places in rooms, in all of them together."""


class KnownRooms:
    """Rooms lately read or written, the least recently used forgotten first."""

    def __init__(self, max_rooms: int = MAX_ROOMS, max_members: int = MAX_MEMBERS) -> None:
        self._rooms: OrderedDict[int, Room] = OrderedDict()
        self._max_rooms = max_rooms
        self._max_members = max_members
        self._members = 0

    def find(self, room_id: int, user_id: str) -> Room | None:
        """A room of which this user is known to be a member, or invited."""
        room = self._rooms.get(room_id)
        if room is None or user_id not in room.members:
            return None
        self._rooms.move_to_end(room_id)
        return room

    def learn(self, room: Room, since: int, gone: Iterable[str] = ()) -> None:
        """Take over a room that was read when `since` was its last change, with what was committed thereafter.

        `gone` are the users who have no place in it any more.
        """
        known = self._rooms.get(room.room_id)
        if known is not None and known.changed > room.changed:
            return
        members: dict[str, Member] = {}
        if known is not None:
            self._members -= len(known.members)
            if known.changed == since:
                members = known.members
        members.update(room.members)
        for user_id in gone:
            members.pop(user_id, None)
        self._rooms[room.room_id] = replace(room, members=members)
        self._rooms.move_to_end(room.room_id)
        self._members += len(members)
        while len(self._rooms) > self._max_rooms or self._members > self._max_members:
            _, oldest = self._rooms.popitem(last=False)
            self._members -= len(oldest.members)

    def advance(self, room_id: int, head: int) -> None:
        """A room has at least so many events."""
        if (room := self._rooms.get(room_id)) is not None and room.head < head:
            room.head = head

    def forget(self, rooms: Iterable[int]) -> None:
        """Forget rooms that turned out to be out of date."""
        for room_id in rooms:
            if (room := self._rooms.pop(room_id, None)) is not None:
                self._members -= len(room.members)

    def clear(self) -> None:
        """Forget everything."""
        self._rooms.clear()
        self._members = 0
