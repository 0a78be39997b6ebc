"""Background tasks with an owner: none is collected while it runs, none fails in silence, none outlives its owner."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from parley.common.errors import Reject
from parley.common.process.logs import get_logger

log = get_logger(__name__)


def stop_process() -> None:
    """Ask this process to stop in order (SIGTERM), because it cannot do its work. Its supervisor starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


async def repeat(step: Callable[[], Awaitable[object]], pause: float, failed: str) -> None:
    """Take a step, for ever, after a pause of so many seconds each time; `failed` says in the log what went wrong.

    A `Reject` is an outage of Postgres or NATS, which they log themselves: the next step is tried all the same.
    """
    while True:
        await asyncio.sleep(pause)
        try:
            await step()
        except Reject:
            continue
        except Exception:
            log.exception(failed)


class Tasks:
    """The background tasks of one component, which are cancelled and awaited when the component closes.

    A task of `forever` must not end by itself: if it does, the process is asked to stop, because a service without one
    of its loops looks alive and is not. A task of `spawn` may end; its failure is logged.
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
        """Start a loop that runs as long as the component."""
        self._start(work, name).add_done_callback(self._must_not_end)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a piece of work that ends by itself, and return its task, which may be cancelled."""
        task = self._start(work, name)
        task.add_done_callback(self._may_end)
        return task

    async def close(self) -> None:
        """Cancel the tasks that still run and wait until they have ended."""
        # First: a loop that catches its cancellation and returns must not stop the process.
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
