"""A seeded event loop for many simulated processes: virtual time, no sockets, no threads, and no clock but its own.

Each process has its own queue of ready callbacks, in the order in which they became ready, as asyncio promises. Which
process runs next is drawn from the seed's generator. When nobody has anything to do, time jumps to the next timer. A
process may stand still for a while, and it may be killed: then its callbacks, timers and tasks never run again.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any

from typing_extensions import override

MAX_STEPS = 400_000
"""Callbacks of one run; more than that is a loop that never ends."""


class Broken(AssertionError):
    """A run showed something that must never happen."""


class Process:
    """One simulated process: what is ready in it, and whether it runs at all."""

    __slots__ = ("alive", "context", "loop", "name", "on_end", "ready", "runs", "stalled", "tasks")

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.alive = True
        self.stalled = False
        self.runs = False
        """Whether it is among those that have something ready."""
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_end: list[Callable[[], object]] = []
        """Called when it is killed, as peers notice that its sockets are closed."""
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "main") -> asyncio.Task[Any]:
        """Start a task in this process."""
        return self.context.copy().run(lambda: self.loop.create_task(work, name=name))

    def kill(self) -> None:
        """End the process as `kill -9` does: nothing of it runs again, not even what is to be cleaned up."""
        self.alive = False
        self.ready.clear()
        for told in self.on_end:
            told()

    def stall(self, seconds: float) -> None:
        """Stand still, as a process does that is stopped and continued."""
        if self.stalled or not self.alive:
            return
        self.stalled = True
        self.loop.after(seconds, self.loop.physics, self._go_on)

    def _go_on(self) -> None:
        self.stalled = False
        self.loop.wake(self)


_PROCESS: ContextVar[Process] = ContextVar("_PROCESS")


def current() -> Process:
    """The process in which this runs."""
    return _PROCESS.get()


def _process_of(context: Context | None) -> Process:
    """The process to which a callback with this context belongs."""
    if context is None:
        return _PROCESS.get()
    if (process := context.get(_PROCESS)) is None:
        # A context that somebody made empty on purpose.
        process = _PROCESS.get()
        context.run(_PROCESS.set, process)
    return process


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.now = 1000.0
        self.steps = 0
        self.given_up = False
        """Whether enough is known of what is wrong."""
        self.errors: list[dict[str, Any]] = []
        """What nobody handled."""
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, Process, asyncio.Handle]] = []
        self._number = count()
        self.physics = Process(self, "physics")
        """What no process does: messages that travel, disks that write, and the faults."""

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------

    @override
    def time(self) -> float:
        return self.now

    @override
    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        # A handle's own context is that of the task it wakes, whoever does it.
        self._put(_process_of(context), handle)
        return handle

    @override
    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._number), _process_of(context), handle))
        return handle

    @override
    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    @override
    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        _process_of(context).tasks.append(task)
        return task

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap until its time."""

    def fail(self, what: str) -> None:
        """The simulation itself cannot go on."""
        self.errors.append({"message": what})
        self.given_up = True

    # -- what the simulation asks of it --------------------------------------------------------------------------

    def after(self, delay: float, process: Process, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        """Call back in a process after a delay."""
        handle = asyncio.Handle(callback, args, self, process.context)
        heapq.heappush(self._timers, (self.now + delay, next(self._number), process, handle))
        return handle

    def wake(self, process: Process) -> None:
        """Let a process run that has something ready."""
        if process.ready and not process.runs and not process.stalled:
            process.runs = True
            self._runnable.append(process)

    def _put(self, process: Process, handle: asyncio.Handle) -> None:
        if process.alive:
            process.ready.append(handle)
            if not process.runs and not process.stalled:
                process.runs = True
                self._runnable.append(process)

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run until the main task is done. Raises what it raises, and `Broken` when nothing goes on any more."""
        asyncio._set_running_loop(self)
        try:
            task = self.physics.spawn(main)
            while not task.done() and not self.given_up:
                self._step()
            if task.done():
                task.result()
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        runnable = self._runnable
        if not runnable:
            self._advance()
            return
        index = int(self.rng.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[index]
        if process.stalled or not process.ready:
            runnable[index] = runnable[-1]
            runnable.pop()
            process.runs = False
            return
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Broken(f"still running after {MAX_STEPS} steps, at {self.now - 1000:.3f} s")
        handle = process.ready.popleft()
        if not handle._cancelled:
            handle._run()

    def _advance(self) -> None:
        """Let time pass until the next timer."""
        timers = self._timers
        while timers:
            when, _, process, handle = heapq.heappop(timers)
            if handle._cancelled or not process.alive:
                continue
            self.now = max(self.now, when)
            self._put(process, handle)
            while timers and timers[0][0] <= self.now:
                _, _, process, handle = heapq.heappop(timers)
                if not handle._cancelled:
                    self._put(process, handle)
            return
        raise Broken("deadlock: nothing is ready, and no timer runs")

    def discard(self, processes: list[Process]) -> None:
        """Throw away what still runs, without a word."""
        for process in [self.physics, *processes]:
            process.alive = False
        for process in [self.physics, *processes]:
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    # It was killed in the middle of something, which may not take that well.
                    with suppress(Exception):
                        task.get_coro().close()  # type: ignore[union-attr]
            process.tasks.clear()
        self._timers.clear()
        self.close()
