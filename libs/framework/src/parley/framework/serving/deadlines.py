"""Ends what takes too long. A timer for each event would cost more than most events do, so one sweep looks at all.

`EventRunner` guards the task in which middleware and controller run, and watches the futures of plain controllers.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import msgspec


class DeadlineExceeded(Exception):
    """What was guarded took too long and was cancelled."""


class ControllerDeadlines:
    """When tasks and futures have to be done; `cancel_late` cancels those that are not."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Future[Any], float] = {}
        self._cancelled: set[asyncio.Future[Any]] = set()

    def watch(self, future: asyncio.Future[Any], deadline: float) -> None:
        """Cancel a task or a future when it is not forgotten by its deadline, in seconds of `time.monotonic`."""
        self._deadlines[future] = deadline

    def forget(self, future: asyncio.Future[Any]) -> bool:
        """Watch it no longer. Return whether it was cancelled for being late."""
        del self._deadlines[future]
        # Nearly always there are none, and a set that is empty is not searched.
        if not self._cancelled or future not in self._cancelled:
            return False
        self._cancelled.remove(future)
        return True

    def guard(self, task: asyncio.Task[Any], deadline: float) -> _Guard:
        """Watch the current task in a `with`, which raises `DeadlineExceeded` when it was cancelled for being late."""
        self._deadlines[task] = deadline
        return _Guard(self, task)

    def cancel_late(self, now: float) -> None:
        """Cancel, once each, what is late."""
        for future in [future for future, deadline in self._deadlines.items() if deadline < now]:
            if future not in self._cancelled:
                self._cancelled.add(future)
                future.cancel()


class _Guard(msgspec.Struct, gc=False):
    """The `with` of `ControllerDeadlines.guard`."""

    deadlines: ControllerDeadlines
    task: asyncio.Task[Any]

    def __enter__(self) -> None:
        """The deadline was set by `guard`."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.deadlines.forget(self.task):
            return
        # The task goes on with the next command, whatever the controller made of its cancellation. What is left to
        # cancel after this one is somebody else's cancellation, which passes through.
        others = self.task.uncancel()
        if kind is asyncio.CancelledError and not others:
            raise DeadlineExceeded from error
