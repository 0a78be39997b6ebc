"""Limits how much of the clients' input is worked off in a turn of the loop, and how much of it may wait.

`ReadScheduler` is the turn's allowance, shared by the WebSockets and the polling requests of an engine:

- a small read of a client that has joined a namespace is worked off at once, up to `FREE_FRAMES` frames, and not
  counted;
- of everything else, at most `READ_FRAMES` frames and `READ_BYTES` bytes of one WebSocket are worked off in a turn, and
  `TURN_FRAMES` frames and `TURN_BYTES` bytes of all of them;
- what is left is a backlog: its socket reads nothing more (`pause_reading`), and later turns go on with the backlogs in
  the order in which they arose. The packets of polling requests are worked off the same way.

`InputBudget` bounds the bytes that clients have sent and nobody has taken yet, in sum and for each address.
`writes` does for output what this does for input.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

READ_FRAMES = 64
"""Frames of one WebSocket that are worked off in a turn of the loop."""
READ_BYTES = 64 * 1024
"""Bytes of one WebSocket after which no more frames of it are begun in a turn of the loop."""
TURN_FRAMES = 256
"""Frames of all WebSockets together in a turn of the loop."""
TURN_BYTES = 512 * 1024
"""Bytes of all WebSockets together in a turn of the loop."""
FREE_BYTES = 1024
"""Bytes of a read up to which it is not counted, if it has no more than `FREE_FRAMES` frames."""
FREE_FRAMES = 4
"""Frames of a read up to which it is not counted, if it is `FREE_BYTES`."""
UNJOINED_FRAMES = 2
"""Frames that a read counts for at least, however small, while its session has joined no namespace."""
UNCOUNTED_BYTES = 1024
"""Bytes that a session may hold uncounted: most are the beginning of a message whose end is on its way."""
SHARES = 8
"""One address may hold this part of the whole budget (an eighth)."""
SMALL_HOLDING_BYTES = 64 * 1024
"""Bytes up to which a session counts as one that holds little, which may use its address's whole share."""


class Backlogged(Protocol):
    """A WebSocket, or a polling request, that has a backlog."""

    def read_on(self) -> None:
        """Work off a part of the backlog and, if some is left, wait again."""
        ...


class BudgetHolder(Protocol):
    """A session, or a connection of a layer above, whose bytes the budget counts."""

    held: int

    @property
    def address(self) -> str:
        """The key by which holders of one address are counted."""
        ...

    @property
    def joined(self) -> bool:
        """Whether it has joined a namespace."""
        ...


class _Pool:
    """The bytes that sessions of one kind hold, in sum and by address."""

    __slots__ = ("_by_address", "held", "limit", "share")

    def __init__(self, limit: int, largest: int) -> None:
        self.limit = limit
        # However small the limit is, an address must be able to send a few of the largest messages.
        self.share = max(limit // SHARES, 4 * largest)
        self.held = 0
        self._by_address: dict[str, int] = {}

    def has_room(self, session: BudgetHolder, size: int) -> bool:
        """Whether a session may hold `size` bytes more."""
        if self.held + size > self.limit:
            return False
        share = self.share if session.held + size <= SMALL_HOLDING_BYTES else self.share // 2
        return self._by_address.get(session.address, 0) + size <= share

    def count(self, address: str, size: int) -> None:
        """Count `size` bytes more, or less if it is negative."""
        if size:
            self.held += size
            if more := self._by_address.get(address, 0) + size:
                self._by_address[address] = more
            else:
                del self._by_address[address]


class InputBudget:
    """The bytes that clients have sent and nobody has taken yet: unfinished messages, backlogs, attachments, queues.

    Sessions that have joined no namespace have a smaller budget within the whole one, since nobody knows who they are.
    Each address has a share of both: half of it for any session, the other half for sessions that hold little. So one
    client that fills the share does not silence all others behind the same address, such as those of an office.
    """

    def __init__(self, total: int, unjoined: int, *, largest: int = 0, largest_unjoined: int = 0) -> None:
        """Budgets are in bytes; `largest` is the size of the largest message, and a share has room for four of them."""
        self._all = _Pool(total, largest)
        self._unjoined = _Pool(unjoined, largest_unjoined)

    @property
    def held(self) -> int:
        """The bytes that all sessions hold."""
        return self._all.held

    def take(self, session: BudgetHolder, size: int) -> bool:
        """Count bytes that a session holds. Return False, without counting them, when that is too much."""
        if not self._all.has_room(session, size):
            return False
        if not session.joined:
            if not self._unjoined.has_room(session, size):
                return False
            self._unjoined.count(session.address, size)
        self._all.count(session.address, size)
        session.held += size
        return True

    def give_back(self, session: BudgetHolder, size: int) -> None:
        """Count bytes no longer: they were passed on or dropped."""
        # A session's end gives back everything; whoever held bytes for it may come here afterwards.
        size = min(size, session.held)
        session.held -= size
        self._all.count(session.address, -size)
        if not session.joined:
            self._unjoined.count(session.address, -size)

    def hold(self, session: BudgetHolder, size: int, counted: int) -> int | None:
        """Count a part of what a session holds that has become `size` bytes long, `counted` of which are counted.

        Return how many are counted now, 0 for a part that is too small to be counted; None when it is too much.
        """
        held = size if size > UNCOUNTED_BYTES else 0
        if held < counted:
            self.give_back(session, counted - held)
        elif held > counted and not self.take(session, held - counted):
            return None
        return held

    def joining(self, session: BudgetHolder) -> None:
        """Count a session's bytes as those of one that has joined. It is called right before `joined` becomes true."""
        self._unjoined.count(session.address, -session.held)


class ReadScheduler:
    """The backlogs of one engine, and what is left of the present turn's allowance."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Backlogged] = deque()
        self._frames = TURN_FRAMES
        self._size = TURN_BYTES
        self._scheduled = False

    @property
    def exhausted(self) -> bool:
        """Whether the allowance of this turn is used up."""
        return self._frames <= 0 or self._size <= 0

    def spent(self, frames: int, size: int) -> None:
        """Take what was worked off from this turn's allowance."""
        self._frames -= frames
        self._size -= size
        self._schedule()

    def wait(self, backlogged: Backlogged) -> None:
        """Go on with a backlog on a later turn, behind the others."""
        self._waiting.append(backlogged)
        self._schedule()

    def go_on(self, backlogged: Backlogged) -> None:
        """Go on with a backlog on a later turn, before the others: split into packets it takes more memory."""
        self._waiting.appendleft(backlogged)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        # Before anybody goes on: what was overdrawn in the last turn is forgiven, or one large message would cost many
        # turns.
        self._frames, self._size = TURN_FRAMES, TURN_BYTES
        waiting = self._waiting
        try:
            # Only as many as wait now: a backlog that is not empty after its part queues up again.
            for _ in range(len(waiting)):
                if self.exhausted:
                    break
                waiting.popleft().read_on()
        finally:
            # Also when one of them raised: the others must be read on.
            if waiting:
                self._schedule()
