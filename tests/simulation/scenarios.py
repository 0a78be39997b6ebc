"""The scenarios by name, and one run of one of them."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from tests.simulation.append import Append
from tests.simulation.erase import Erase
from tests.simulation.loop import Broken
from tests.simulation.stream import GAPS, MOVES, RETURNS, TAIL, Stream
from tests.simulation.world import World

COLLECT_EVERY = 20
"""Runs between two collections of what they left behind."""


class Outcome(NamedTuple):
    """What one run showed."""

    problems: list[str]
    trace: list[str]
    counts: dict[str, int]


def _group_commit(world: World) -> Coroutine[Any, Any, None]:
    return Append(world, replicas=1, senders=world.rng.choice((3, 5)), commands=world.rng.choice((8, 16))).run()


def _optimistic_append(world: World) -> Coroutine[Any, Any, None]:
    replicas, senders = world.rng.choice((2, 3)), world.rng.choice((2, 3, 4))
    return Append(world, replicas=replicas, senders=senders, commands=world.rng.choice((8, 16))).run()


SCENARIOS: dict[str, Callable[[World], Coroutine[Any, Any, None]]] = {
    "group-commit": _group_commit,
    "optimistic-append": _optimistic_append,
    "gap-fill": lambda world: Stream(world, GAPS).run(),
    "resume-splice": lambda world: Stream(world, RETURNS).run(),
    "tail-failover": lambda world: Stream(world, TAIL).run(),
    "erasure": lambda world: Erase(world).run(),
    "moves": lambda world: Stream(world, MOVES).run(),
}


def run(scenario: str, seed: int, *, trace: bool = False) -> Outcome:
    """Run a scenario with a seed. The same seed is the same run, in every process with the same PYTHONHASHSEED."""
    gc.disable()
    world = World(seed, trace=trace)
    with world.installed():
        try:
            world.loop.run(SCENARIOS[scenario](world))
        except Broken as error:
            world.problem(str(error))
        except Exception:  # noqa: BLE001 - whatever it is, it is what the run showed
            world.problem(traceback.format_exc())
        world.finish()
    if seed % COLLECT_EVERY == 0:
        gc.collect()
    return Outcome(world.problems, world.seen or [], world.counts)


def scenario_of(seed: int) -> str:
    """The scenario that a seed is for when all of them take turns."""
    names = list(SCENARIOS)
    return names[seed % len(names)]
