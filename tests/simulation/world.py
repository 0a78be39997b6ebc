"""One run's world: the loop, everything random and every clock seeded, the database, the broker, and what was seen.

Product code runs as it is. What it takes from outside (clocks, random numbers, the driver of Postgres, logs, signals)
is replaced where it enters, for as long as the run lasts.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import asyncpg
import structlog
import uuid_utils.compat

from parley.common.process import tasks
from tests.simulation.broker import Broker
from tests.simulation.database import Database
from tests.simulation.loop import Process, SimulatedLoop, current
from tests.simulation.statements import STATEMENTS


class World:
    """What a scenario works with."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(self.rng)
        self.database = Database(self.loop, STATEMENTS)
        self.broker = Broker(self.loop)
        self.processes: list[Process] = []
        self.seen: list[str] | None = [] if trace else None
        self.problems: list[str] = []
        self.counts: dict[str, int] = {}

    def process(self, name: str) -> Process:
        """Start a process that has nothing to do yet."""
        process = Process(self.loop, name)
        self.processes.append(process)
        return process

    def note(self, *what: object) -> None:
        """Write a line of the trace, if there is one."""
        if self.seen is not None:
            name = current().name
            self.seen.append(f"{self.loop.now - 1000:9.4f} {name:10} {' '.join(map(str, what))}")

    def count(self, what: str) -> None:
        """Count something, so that a scenario shows that it does what it is for."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def require(self, holds: bool, *what: object) -> None:
        """Note a problem unless something holds."""
        if not holds:
            text = " ".join(map(str, what))
            self.note("BROKEN:", text)
            self.problem(text)

    def problem(self, text: str) -> None:
        """Something is wrong. A run goes on for a little, for what it shows besides."""
        self.problems.append(text)
        self.loop.given_up = len(self.problems) >= 10

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.rng.random() < probability

    @contextmanager
    def installed(self) -> Generator[None]:
        """Replace clocks, random numbers, driver, logs and signals."""
        rng, loop = random.Random(self.rng.random()), self.loop
        global_state = random.getstate()
        random.seed(self.rng.random())

        def uuid7() -> UUID:
            return UUID(int=rng.getrandbits(128))

        def stop_process() -> None:
            self.problem(f"{current().name} stops itself")

        replaced: list[tuple[Any, str, Any]] = [
            (time, "monotonic", loop.time),
            (time, "clock_gettime", lambda _clock: loop.now),
            (time, "time", lambda: 1_700_000_000 + loop.now),
            (secrets, "token_hex", lambda size=16: f"{rng.getrandbits(8 * size):0{2 * size}x}"),
            (secrets, "token_urlsafe", lambda size=16: f"{rng.getrandbits(8 * size):x}"),
            (secrets, "randbits", rng.getrandbits),
            (os, "urandom", rng.randbytes),
            (uuid_utils.compat, "uuid7", uuid7),
            (asyncpg, "connect", self.database.connect),
            (tasks, "stop_process", stop_process),
        ]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
        configured = structlog.get_config()
        structlog.configure(
            processors=[self._log],
            wrapper_class=structlog.make_filtering_bound_logger("debug" if self.seen is not None else "error"),
            cache_logger_on_first_use=False,
        )
        try:
            for owner, name, value in replaced:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)
            structlog.configure(**configured)
            random.setstate(global_state)

    def _log(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        error = event.pop("exc_info", None)
        self.note("log", level, event, repr(error) if error is not None else "")
        if level in {"error", "critical", "exception"}:
            raised = sys.exc_info()[1] if error is True else error
            self.problem(f"{current().name} logged {event.get('event')!r}: {event} {raised!r}")
        raise structlog.DropEvent

    def finish(self) -> None:
        """Note what nobody handled, and throw everything away."""
        for context in self.loop.errors:
            self.problems.append(f"unhandled: {context.get('message')}: {context.get('exception')!r}")
        self.loop.discard(self.processes)
