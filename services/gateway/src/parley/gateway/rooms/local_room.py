"""One room on this gateway: its cursor, who belongs to it, and who receives its events already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from parley.common.subscriptions import Listener
from parley.common.wire.rooms import RoomEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.cursor import UNKNOWN, RoomCursor

RECENT = 256
"""Delivered events kept while a connection is being caught up, so that it can be spliced into a fast room."""


class Turn(NamedTuple):
    """A join or leave that waits for the room to get to an event: the first, or the last, that is received."""

    sequence: int
    joined: bool


class Progress:
    """How far a member has been caught up."""

    __slots__ = ("sequence",)

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence


class LocalRoom:
    """A room's state: its members, of which `live` ones receive what is delivered now.

    The others are being caught up, or wait for a `Turn` that the room has not come to yet. A gateway has many feeds and
    most are quiet, so that what only a busy one needs is made when it does.
    """

    __slots__ = (
        "_aside", "_catching_up", "_hear", "_recent", "_turns",
        "closed", "cursor", "listener", "live", "namespace", "repairing", "room",
    )  # fmt: skip

    def __init__(self, namespace: str, room: str, head: int, hear: Callable[[LocalRoom, bytes], None]) -> None:
        self.namespace = namespace
        self.room = room
        self.cursor = RoomCursor(head)
        self.live: set[Connection] = set()
        self.listener: Listener | None = None
        self.repairing = False
        self.closed = False
        self._hear = hear
        self._aside: set[Connection] | None = None
        """Members that are not live."""
        self._recent: deque[RoomEvent] | None = None
        self._turns: dict[Connection, deque[Turn]] | None = None
        self._catching_up: dict[Connection, Progress] | None = None

    def __call__(self, data: bytes) -> None:
        """Hear a message of the room's subject."""
        self._hear(self, data)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self.live or (self._aside is not None and connection in self._aside)

    @property
    def members(self) -> list[Connection]:
        """Everyone who belongs to the room, live or not."""
        return [*self.live, *(self._aside or ())]

    @property
    def empty(self) -> bool:
        """Whether nobody belongs to the room."""
        return not self.live and not self._aside

    @property
    def settled(self) -> bool:
        """Whether nobody is being caught up or waits for a turn."""
        return self._turns is None and self._catching_up is None

    @property
    def has_log(self) -> bool:
        """Whether its events can be read again."""
        return not self.is_user_room and self.cursor.head != UNKNOWN

    @property
    def recent(self) -> Sequence[RoomEvent]:
        """What was delivered lately, while anybody is being caught up."""
        return self._recent or ()

    @property
    def is_user_room(self) -> bool:
        """Whether this is a user's own room: unsequenced, and with moves."""
        return self.room.startswith("user:")

    def register(self, connection: Connection) -> None:
        """Take in a connection that is not live yet."""
        if connection not in self.live:
            self._aside = self._aside or set()
            self._aside.add(connection)

    def let_in(self, connection: Connection) -> None:
        """Make a member live."""
        self._drop_aside(connection)
        self.live.add(connection)

    def join(self, connection: Connection, after: int) -> bool:
        """Take in a connection that has everything up to `after`. True when it has to be caught up first."""
        if connection in self:
            turns = self._turns_of(connection)
            # One that is here already, and not about to leave, has nothing to wait for.
            if turns and not turns[-1].joined:
                turns.append(Turn(after + 1, joined=True))
            return False
        if after == self.cursor.head:
            self.let_in(connection)
        else:
            self.register(connection)
        if after > self.cursor.head:
            self._add_turn(connection, Turn(after + 1, joined=True))
        return after < self.cursor.head

    def leave(self, connection: Connection, at: int) -> bool:
        """Let a member go after the event `at`. True when it is gone now; else it goes when it has received that."""
        busy = self._is_busy(connection) or self._turns_of(connection) is not None
        if at > 0 and (busy or at > self.cursor.head):
            if connection in self:
                self._add_turn(connection, Turn(at, joined=False))
            return False
        self.remove(connection)
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a member."""
        self.live.discard(connection)
        self._drop_aside(connection)
        if self._turns is not None and self._turns.pop(connection, None) is not None and not self._turns:
            self._turns = None
        if self._catching_up is not None:
            self._catching_up.pop(connection, None)

    def begin(self, item: RoomEvent) -> None:
        """Before an event is delivered: let in whom it is the first for."""
        if not item.sequence:
            return
        if self._recent is not None:
            self._recent.append(item)
        for connection, turns in list(self._turns.items()) if self._turns else ():
            if turns[0].joined and turns[0].sequence <= item.sequence and not self._is_busy(connection):
                self._pop(connection)
                self.let_in(connection)

    def finish(self, item: RoomEvent) -> list[Connection]:
        """After an event was delivered: the members that are gone now, because it was the last for them."""
        gone: list[Connection] = []
        if not item.sequence or not self._turns:
            return gone
        for connection, turns in list(self._turns.items()):
            leaves = not turns[0].joined and turns[0].sequence <= item.sequence
            if leaves and not self._is_busy(connection) and self._step_out(connection):
                gone.append(connection)
        return gone

    def sent_to(self, connection: Connection) -> int | None:
        """The sequence up to which a member was sent the room's events; None when that is not a matter of course."""
        if connection in self.live:
            return self.cursor.head
        turns = self._turns_of(connection)
        if turns is None:
            progress = (self._catching_up or {}).get(connection)
            return None if progress is None else progress.sequence
        return turns[0].sequence - 1 if len(turns) == 1 and not self._is_busy(connection) else None

    @contextmanager
    def catching_up(self, connection: Connection, after: int) -> Generator[Progress]:
        """Keep delivered events in `recent` meanwhile. The mark stays the connection's unless it is removed."""
        if self._catching_up is None:
            self._catching_up, self._recent = {}, deque(maxlen=RECENT)
        mark = self._catching_up[connection] = Progress(after)
        try:
            yield mark
        finally:
            if self.is_catching_up(connection, mark):
                self._catching_up.pop(connection)
            if not self._catching_up:
                self._catching_up = self._recent = None

    def is_catching_up(self, connection: Connection, mark: Progress) -> bool:
        """Whether the catching up with this mark is still wanted."""
        return self._catching_up is not None and self._catching_up.get(connection) is mark

    def due(self, connection: Connection) -> int:
        """The sequence up to which a connection is to be caught up: the room's head, or an earlier leave."""
        turns = self._turns_of(connection)
        head = self.cursor.head
        return head if turns is None or turns[0].joined else min(head, turns[0].sequence)

    def caught_up(self, connection: Connection, after: int) -> int | None:
        """A connection has everything up to `after`, which was due. Returns from where to go on, or None when done."""
        turns = self._turns_of(connection)
        if turns is None or turns[0].joined or turns[0].sequence > after:
            self.let_in(connection)
            return None
        if self._step_out(connection) or (turns := self._turns_of(connection)) is None:
            return None
        after = turns[0].sequence - 1
        if after >= self.cursor.head:
            return None  # waits for its turn
        self._pop(connection)
        return after

    def _step_out(self, connection: Connection) -> bool:
        """Take a leave's turn. True when no join follows, and the connection is a member no more."""
        self.live.discard(connection)
        self._pop(connection)
        if self._turns_of(connection) is not None:
            self.register(connection)
            return False
        self.remove(connection)
        return True

    def _is_busy(self, connection: Connection) -> bool:
        return self._catching_up is not None and connection in self._catching_up

    def _drop_aside(self, connection: Connection) -> None:
        if self._aside is not None:
            self._aside.discard(connection)
            self._aside = self._aside or None

    def _turns_of(self, connection: Connection) -> deque[Turn] | None:
        return None if self._turns is None else self._turns.get(connection)

    def _add_turn(self, connection: Connection, turn: Turn) -> None:
        self._turns = self._turns or {}
        self._turns.setdefault(connection, deque()).append(turn)

    def _pop(self, connection: Connection) -> None:
        if self._turns is None:
            return
        turns = self._turns[connection]
        turns.popleft()
        if not turns:
            del self._turns[connection]
            self._turns = self._turns or None
