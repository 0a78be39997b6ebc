"""Batches lookups (a DataLoader): keys that are requested while a query runs are looked up together by the next one.

Auth looks up users this way, and chat the rooms of users. A storm of connections costs few queries.

Invariant: a key's value is read after the key was requested, never before, as admission needs it. One task runs the
queries, one at a time, while callers wait in futures; so a query's time is bounded, since one that never ends would
block everybody who asks later.
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
"""Lookups that wait at most; more are refused with `overloaded`."""
FIND_SECONDS = 10.0
"""Seconds that a query may take, longer than any driver here waits; a slower one fails with `unavailable`."""


class BatchLoader(Generic[KeyT, ValueT]):
    """Has `find` look up keys, at most `at_once` different ones in a query."""

    def __init__(self, find: Callable[[list[KeyT]], Awaitable[Mapping[KeyT, ValueT]]], at_once: int) -> None:
        self._find = find
        self._at_once = at_once
        self._waiting: dict[KeyT, list[asyncio.Future[ValueT | None]]] = {}
        self._in_hand = 0
        self._finding = False
        self._since = 0.0
        self._tasks = Tasks()

    async def load(self, key: KeyT) -> ValueT | None:
        """Return the value of a key, or None if there is none.

        Raises `Reject(overloaded)`, `Reject(unavailable)` when the loader closes or its query takes too long, and what
        `find` raises.
        """
        # Those in the present query count as well: they wait just like the others.
        if self._in_hand >= MAX_WAITING:
            raise Reject(Code.OVERLOADED)
        answer: asyncio.Future[ValueT | None] = asyncio.get_running_loop().create_future()
        # A future for each caller: one that is cancelled must not cancel what others wait for.
        self._waiting.setdefault(key, []).append(answer)
        if not self._finding:
            self._finding, self._since = True, time.monotonic()
            # The task begins on the next turn of the loop, when every key of this turn has been gathered.
            self._tasks.spawn(self._answer(), name="batch loader")
        self._in_hand += 1
        try:
            return await answer
        finally:
            self._in_hand -= 1

    def age(self) -> float:
        """Seconds since the present query began, and so the wait of the oldest key; 0 while none runs."""
        return time.monotonic() - self._since if self._finding else 0.0

    async def close(self) -> None:
        """Stop looking up. Callers that still wait get `Reject(unavailable)`."""
        await self._tasks.close()
        for answers in self._waiting.values():
            _fail(answers, Reject(Code.UNAVAILABLE))

    async def _answer(self) -> None:
        """Look up the keys that wait, batch by batch, until none is left."""
        try:
            while self._waiting:
                # Taken out before the query: a key that is requested while it runs belongs to the next one.
                keys = list(self._waiting)[: self._at_once]
                batch = {key: self._waiting.pop(key) for key in keys}
                self._since = time.monotonic()
                try:
                    async with asyncio.timeout(FIND_SECONDS):
                        found = await self._find(keys)
                except BaseException as error:
                    # Also when the task is cancelled: a future that nobody completes would be awaited for ever.
                    away = isinstance(error, asyncio.CancelledError | TimeoutError)
                    for answers in batch.values():
                        _fail(answers, Reject(Code.UNAVAILABLE) if away else error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for key, answers in batch.items():
                    for answer in answers:
                        # Its caller may have been cancelled while the query ran.
                        if not answer.done():
                            answer.set_result(found.get(key))
        finally:
            self._finding = False


def _fail(answers: list[asyncio.Future[ValueT | None]], error: BaseException) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
