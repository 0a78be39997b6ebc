"""Noticing that the own event loop stood still: a blocking call, a long collection, SIGSTOP, a virtual machine's pause.

What others said meanwhile may be lost, and what they did not say is no sign of anything: whoever trusts in messages
that are sent once looks again after a stall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from parley.common.logs import get_logger

log = get_logger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at the clock."""
STALL = 1.0
"""Seconds by which a look may be late before it counts as a stall."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that nobody sets and that, where there is such a one, goes on while the machine sleeps."""


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class LoopMonitor:
    """Calls back after every stall of the loop it runs on."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def on_stall(self, callback: Callable[[], None]) -> None:
        """Call back, in the order of asking, once the loop runs again after it stood still for more than `STALL`."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Look at the clock, for ever."""
        while True:
            before = _now()
            await asyncio.sleep(INTERVAL)
            late = _now() - before - INTERVAL
            if late > STALL:
                log.warning("the event loop stood still", seconds=round(late, 1))
                for callback in self._callbacks:
                    callback()
