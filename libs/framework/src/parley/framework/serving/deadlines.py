"""Cancels controllers that take too long. A timer for each event would cost more than most events do.

`EventRunner` watches the task in which middleware and an async controller run, and the futures of sync controllers.
Its sweep calls `cancel_late` a few times a second, so a controller may run over its deadline by one sweep interval.
Everything runs on the loop of the service; nothing here waits.

| state of a task or future | input | next |
|---|---|---|
| not watched | `watch` | watched |
| watched | `forget`, `release` | not watched |
| watched | `cancel_late` after its deadline | cancelled |
| cancelled | `cancel_late` | cancelled; a controller that swallows its cancellation is not cancelled again |
| cancelled | `forget`, `release` | not watched; the caller is told that it was late |
"""

from __future__ import annotations

import asyncio
from typing import Any


class ControllerDeadlines:
    """The deadlines of the tasks and futures that are watched, in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Future[Any], float] = {}
        self._cancelled: set[asyncio.Future[Any]] = set()

    def watch(self, future: asyncio.Future[Any], deadline: float) -> None:
        """Watch a task or a future: `cancel_late` cancels it unless it is forgotten by its deadline."""
        self._deadlines[future] = deadline

    def forget(self, future: asyncio.Future[Any]) -> bool:
        """Stop watching a future. Return whether it was cancelled for being late."""
        del self._deadlines[future]
        # The set is nearly always empty; to hash the future in vain would cost more than to look whether it is.
        if not self._cancelled or future not in self._cancelled:
            return False
        self._cancelled.remove(future)
        return True

    def release(self, task: asyncio.Task[Any]) -> bool:
        """Stop watching the current task. Return whether it was cancelled for being late, and for nothing else."""
        # The task goes on with the next command, so this cancellation must not stay with it, whatever the controller
        # made of it. What `uncancel` leaves is somebody else's request, such as that of a service that stops.
        return self.forget(task) and not task.uncancel()

    def cancel_late(self, now: float) -> None:
        """Cancel everything whose deadline has passed, once each."""
        for future in [future for future, deadline in self._deadlines.items() if deadline < now]:
            if future not in self._cancelled:
                self._cancelled.add(future)
                future.cancel()
