"""Who may hash next: a bounded number at a time in threads, the others wait their turn in lanes of their own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from parley.common.errors import Code, Reject

T = TypeVar("T")

WAITING_PER_WORKER = 16
"""Hashes that may wait for each worker in a lane, about a second's work; beyond it the caller is told `overloaded`."""
WAIT_SECONDS = 10.0
"""Seconds after which who waits behind others' lanes is told `overloaded`."""


NICENESS = 10
"""Of threads that hash: each hash keeps several cores busy, and who asks for something else must not wait for it."""


def _yield_to_others() -> None:
    # On Linux a thread has a niceness of its own; elsewhere it is refused, and all wait alike.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class HashingQueue:
    """Runs work in threads. Whoever waits in an earlier lane comes first, and each lane has its own places."""

    def __init__(self, name: str, workers: int, lanes: int = 1) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=_yield_to_others)
        self._free = workers
        self._places = workers * WAITING_PER_WORKER
        # Ordered sets: who gives up leaves from the middle.
        self._waiting: Sequence[dict[asyncio.Future[None], None]] = [{} for _ in range(lanes)]

    def full(self, lane: int = 0) -> bool:
        """Whether there is no place in a lane now."""
        return not self._free and len(self._waiting[lane]) >= self._places

    def require_place(self, lane: int = 0) -> None:
        """Raise `Reject(overloaded)` when there is no place in a lane now, before anything else is done for it."""
        if self.full(lane):
            raise Reject(Code.OVERLOADED)

    async def run(self, work: Callable[[], T], lane: int = 0) -> T:
        """The result of work, when it is its turn. Raises `Reject(overloaded)`."""
        self.require_place(lane)
        if self._free:
            self._free -= 1
        else:
            await self._turn(self._waiting[lane])
        future = self._threads.submit(work)
        # Held until the thread is done, not until the caller is: one that hangs up must not free its place early.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._next))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what each thread is at: a tenth of a second at the most."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _turn(self, lane: dict[asyncio.Future[None], None]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane[turn] = None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            lane.pop(turn, None)
            if turn.done() and not turn.cancelled():
                self._next()  # it was given a turn in the same moment
            if isinstance(error, TimeoutError):
                raise Reject(Code.OVERLOADED) from error
            raise

    def _next(self) -> None:
        for lane in self._waiting:
            while lane:
                turn = next(iter(lane))
                del lane[turn]
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1
