"""A server of a test's own, which it may stop and start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager


class Server:
    """Postgres or NATS of the test's own, which can be restarted under the same address."""

    def __init__(self, start: Callable[[], AbstractContextManager[str]]) -> None:
        self._start = start
        self._running: AbstractContextManager[str] | None = None
        self.url = ""

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._running is not None

    async def start(self) -> None:
        """Start it."""
        self._running = self._start()
        self.url = await asyncio.to_thread(self._running.__enter__)

    async def stop(self) -> None:
        """Stop it."""
        if self._running is not None:
            running, self._running = self._running, None
            await asyncio.to_thread(running.__exit__, None, None, None)
