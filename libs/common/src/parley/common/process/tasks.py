"""Owned background tasks: none is forgotten, none fails in silence."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from parley.common.process.logs import get_logger

log = get_logger(__name__)


def stop_process() -> None:
    """Ask this process to stop in order: it cannot do its work, and who runs it starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


class Tasks:
    """The background tasks of one component, cancelled and awaited when the component closes.

    A task started with `forever` must not end by itself: if it does, the process is asked to stop (SIGTERM), because
    a service without one of its loops looks alive and is not. A task started with `spawn` may end; a failure is logged.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def forever(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a loop that lives as long as the component."""
        self._start(work, name).add_done_callback(self._must_not_end)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a piece of work that ends by itself. Who wants it to end sooner cancels what this returns."""
        task = self._start(work, name)
        task.add_done_callback(self._may_end)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        # The loop keeps only weak references to tasks.
        self._tasks.add(task)
        return task

    def _must_not_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._closing or task.cancelled():
            return
        log.critical("background task ended, stopping", task=task.get_name(), exc_info=task.exception())
        stop_process()

    def _may_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background task failed", task=task.get_name(), exc_info=error)
