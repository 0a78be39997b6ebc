"""One room on this gateway: its cursor, who belongs to it, and who receives its events already."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from nats.aio.subscription import Subscription

from parley.common.envelope import Item
from parley.gateway.connections import Connection
from parley.gateway.resume import RoomCursor

RECENT = 256
"""Delivered events kept while a connection is being caught up, so that it can be spliced into a fast room."""


class Feed:
    """A room's state; `members` belong to it, `live` are those of them that receive what is delivered now."""

    def __init__(self, namespace: str, room: str, head: int) -> None:
        self.namespace = namespace
        self.room = room
        self.cursor = RoomCursor(head)
        self.members: set[Connection] = set()
        self.live: set[Connection] = set()
        self.departures: dict[Connection, int] = {}
        """Members that leave after the event of this sequence."""
        self.ready = asyncio.Event()
        """Set once the subscription is on its way to the broker."""
        self.subscription: Subscription | None = None
        self.repairing = False
        self.closed = False
        self.recent: deque[Item] = deque(maxlen=RECENT)
        self._arrivals: dict[Connection, int] = {}
        self._keepers = 0

    @property
    def is_user_room(self) -> bool:
        """Whether this is a user's own room: unsequenced, and with moves."""
        return self.room.startswith("user:")

    def place(self, connection: Connection, after: int) -> bool:
        """Whether a member that has everything up to `after` may go live now.

        One that is ahead of this gateway goes live when the room gets there.
        """
        if after > self.cursor.head:
            self._arrivals[connection] = after
        return after == self.cursor.head

    def remove(self, connection: Connection) -> None:
        """Forget a member."""
        self.members.discard(connection)
        self.live.discard(connection)
        self.departures.pop(connection, None)
        self._arrivals.pop(connection, None)

    def begin(self, item: Item) -> None:
        """Before an event is delivered: let in whom it is the first for."""
        if self._keepers and item.sequence:
            self.recent.append(item)
        if self._arrivals and item.sequence:
            for connection in [c for c, after in self._arrivals.items() if after < item.sequence]:
                del self._arrivals[connection]
                self.live.add(connection)

    def finish(self, item: Item) -> list[Connection]:
        """After an event was delivered: the members for whom it was the last."""
        if not self.departures:
            return []
        return [connection for connection, at in self.departures.items() if item.sequence and at <= item.sequence]

    @contextmanager
    def keeping_recent(self) -> Generator[None]:
        """Keep delivered events in `recent` meanwhile."""
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1
            if not self._keepers:
                self.recent.clear()
