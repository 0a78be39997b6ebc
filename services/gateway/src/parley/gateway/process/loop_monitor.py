"""Notices that the event loop stood still: by a blocking call, a long collection, SIGSTOP, or a paused virtual machine.

What others published meanwhile may be lost, and their silence means nothing. So whatever relies on messages that are
published once has to compare again after a stall.
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
    """Calls back after every stall of the loop that it runs on."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def on_stall(self, callback: Callable[[], None]) -> None:
        """Call back after the loop stood still for more than `STALL`, in the order of registration."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Look at the clock for ever."""
        while True:
            before = boot_time()
            await asyncio.sleep(INTERVAL)
            late = boot_time() - before - INTERVAL
            if late > STALL:
                log.warning("the event loop stood still", seconds=round(late, 1))
                for callback in self._callbacks:
                    callback()
