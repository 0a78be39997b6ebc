"""Who may hash next: a bounded number at a time in threads, the others wait their turn by rank.

| what happens | what follows |
|---|---|
| somebody comes, and a worker is free for them | they have a turn |
| somebody comes otherwise | they wait, behind who is of the same rank |
| as many wait already | whoever is of the worst rank, the last of them, is told `overloaded` |
| a turn is over | the best that waits has the next |

A turn begins before its password's hash is looked up, so that who is refused has not been to the database either.
Those who are known may take all workers; strangers leave one free if there are two, and their threads are nice: whoever
is known need not wait for a guess to be looked at.
"""

from __future__ import annotations

import asyncio
import os
import threading
from bisect import insort
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, TypeVar

from parley.auth.accounts.guessing.login_limits import KNOWN, Rank
from parley.common.errors import Code, Reject

T = TypeVar("T")

WAITING_PER_WORKER = 16
"""Turns that may be waited for, of each worker: a few seconds' work."""
WAIT_SECONDS = 10.0
"""Seconds after which who waits behind others is told `overloaded`."""
NICENESS = 10
"""Of threads that look at strangers' passwords: the event loop must not wait for them."""


class Turn:
    """A place among those who hash, for the length of a block."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._work: Future[Any] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of work in a thread."""
        future = self._threads.submit(work)
        self._work = future
        return await asyncio.wrap_future(future)

    def when_over(self, finish: Callable[[], None]) -> None:
        """Call back when no thread is at its work: one who hangs up must not free a place early."""
        if self._work is None or self._work.done():
            finish()
            return
        # The thread calls back, and a future of the loop may only be settled by the loop.
        loop = asyncio.get_running_loop()
        self._work.add_done_callback(lambda _: loop.call_soon_threadsafe(finish))


class HashingQueue:
    """Gives turns to hash, the best rank first."""

    def __init__(self, name: str, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._nice_threads = ThreadPoolExecutor(workers, thread_name_prefix=f"{name}-nice", initializer=_be_nice)
        self._workers = workers
        # Of several workers one is left to those who were here before, however many strangers guess.
        self._for_strangers = max(1, workers - 1)
        self._busy = self._busy_with_strangers = 0
        self._places = workers * WAITING_PER_WORKER
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        """The best first."""
        self._numbers = count()

    def admits(self, rank: Rank) -> bool:
        """Return whether somebody of this rank would now get a turn, or a place to wait for one."""
        return self._may_start(rank) or len(self._waiting) < self._places or rank < self._waiting[-1][0]

    @asynccontextmanager
    async def turn(self, rank: Rank = KNOWN) -> AsyncGenerator[Turn]:
        """Return a turn for the length of the block, when it comes. Raises `Reject(overloaded)`."""
        if self._may_start(rank):
            self._start(rank)
        else:
            await self._wait(rank)
        # Two pools and no niceness that is set for each turn: without a privilege a thread cannot become less nice
        # again.
        turn = Turn(self._nice_threads if rank.stranger else self._threads)
        try:
            yield turn
        finally:
            turn.when_over(lambda: self._finish(rank))

    def close(self) -> None:
        """Wait for what each thread is at: a tenth of a second at the most."""
        for threads in (self._threads, self._nice_threads):
            threads.shutdown(wait=True, cancel_futures=True)

    def _may_start(self, rank: Rank) -> bool:
        return self._busy < self._workers and not (rank.stranger and self._busy_with_strangers >= self._for_strangers)

    def _start(self, rank: Rank) -> None:
        self._busy += 1
        self._busy_with_strangers += rank.stranger

    def _finish(self, rank: Rank) -> None:
        self._busy -= 1
        self._busy_with_strangers -= rank.stranger
        while self._waiting and self._may_start(self._waiting[0][0]):
            best, _, turn = self._waiting.pop(0)
            # Whoever has hung up meanwhile is done already, and has taken themself out or is about to.
            if not turn.done():
                self._start(best)
                turn.set_result(None)

    async def _wait(self, rank: Rank) -> None:
        """Wait until this may start; then it has been counted as started."""
        if not self.admits(rank):
            raise Reject(Code.OVERLOADED)
        # `admits` has found that this rank is better than the worst, who therefore goes.
        if len(self._waiting) >= self._places:
            _, _, worst = self._waiting.pop()
            if not worst.done():
                worst.set_exception(Reject(Code.OVERLOADED))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The number decides among equals, who go in the order in which they came; futures cannot be compared.
        place = (rank, next(self._numbers), turn)
        insort(self._waiting, place)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if place in self._waiting:
                self._waiting.remove(place)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._finish(rank)  # it was given a turn in the same moment
            if isinstance(error, TimeoutError):
                raise Reject(Code.OVERLOADED) from error
            raise


def _be_nice() -> None:
    # On Linux a thread has a niceness of its own; elsewhere it is refused, and all wait alike.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
