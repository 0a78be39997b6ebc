"""Who may hash next: a bounded number at a time in threads, the others wait their turn in lanes of their own.

| what happens | what follows |
|---|---|
| work comes, and its lane may start | it runs |
| work comes otherwise | it waits as the newest of its lane; of a full lane the oldest is told `overloaded` |
| work is done | the first lane that has any and may start runs its newest |

Newest first, because behind a burst of others' work everybody would be late, and who came first has given up by then.
Work of the urgent lanes may take all workers; that of the others leaves one free if there are two, and its threads are
nice: whoever is known need not wait for a guess to be looked at.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from parley.common.errors import Code, Reject

T = TypeVar("T")

WAITING_PER_WORKER = 16
"""Hashes that may wait for each worker in a lane, about a second's work."""
WAIT_SECONDS = 10.0
"""Seconds after which who waits behind others' lanes is told `overloaded`."""
NICENESS = 10
"""Of threads whose work is not urgent: each hash keeps several cores busy, and the event loop must not wait for it."""


class HashingQueue:
    """Runs work in threads, that of earlier lanes first; the first `urgent` lanes are never kept waiting by others."""

    def __init__(self, name: str, workers: int, lanes: int = 1, urgent: int = 0) -> None:
        self._urgent = urgent
        self._urgent_threads = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._nice_threads = ThreadPoolExecutor(workers, thread_name_prefix=f"{name}-nice", initializer=_be_nice)
        self._workers = workers
        self._nice_workers = max(1, workers - 1) if urgent else workers
        self._busy = self._nice_busy = 0
        self._places = workers * WAITING_PER_WORKER
        # Ordered sets: who gives up leaves from the middle.
        self._waiting: list[dict[asyncio.Future[None], None]] = [{} for _ in range(lanes)]

    def full(self, lane: int = 0) -> bool:
        """Whether more work in a lane would take somebody's place."""
        return not self._may_start(lane) and len(self._waiting[lane]) >= self._places

    async def run(self, work: Callable[[], T], lane: int = 0) -> T:
        """The result of work, when it is its turn. Raises `Reject(overloaded)`."""
        if self._may_start(lane):
            self._start(lane)
        else:
            await self._turn(lane)
        threads = self._urgent_threads if lane < self._urgent else self._nice_threads
        future = threads.submit(work)
        # Held until the thread is done, not until the caller is: one that hangs up must not free its place early.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._finish, lane))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what each thread is at: a tenth of a second at the most."""
        for threads in (self._urgent_threads, self._nice_threads):
            threads.shutdown(wait=True, cancel_futures=True)

    def _may_start(self, lane: int) -> bool:
        return self._busy < self._workers and (lane < self._urgent or self._nice_busy < self._nice_workers)

    def _start(self, lane: int) -> None:
        self._busy += 1
        self._nice_busy += lane >= self._urgent

    def _finish(self, lane: int) -> None:
        self._busy -= 1
        self._nice_busy -= lane >= self._urgent
        for number, waiting in enumerate(self._waiting):
            while waiting and self._may_start(number):
                turn, _ = waiting.popitem()
                if not turn.done():
                    self._start(number)
                    turn.set_result(None)

    async def _turn(self, lane: int) -> None:
        """Wait until this may start; then it has been counted as started."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[lane]
        if len(waiting) >= self._places:
            oldest = next(iter(waiting))
            del waiting[oldest]
            if not oldest.done():
                oldest.set_exception(Reject(Code.OVERLOADED))
        waiting[turn] = None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            waiting.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._finish(lane)  # it was given a turn in the same moment
            if isinstance(error, TimeoutError):
                raise Reject(Code.OVERLOADED) from error
            raise


def _be_nice() -> None:
    # On Linux a thread has a niceness of its own; elsewhere it is refused, and all wait alike.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
