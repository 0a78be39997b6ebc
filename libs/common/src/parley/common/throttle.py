"""A throttle with a leading and a trailing edge: a lone request is served at once, those of a busy time together.

    | state     | input           | what happens                                                                     |
    |-----------|-----------------|----------------------------------------------------------------------------------|
    | idle      | `soon`          | pending: the action runs two turns of the loop later, or when the interval is over |
    | pending   | `soon`          | nothing: the action that is pending serves this request as well                  |
    | pending   | its time comes  | idle; the action runs                                                            |

The interval begins when the action runs. It takes two turns because what follows from an event, such as the ack that a
future's callback makes, comes one turn after it and should travel in the same message.

`ListeningClient` writes to NATS by it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Throttle:
    """Runs an action at most once per `interval` seconds, which may be 0. uvloop rounds intervals to milliseconds."""

    __slots__ = ("_action", "_interval", "_next", "_pending")

    def __init__(self, action: Callable[[], object], interval: float) -> None:
        self._action = action
        self._interval = interval
        self._next = 0.0
        """The time from which on the action may run again, in seconds of `time.monotonic`."""
        self._pending = False

    def soon(self) -> None:
        """Have the action run as soon as it may."""
        if self._pending:
            return
        self._pending = True
        loop = asyncio.get_running_loop()
        # In a busy time the interval has to pass; after a pause only this turn's other requests are waited for.
        if (wait := self._next - time.monotonic()) > 0:
            loop.call_later(wait, self._run)
        else:
            loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._pending = False
        # Before the action, which may fail or ask for itself again: the interval counts from its beginning.
        self._next = time.monotonic() + self._interval
        self._action()
