"""Whether the log stays quick as it grows: the same calls on a small log and on a large one, in turn."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from chats import Database, database
from growth import ROOMS_OF_AN_OWNER, bytes_per_event, grow, owner_of
from inside import Chat, chat
from machine import ALL_CORES

Row = dict[str, Any]

SMALL = 10_000
EVENTS_OF_A_ROOM = 1_000
ROUNDS = 5
CALLS = 300
"""Of each kind in a round."""
MISSED = 3
"""Events that a cursor is behind, at most."""


def scale(events: int) -> Iterator[Row]:
    """History, sync and append at 10,000 events and at `events`: the p99 of a round, as the median of the rounds."""
    sizes = (SMALL, events)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        logs: list[_Log] = []
        for size in sizes:
            base = stack.enter_context(database(Path(directory) / str(size) / "postgres", ALL_CORES))
            # At least as many as one user's sync asks for.
            number = max(ROOMS_OF_AN_OWNER, size // EVENTS_OF_A_ROOM)
            begun = time.monotonic()
            rooms = grow(base, size, number)
            logs.append(_Log(base, size, rooms, size // number, round(time.monotonic() - begun, 1)))
        bytes_each = [bytes_per_event(log.base) for log in logs]
        found = asyncio.run(_measure(logs))
    for operation in OPERATIONS:
        small = found[operation][0]
        for log, size, figures in zip(logs, bytes_each, found[operation], strict=True):
            row: Row = {"events": log.size, "log": "small", "operation": operation, **figures, "bytes_per_event": size}
            if log is not logs[0]:
                row["log"] = "large"
                row["times_small"] = round(figures["p99_ms"] / small["p99_ms"], 2)
            yield {**row, "grown_in_s": log.grown_in, "problems": []}


class _Log:
    """A grown log, and how its calls are made up."""

    def __init__(self, base: Database, size: int, rooms: list[str], events: int, grown_in: float) -> None:
        self.base = base
        self.size = size
        self.grown_in = grown_in
        self._rooms = rooms
        self._events = events
        self._random = random.Random(size)

    @property
    def owners(self) -> set[str]:
        """All who made a room."""
        return {owner_of(number) for number in range(len(self._rooms))}

    async def history(self, chat: Chat) -> None:
        """A page somewhere in a room."""
        number = self._random.randrange(len(self._rooms))
        before = self._random.randrange(2, self._events)
        await chat.history(owner_of(number), self._rooms[number], before)

    async def sync(self, chat: Chat) -> None:
        """All rooms of a user, of which some have news."""
        first = self._random.randrange(len(self._rooms) // ROOMS_OF_AN_OWNER) * ROOMS_OF_AN_OWNER
        rooms = self._rooms[first : first + ROOMS_OF_AN_OWNER]
        head = self._events + 2
        await chat.sync(owner_of(first), {room: head - self._random.randrange(MISSED + 1) for room in rooms})

    async def append(self, chat: Chat) -> None:
        """A message, alone."""
        number = self._random.randrange(len(self._rooms))
        await chat.send(owner_of(number), self._rooms[number], "x" * 90)


OPERATIONS: dict[str, Callable[[_Log, Chat], Awaitable[None]]] = {
    "history": _Log.history,
    "sync": _Log.sync,
    "append": _Log.append,
}


async def _measure(logs: list[_Log]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    async with AsyncExitStack() as stack:
        chats = [await stack.enter_async_context(chat(log.base.url, log.owners)) for log in logs]
        for name, operation in OPERATIONS.items():
            rounds: list[list[list[float]]] = []
            # The first round fills caches and is not counted.
            for _ in range(ROUNDS + 1):
                times: list[list[float]] = [[] for _ in logs]
                for _ in range(CALLS):
                    for place, log in enumerate(logs):
                        begun = time.perf_counter()
                        await operation(log, chats[place])
                        times[place].append((time.perf_counter() - begun) * 1000)
                rounds.append(times)
            found[name] = [_figures([times[place] for times in rounds[1:]]) for place in range(len(logs))]
    return found


def _figures(rounds: list[list[float]]) -> Row:
    at = {"p50": CALLS // 2, "p99": CALLS * 99 // 100}
    return {f"{name}_ms": round(median(sorted(times)[place] for times in rounds), 3) for name, place in at.items()}
