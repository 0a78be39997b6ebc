"""Noticing that the own event loop stood still: a blocking call, a long collection, SIGSTOP, a virtual machine's pause.

What others said meanwhile may be lost, and what they did not say is no sign of anything: whoever trusts in messages
that are sent once looks again after a stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parley.common.process.logs import get_logger
from parley.gateway.process.boot_clock import boot_time

log = get_logger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at the clock."""
STALL = 1.0
"""Seconds by which a look may be late before it counts as a stall."""


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
            before = boot_time()
            await asyncio.sleep(INTERVAL)
            late = boot_time() - before - INTERVAL
            if late > STALL:
                log.warning("the event loop stood still", seconds=round(late, 1))
                for callback in self._callbacks:
                    callback()
