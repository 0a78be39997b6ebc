"""Writes every time the event loop was late to BENCH_LAG_FILE, as "<monotonic seconds> <seconds late> <CPU seconds>".

The CPU seconds are those of the loop's own thread: on a busy machine a loop is also late when others had the core.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

PERIOD = 0.005
REPORTED = 0.002


def watch() -> None:
    """Begin, in the running loop, if the driver asked for it."""
    if path := os.environ.get("BENCH_LAG_FILE"):
        _Watch(asyncio.get_running_loop(), Path(path)).next()


class _Watch:
    """A chain of timers; how late one fires is how long the loop was busy with something else."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._file = path.open("a", buffering=1)
        self._due = 0.0
        self._cpu = 0.0

    def next(self) -> None:
        """Set the next timer."""
        self._due = time.monotonic() + PERIOD
        self._cpu = time.thread_time()
        self._loop.call_later(PERIOD, self._tick)

    def _tick(self) -> None:
        late = time.monotonic() - self._due
        if late > REPORTED:
            self._file.write(f"{time.monotonic()} {late} {time.thread_time() - self._cpu}\n")
        self.next()
