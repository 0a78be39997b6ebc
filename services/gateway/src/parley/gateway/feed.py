"""One room on this gateway: its cursor, who belongs to it, and who receives its events already."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from nats.aio.subscription import Subscription

from parley.common.envelope import Item
from parley.gateway.connections import Connection
from parley.gateway.resume import RoomCursor

RECENT = 256
"""Delivered events kept while a connection is being caught up, so that it can be spliced into a fast room."""


class Turn(NamedTuple):
    """A join or leave that waits for the room to get to an event: the first, or the last, that is received."""

    sequence: int
    joined: bool


class Feed:
    """A room's state. `members` belong to it; of them, `live` ones receive what is delivered now.

    The others are being caught up, or wait for a `Turn` that the room has not come to yet.
    """

    def __init__(self, namespace: str, room: str, head: int) -> None:
        self.namespace = namespace
        self.room = room
        self.cursor = RoomCursor(head)
        self.members: set[Connection] = set()
        self.live: set[Connection] = set()
        self.ready = asyncio.Event()
        """Set once the subscription is on its way to the broker."""
        self.subscription: Subscription | None = None
        self.repairing = False
        self.closed = False
        self.recent: deque[Item] = deque(maxlen=RECENT)
        self._turns: dict[Connection, deque[Turn]] = {}
        self._catching_up: dict[Connection, object] = {}

    @property
    def is_user_room(self) -> bool:
        """Whether this is a user's own room: unsequenced, and with moves."""
        return self.room.startswith("user:")

    def join(self, connection: Connection, after: int) -> bool:
        """Take in a connection that has everything up to `after`. True when it has to be caught up first."""
        if connection in self.members:
            turns = self._turns.get(connection)
            # One that is here already, and not about to leave, has nothing to wait for.
            if turns and not turns[-1].joined:
                turns.append(Turn(after + 1, joined=True))
            return False
        self.members.add(connection)
        if after > self.cursor.head:
            self._turns[connection] = deque([Turn(after + 1, joined=True)])
        elif after == self.cursor.head:
            self.live.add(connection)
        return after < self.cursor.head

    def leave(self, connection: Connection, at: int) -> bool:
        """Let a member go after the event `at`. True when it is gone now; else it goes when it has received that."""
        busy = connection in self._catching_up or connection in self._turns
        if at > self.cursor.head or (busy and at > 0):
            if connection in self.members:
                self._turns.setdefault(connection, deque()).append(Turn(at, joined=False))
            return False
        self.remove(connection)
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a member."""
        self.members.discard(connection)
        self.live.discard(connection)
        self._turns.pop(connection, None)
        self._catching_up.pop(connection, None)

    def begin(self, item: Item) -> None:
        """Before an event is delivered: let in whom it is the first for."""
        if not item.sequence:
            return
        if self._catching_up:
            self.recent.append(item)
        for connection, turns in list(self._turns.items()):
            if turns[0].joined and turns[0].sequence <= item.sequence and connection not in self._catching_up:
                self._pop(connection)
                self.live.add(connection)

    def finish(self, item: Item) -> list[Connection]:
        """After an event was delivered: the members that are gone now, because it was the last for them."""
        gone: list[Connection] = []
        if not item.sequence:
            return gone
        for connection, turns in list(self._turns.items()):
            leaves = not turns[0].joined and turns[0].sequence <= item.sequence
            if leaves and connection not in self._catching_up and self._step_out(connection):
                gone.append(connection)
        return gone

    @contextmanager
    def catching_up(self, connection: Connection) -> Generator[object]:
        """Keep delivered events in `recent` meanwhile. The mark stays the connection's unless it is removed."""
        mark = self._catching_up[connection] = object()
        try:
            yield mark
        finally:
            if self._catching_up.get(connection) is mark:
                del self._catching_up[connection]
            if not self._catching_up:
                self.recent.clear()

    def is_catching_up(self, connection: Connection, mark: object) -> bool:
        """Whether the catching up with this mark is still wanted."""
        return self._catching_up.get(connection) is mark

    def due(self, connection: Connection) -> int:
        """The sequence up to which a connection is to be caught up: the room's head, or an earlier leave."""
        turns = self._turns.get(connection)
        head = self.cursor.head
        return head if turns is None or turns[0].joined else min(head, turns[0].sequence)

    def caught_up(self, connection: Connection, after: int) -> int | None:
        """A connection has everything up to `after`, which was due. Returns from where to go on, or None when done."""
        turns = self._turns.get(connection)
        if turns is None or turns[0].joined or turns[0].sequence > after:
            self.live.add(connection)
            return None
        if self._step_out(connection):
            return None
        after = self._turns[connection][0].sequence - 1
        if after >= self.cursor.head:
            return None  # waits for its turn
        self._pop(connection)
        return after

    def _step_out(self, connection: Connection) -> bool:
        """Take a leave's turn. True when no join follows, and the connection is a member no more."""
        self.live.discard(connection)
        self._pop(connection)
        if connection in self._turns:
            return False
        self.remove(connection)
        return True

    def _pop(self, connection: Connection) -> None:
        turns = self._turns[connection]
        turns.popleft()
        if not turns:
            del self._turns[connection]
