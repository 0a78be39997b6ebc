"""What is read, and when: between the sockets and the parser, so that no client owns a turn of the loop.

Of a small read of somebody who has joined a namespace, a few frames are worked off at once. Of everything else, at most
`FRAMES` frames and `SIZE` bytes of one WebSocket are worked off in a turn of the loop, and `TURN_FRAMES` frames and
`TURN_SIZE` bytes of all of them. What remains is a backlog: the socket reads nothing more (`pause_reading`), others
have their turn, and the next turn goes on with the backlogs in the order in which they arose. The packets of polling
requests are worked off the same way, one request after the other. `writes` does it for output.

What clients sent and nobody has taken yet is bounded as well, in sum and for each address, by `InputBudget`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

FRAMES = 64
SIZE = 64 * 1024
"""Frames and bytes of one WebSocket that are worked off in a turn of the loop."""
TURN_FRAMES = 256
TURN_SIZE = 512 * 1024
"""The same for all WebSockets together. What is `SMALL`, and no more than a `FEW` frames, is not counted."""
SMALL = 1024
FEW = 4
STRANGER = 2
"""Frames that a read counts for at least, however small, while its session has joined no namespace."""
UNCOUNTED = 1024
"""Bytes that a session may hold without their being counted: a message whose end is still on its way."""
SHARES = 8
"""An address may make the gateway hold this part of what all may."""
MODEST = 64 * 1024
"""Bytes that a session may hold while others of its address hold half of the address's share."""


class Backlogged(Protocol):
    """A WebSocket, or a polling request, that has more to work off."""

    def read_on(self) -> None:
        """Work off a part of the backlog; if some is left, wait again."""
        ...


class Holder(Protocol):
    """A session, as the budget sees it."""

    held: int
    address: str

    @property
    def joined(self) -> bool:
        """Whether it has joined a namespace."""
        ...


class _Pool:
    """What a kind of sessions holds, in sum and by address."""

    __slots__ = ("_by_address", "held", "limit", "share")

    def __init__(self, limit: int, largest: int) -> None:
        self.limit = limit
        self.share = max(limit // SHARES, 4 * largest)
        self.held = 0
        self._by_address: dict[str, int] = {}

    def has_room(self, session: Holder, size: int) -> bool:
        """Whether a session may hold so much more."""
        if self.held + size > self.limit:
            return False
        share = self.share if session.held + size <= MODEST else self.share // 2
        return self._by_address.get(session.address, 0) + size <= share

    def count(self, address: str, size: int) -> None:
        """So much more is held, or less."""
        if size:
            self.held += size
            if more := self._by_address.get(address, 0) + size:
                self._by_address[address] = more
            else:
                del self._by_address[address]


class InputBudget:
    """Bytes that clients sent and the gateway has not passed on: unfinished messages, backlogs, attachments, queues.

    Sessions that have joined no namespace have a smaller sum of their own, since nobody knows who they are. Of either
    sum one address has a share: half of it for anybody, the rest for those sessions that hold little, so that somebody
    who fills it does not silence all others of an office.
    """

    def __init__(self, total: int, unjoined: int, *, largest: int = 0, largest_unjoined: int = 0) -> None:
        """`largest` are the sizes of one message: a share has room for it, however small the sum is."""
        self._all = _Pool(total, largest)
        self._strangers = _Pool(unjoined, largest_unjoined)

    @property
    def held(self) -> int:
        """Bytes held of everybody."""
        return self._all.held

    @property
    def held_unjoined(self) -> int:
        """Bytes held of those that have joined no namespace."""
        return self._strangers.held

    def take(self, session: Holder, size: int) -> bool:
        """Count bytes that a session makes the gateway hold. False, and nothing is counted, when that is too much."""
        if not self._all.has_room(session, size):
            return False
        if not session.joined:
            if not self._strangers.has_room(session, size):
                return False
            self._strangers.count(session.address, size)
        self._all.count(session.address, size)
        session.held += size
        return True

    def give_back(self, session: Holder, size: int) -> None:
        """The bytes were passed on or dropped. Nothing after the session's end, when all was given back."""
        size = min(size, session.held)
        session.held -= size
        self._all.count(session.address, -size)
        if not session.joined:
            self._strangers.count(session.address, -size)

    def joining(self, session: Holder) -> None:
        """The session is about to have joined a namespace: what it holds is not held by a stranger any more."""
        self._strangers.count(session.address, -session.held)


class ReadScheduler:
    """The backlogs of one engine, and what is left of the allowance of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Backlogged] = deque()
        self._frames = TURN_FRAMES
        self._size = TURN_SIZE
        self._scheduled = False

    @property
    def exhausted(self) -> bool:
        """Whether this turn's allowance is used up."""
        return self._frames <= 0 or self._size <= 0

    def spent(self, frames: int, size: int) -> None:
        """So much was worked off."""
        self._frames -= frames
        self._size -= size
        self._schedule()

    def wait(self, backlogged: Backlogged) -> None:
        """Go on with this backlog on a later turn."""
        self._waiting.append(backlogged)
        self._schedule()

    def go_on(self, backlogged: Backlogged) -> None:
        """Go on with this backlog before others: what it has begun with takes more memory than what it was sent."""
        self._waiting.appendleft(backlogged)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._frames, self._size = TURN_FRAMES, TURN_SIZE
        waiting = self._waiting
        try:
            # Only those that wait by now: who still has a backlog after its part queues up behind the others.
            for _ in range(len(waiting)):
                if self.exhausted:
                    break
                waiting.popleft().read_on()
        finally:
            # Also when one of them failed: the others must be read on.
            if waiting:
                self._schedule()
