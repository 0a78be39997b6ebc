"""Batches lookups (a DataLoader): keys that are asked for while a query runs are looked up together by the next one.

Auth looks up users this way, and chat who is in which rooms. A storm of connections so costs few queries, and each
answer is of a moment after its key was asked for, as admission needs it. One query runs at a time, so its time is
bounded: an answer that was lost on the way must not stop everybody who asks after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from parley.common.errors import Code, Reject
from parley.common.process.tasks import Tasks

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

MAX_WAITING = 50_000
"""Lookups in hand; beyond it the caller is told `overloaded`."""
FIND_SECONDS = 10.0
"""Seconds a query may take, longer than any driver here waits; who asked a slower one is told `unavailable`."""


class BatchLoader(Generic[KeyT, ValueT]):
    """Has `find` look up at most `at_once` different keys at a time."""

    def __init__(self, find: Callable[[list[KeyT]], Awaitable[Mapping[KeyT, ValueT]]], at_once: int) -> None:
        self._find = find
        self._at_once = at_once
        self._waiting: dict[KeyT, list[asyncio.Future[ValueT | None]]] = {}
        self._in_hand = 0
        self._finding = False
        self._since = 0.0
        self._tasks = Tasks()

    async def load(self, key: KeyT) -> ValueT | None:
        """The value of a key, or None if there is none.

        Raises `Reject` with `overloaded`, with `unavailable` when this closes, and what `find` raises.
        """
        if self._in_hand >= MAX_WAITING:
            raise Reject(Code.OVERLOADED)
        answer: asyncio.Future[ValueT | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if not self._finding:
            self._finding, self._since = True, time.monotonic()
            # A task runs on the next tick, when every key of this one has been gathered.
            self._tasks.spawn(self._answer(), name="batch loader")
        self._in_hand += 1
        try:
            return await answer
        finally:
            self._in_hand -= 1

    def age(self) -> float:
        """Seconds for which the query of now has been running, and so the oldest key waiting; 0 without one."""
        return time.monotonic() - self._since if self._finding else 0.0

    async def close(self) -> None:
        """Stop looking up; who still waits is told `unavailable`."""
        await self._tasks.close()
        for answers in self._waiting.values():
            _fail(answers, Reject(Code.UNAVAILABLE))

    async def _answer(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._at_once]
                batch = {key: self._waiting.pop(key) for key in keys}
                self._since = time.monotonic()
                try:
                    async with asyncio.timeout(FIND_SECONDS):
                        found = await self._find(keys)
                except BaseException as error:
                    away = isinstance(error, asyncio.CancelledError | TimeoutError)
                    for answers in batch.values():
                        _fail(answers, Reject(Code.UNAVAILABLE) if away else error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for key, answers in batch.items():
                    for answer in answers:
                        if not answer.done():
                            answer.set_result(found.get(key))
        finally:
            self._finding = False


def _fail(answers: list[asyncio.Future[ValueT | None]], error: BaseException) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
