"""What is read, and when: between the sockets and the parser, so that no client owns a turn of the loop.

Of a small read, a few frames are worked off at once. Of everything else, at most `FRAMES` frames and `SIZE` bytes of
one WebSocket are worked off in a turn of the loop, and `TURN_FRAMES` frames and `TURN_SIZE` bytes of all of them. What
remains is a backlog: the socket reads nothing more (`pause_reading`), others have their turn, and the next turn goes on
with the backlogs in the order in which they arose. The packets of polling requests are worked off the same way, one
request after the other. `writes` does it for output.

What clients sent and nobody has taken yet is bounded in sum as well, by `InputBudget`.
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
UNCOUNTED = 1024
"""Bytes that a session may hold without their being counted: a message whose end is still on its way."""


class Backlogged(Protocol):
    """A WebSocket, or a polling request, that has more to work off."""

    def read_on(self) -> None:
        """Work off a part of the backlog; if some is left, wait again."""
        ...


class Holder(Protocol):
    """A session, as the budget sees it."""

    held: int

    @property
    def joined(self) -> bool:
        """Whether it has joined a namespace."""
        ...


class InputBudget:
    """Bytes that clients sent and the gateway has not passed on: unfinished messages, backlogs, attachments, queues.

    Sessions that have joined no namespace have a smaller sum of their own, since nobody knows who they are.
    """

    def __init__(self, total: int, unjoined: int) -> None:
        self._total = total
        self._unjoined = unjoined
        self.held = 0
        self.held_unjoined = 0

    def take(self, session: Holder, size: int) -> bool:
        """Count bytes that a session makes the gateway hold. False, and nothing is counted, when that is too much."""
        if self.held + size > self._total:
            return False
        if not session.joined:
            if self.held_unjoined + size > self._unjoined:
                return False
            self.held_unjoined += size
        self.held += size
        session.held += size
        return True

    def give_back(self, session: Holder, size: int) -> None:
        """The bytes were passed on or dropped. Nothing after the session's end, when all was given back."""
        size = min(size, session.held)
        session.held -= size
        self.held -= size
        if not session.joined:
            self.held_unjoined -= size

    def joining(self, session: Holder) -> None:
        """The session is about to have joined a namespace: what it holds is not held by a stranger any more."""
        self.held_unjoined -= session.held


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
            for _ in range(len(waiting)):
                if self.exhausted:
                    break
                waiting.popleft().read_on()
        finally:
            if waiting:
                self._schedule()
