"""Commands that wait for what the screen says of them, and behind each the later ones of the same user.

So the order of a user's commands stays, and nobody else waits for the screen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from parley.chat.domain.room import ChatCommand
from parley.chat.domain.state import Screened
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

WaitingT = TypeVar("WaitingT")
Screen = Callable[[ChatCommand, Identity], "asyncio.Future[Screened] | None"]
"""Has a command looked at; None if there is nothing to look at."""


class HeldCommands(Generic[WaitingT]):
    """Holds commands by user, and releases each once it is screened and nothing of its user is before it."""

    def __init__(self, release: Callable[[WaitingT, Screened | None], None]) -> None:
        self._release = release
        self._of_user: dict[str, deque[tuple[WaitingT, asyncio.Future[Screened] | None]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def holds(self, user_id: str) -> bool:
        """Return whether commands of this user are held, behind which later ones have to wait."""
        return user_id in self._of_user

    def hold(self, user_id: str, waiting: WaitingT, screened: asyncio.Future[Screened] | None) -> None:
        """Hold a command until its turn has come."""
        self._of_user.setdefault(user_id, deque()).append((waiting, screened))
        self._count += 1
        if screened is not None:
            # Answers come in any order. Each only frees what stands first, and the others wait for the one before.
            screened.add_done_callback(lambda _: self._go_on(user_id))
        else:
            self._go_on(user_id)

    def empty(self) -> list[WaitingT]:
        """Return everything that is held, and hold nothing any more."""
        held = [waiting for queue in self._of_user.values() for waiting, _ in queue]
        self._of_user.clear()
        self._count = 0
        return held

    def _go_on(self, user_id: str) -> None:
        queue = self._of_user.get(user_id)
        while queue and (queue[0][1] is None or queue[0][1].done()):
            waiting, screened = queue.popleft()
            self._count -= 1
            self._release(waiting, None if screened is None else _said(screened))
        if queue is not None and not queue:
            # From here on the user's commands go straight to the writer again (`holds`).
            del self._of_user[user_id]


def _said(screened: asyncio.Future[Screened]) -> Screened:
    """Return what was said. A screen that failed, or that is stopping, has said nothing that a text could pass by."""
    if screened.cancelled() or screened.exception() is not None:
        return Screened(Reject(Code.UNAVAILABLE))
    return screened.result()
