"""When to do at once what was asked for several times: a lone request does not wait, those of a busy time gather.

`Throttle` is what is elsewhere called a throttle with a leading and a trailing edge:

    | state     | input           | what happens                                                                     |
    |-----------|-----------------|----------------------------------------------------------------------------------|
    | idle      | `soon`          | pending: it runs two turns of the loop later, or when the interval is over       |
    | pending   | `soon`          | nothing: what is asked for goes along                                            |
    | pending   | its time comes  | idle; the action runs                                                            |

The interval counts from when the action ran last. Two turns, because what follows from an event, such as the ack that a
future's callback makes, comes one turn after it and belongs into the same message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Throttle:
    """Runs an action at most once per `interval` seconds, which may be 0; rounded as the loop rounds its timers."""

    __slots__ = ("_action", "_interval", "_next", "_pending")

    def __init__(self, action: Callable[[], object], interval: float) -> None:
        self._action = action
        self._interval = interval
        self._next = 0.0
        """When the action may run again."""
        self._pending = False

    def soon(self) -> None:
        """Have the action run as soon as it may."""
        if self._pending:
            return
        self._pending = True
        loop = asyncio.get_running_loop()
        if (wait := self._next - time.monotonic()) > 0:
            loop.call_later(wait, self._run)
        else:
            loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._pending = False
        self._next = time.monotonic() + self._interval
        self._action()
