"""Compares what this gateway believes with those who know: at once after a silence, and slowly for ever.

A `Reconciliation` works off the keys that have to be asked about, in one task that ends when none are left. `in_rounds`
hands out everything there is, spread evenly over a round.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from parley.common.errors import Reject
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks

log = get_logger(__name__)

KeyT = TypeVar("KeyT", bound=Hashable)

PAUSES = (0.1, 0.25, 0.5, 1.0)
"""Seconds between attempts that get no answer. The last one is repeated for ever."""
TICK = 1.0
"""The least number of seconds between two portions of a round."""


class Reconciliation(Generic[KeyT]):
    """Keys to be asked about: each once, however often it is added meanwhile, and until there is an answer."""

    def __init__(self, name: str, ask: Callable[[list[KeyT]], Awaitable[None]], *, batch: int, at_once: int) -> None:
        """`ask` handles a batch of keys, and raises `Reject` if it has no answer."""
        self._name = name
        self._ask = ask
        self._batch = batch
        self._at_once = at_once
        self._due: dict[KeyT, None] = {}
        self._all: Iterator[KeyT] | None = None
        self._again: dict[KeyT, None] = {}
        """Keys that came from `_all` and have no answer yet."""
        self._everything = 0
        """Counts the calls of `add_all`: a later one replaces what is left of an earlier one."""
        self._asking_all = False
        """Whether a question about keys of `_all` is under way."""
        self._working = False
        self._added = asyncio.Event()
        self._tasks = Tasks()

    @property
    def done(self) -> bool:
        """Whether everything that was added has been answered."""
        return not self._working

    @property
    def all_done(self) -> bool:
        """Whether everything of the last `add_all` has been answered, whatever was added since."""
        return self._all is None and not self._again and not self._asking_all

    def add(self, keys: Iterable[KeyT]) -> None:
        """Ask about these keys soon. Keys whose answer is under way are asked about once more."""
        self._due.update(dict.fromkeys(keys))
        self._begin()

    def add_all(self, keys: Iterator[KeyT]) -> None:
        """Ask about everything there is, which is iterated bit by bit. It replaces what is left of an earlier call."""
        self._all = keys
        self._again.clear()
        self._everything += 1
        self._begin()

    def _begin(self) -> None:
        # Something has happened, so a pause between attempts ends early.
        self._added.set()
        if self._left and not self._working:
            self._working = True
            self._tasks.spawn(self._work(), name=self._name)

    async def close(self) -> None:
        """Stop asking."""
        await self._tasks.close()

    @property
    def _left(self) -> bool:
        return bool(self._due or self._again or self._all is not None)

    async def _work(self) -> None:
        pauses = iter(())
        failing = False
        try:
            while self._left:
                # Before asking, so that a key that is added meanwhile ends the pause below.
                self._added.clear()
                batches = [taken for _ in range(self._at_once) if any(taken := self._take())]
                self._asking_all = any(of_all for _, of_all in batches)
                # Whatever has no answer was put back by `_try`, behind what came since.
                answered = await asyncio.gather(*(self._try(*taken, quiet=failing) for taken in batches))
                self._asking_all = False
                if all(answered):
                    failing = False
                    continue
                if not failing:
                    failing, pauses = True, itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
                with suppress(TimeoutError):
                    async with asyncio.timeout(next(pauses)):
                        await self._added.wait()
        finally:
            self._working = self._asking_all = False

    def _take(self) -> tuple[list[KeyT], list[KeyT]]:
        """Return what is asked about next: keys that were added, and keys of everything."""
        added = _first(self._due, self._batch)
        of_all = _first(self._again, self._batch - len(added))
        if self._all is not None and (room := self._batch - len(added) - len(of_all)):
            more = list(itertools.islice(self._all, room))
            if len(more) < room:
                self._all = None
            of_all += more
        return added, of_all

    async def _try(self, added: list[KeyT], of_all: list[KeyT], *, quiet: bool) -> bool:
        everything = self._everything
        try:
            await self._ask(list(dict.fromkeys([*added, *of_all])))
        except Reject as rejection:
            if not quiet:
                log.warning("no answer, trying again", what=self._name, code=str(rejection.code))
        except Exception:
            log.exception("cannot ask, trying again", what=self._name)
        else:
            return True
        self._due.update(dict.fromkeys(added))
        if everything == self._everything:  # else they are in the later one
            self._again.update(dict.fromkeys(of_all))
        return False


def _first(keys: dict[KeyT, None], count: int) -> list[KeyT]:
    """Take this many keys out of a dict, or all."""
    taken = list(itertools.islice(keys, count))
    for key in taken:
        del keys[key]
    return taken


async def in_rounds(
    everything: Callable[[], Collection[KeyT]], take: Callable[[list[KeyT]], None], seconds: float
) -> None:
    """Hand out everything there is, again and again for ever, in portions, so that a round takes `seconds`."""
    while True:
        keys = list(everything())
        # A portion takes a second at least; a handful of keys is spread over the whole round.
        portions = max(1, min(len(keys), int(seconds / TICK)))
        size = math.ceil(len(keys) / portions)
        for start in range(0, max(1, len(keys)), max(1, size)):
            take(keys[start : start + size])
            await asyncio.sleep(seconds / portions if keys else TICK)
