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


class Ready(asyncio.TimerHandle):
    """A callback that is due now or later. Half of a run is making these, so they ask for nothing of debug mode."""

    def __init__(self, when: float, callback: Any, args: Any, loop: SimulatedLoop, context: Context | None) -> None:
        self._when = when
        self._callback: Any = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._scheduled = False

    @override
    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()


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
        self.ready: deque[Ready] = deque()
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
        self.given_up = False
        """Whether enough is known of what is wrong."""
        self.errors: list[dict[str, Any]] = []
        """What nobody handled."""
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, Process, Ready]] = []
        self._number = count()
        self.physics = Process(self, "physics")
        """What no process does: messages that travel, disks that write, and the faults."""

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------

    @override
    def time(self) -> float:
        return self.now

    @override
    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = Ready(0.0, callback, args, self, context)
        # A handle's own context is that of the task it wakes, whoever does it.
        self._put(_process_of(context), handle)
        return handle

    @override
    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = Ready(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._number), _process_of(context), handle))
        return handle

    @override
    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    @override
    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
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
        when = self.now + delay
        handle = Ready(when, callback, args, self, process.context)
        heapq.heappush(self._timers, (when, next(self._number), process, handle))
        return handle

    def wake(self, process: Process) -> None:
        """Let a process run that has something ready."""
        if process.ready and not process.runs and not process.stalled:
            process.runs = True
            self._runnable.append(process)

    def _put(self, process: Process, handle: Ready) -> None:
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
            self._run_until_done(task)
            if task.done():
                task.result()
        finally:
            asyncio._set_running_loop(None)

    def _run_until_done(self, task: asyncio.Task[None]) -> None:
        """One callback after the other. All in one function, since it is where most of a run's time goes."""
        runnable, draw, done = self._runnable, self.rng.random, task.done
        steps = 0
        while not done() and not self.given_up:
            if not runnable:
                self._advance()
                continue
            index = int(draw() * len(runnable)) if len(runnable) > 1 else 0
            process = runnable[index]
            if process.stalled or not process.ready:
                runnable[index] = runnable[-1]
                runnable.pop()
                process.runs = False
                continue
            steps += 1
            if steps > MAX_STEPS:
                raise Broken(f"still running after {MAX_STEPS} steps, at {self.now - 1000:.3f} s")
            handle = process.ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio's own loop does
                self.call_exception_handler({"message": f"exception in {handle._callback!r}", "exception": error})

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
