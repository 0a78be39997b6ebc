"""What a writer knows of rooms between batches: enough to allow a command without asking, never to refuse one. Pure.

A room here is as it was after event `changed`, the last one that changes what decisions read. Postgres compares
`changed` under the room's lock when an event is appended because of it, so outdated knowledge does no harm. It belongs
to one connection: behind another one may be another Postgres, with an older log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from parley.chat.domain.state import Member, Restrictions, Room

# These bound the memory. A room that is not known costs one more statement, and nothing else.
MAX_ROOMS = 20_000
MAX_MEMBERS = 200_000
"""Memberships of all these rooms together."""


class KnownRooms:
    """The rooms that were read or written last. The least recently used one is forgotten first."""

    def __init__(self, max_rooms: int = MAX_ROOMS, max_members: int = MAX_MEMBERS) -> None:
        self._rooms: OrderedDict[int, Room] = OrderedDict()
        self._max_rooms = max_rooms
        self._max_members = max_members
        self._members = 0

    def find(self, room_id: int, user_id: str) -> Room | None:
        """Return a room in which this user is known to be a member or invited, else None."""
        room = self._rooms.get(room_id)
        if room is None or user_id not in room.members:
            return None
        self._rooms.move_to_end(room_id)
        return room

    def learn(self, room: Room, changed_before: int, gone: Iterable[str] = (), now: datetime | None = None) -> None:
        """Take over a room that was read when `changed_before` was its last change, with what was committed afterwards.

        `gone` are the users who have left it meanwhile. What held for users and has ended at `now`, by Postgres' clock,
        is left out: that it is over stays true.
        """
        known = self._rooms.get(room.room_id)
        if known is not None and known.changed > room.changed:
            return
        members: dict[str, Member] = {}
        restrictions: dict[str, Restrictions] = {}
        if known is not None:
            self._members -= len(known.members)
            # Nothing else changed the room in between, so what was known of its other members still holds.
            if known.changed == changed_before:
                members = known.members
                restrictions = {one: own for one, own in known.restrictions.items() if one not in room.members}
        members.update(room.members)
        for own in room.restrictions.values():
            left = own if now is None else own.ended(now)
            if own.user_id in members and not left.empty:
                restrictions[own.user_id] = left
        for user_id in gone:
            members.pop(user_id, None)
        self._rooms[room.room_id] = replace(room, members=members, restrictions=restrictions, invites={})
        self._rooms.move_to_end(room.room_id)
        self._members += len(members)
        while len(self._rooms) > self._max_rooms or self._members > self._max_members:
            _, oldest = self._rooms.popitem(last=False)
            self._members -= len(oldest.members)

    def advance(self, room_id: int, head: int) -> None:
        """Note that a room has at least this many events."""
        if (room := self._rooms.get(room_id)) is not None and room.head < head:
            room.head = head

    def forget(self, rooms: Iterable[int]) -> None:
        """Forget rooms that turned out to be outdated."""
        for room_id in rooms:
            if (room := self._rooms.pop(room_id, None)) is not None:
                self._members -= len(room.members)

    def clear(self) -> None:
        """Forget everything."""
        self._rooms.clear()
        self._members = 0
