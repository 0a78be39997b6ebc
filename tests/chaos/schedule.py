"""Which faults happen when: a pure function of the seed.

Faults come one after the other, each some time after the one before it is over, and now and then two at once. Their
times are the earliest: who plays a schedule waits until all is ready again, however long that takes. What there is only
one of is away for a few seconds at most, and so is whatever two faults take away together: the bound on how long nobody
is served would else be a statement on the schedule.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

PROCESS_FAULTS = ("kill", "terminate", "stop", "jump")
LINK_FAULTS = ("cut", "freeze", "flap")
KINDS = (*PROCESS_FAULTS, "crash", *LINK_FAULTS)
"""All kinds: `kill` is SIGKILL, `terminate` SIGTERM, `stop` SIGSTOP until the fault is over, `jump` a wrong wall clock;
`crash` is SIGKILL of one session of Postgres, upon which it ends and recovers all. A link that is `cut` is refused,
one that is `freeze` carries nothing, and `flap` ends what it carries."""
SINGLE = frozenset({"nats", "postgres"})
"""Parts of which there is one."""
LONGEST, LONGEST_OF_ALL = 15.0, 4.0
"""Seconds that one of several parts is away at most, and that all of them are."""
HOUR, DAY = 3600, 86400
JUMPS = (HOUR, -HOUR, DAY, -DAY)
TWO_AT_ONCE = 0.25


@dataclass(frozen=True)
class Fault:
    """Something that is broken at a time, and for how long."""

    at: float
    """Seconds since the load began, at the earliest."""
    seconds: float
    kind: str
    part: str
    """A process, or a link as `gateway1>nats`."""
    jump: int = 0
    """Seconds, of a clock."""

    def __str__(self) -> str:
        amount = f" by {self.jump:+d} s" if self.jump else ""
        return f"{self.at:7.1f} s  {self.kind:<9} {self.part}{amount} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Plan:
    """What a schedule is made for."""

    seed: int
    seconds: float
    processes: tuple[str, ...]
    links: tuple[str, ...]
    kinds: tuple[str, ...] = KINDS
    on: tuple[str, ...] = ()
    """Only what one of these texts begins: `chat`, `gateway1>nats`; all if there is none."""
    pace: tuple[float, float] = (0.5, 4.0)
    """Seconds between two faults, at least and at most."""


def schedule(plan: Plan) -> list[Fault]:
    """The faults in the order of their times."""
    dice = random.Random(plan.seed)
    possible = [pair for pair in _possible(plan) if not plan.on or any(pair[1].startswith(text) for text in plan.on)]
    if not possible:
        return []
    faults: list[Fault] = []
    now = dice.uniform(*plan.pace)
    while True:
        both = dice.random() < TWO_AT_ONCE
        found = [_drawn(dice, possible, now, both=both)]
        if both:
            others = [pair for pair in possible if pair[1] != found[0].part]
            found += [_drawn(dice, others, now, both=both)] if others else []
        over = now + max(fault.seconds for fault in found)
        if over > plan.seconds:
            return faults
        faults += found
        now = over + dice.uniform(*plan.pace)


def without_jumps(faults: Collection[Fault]) -> list[Fault]:
    """The same schedule where no clock can be set: nothing else moves."""
    return [fault for fault in faults if fault.kind != "jump"]


def _possible(plan: Plan) -> Iterator[tuple[str, str]]:
    for kind in plan.kinds:
        if kind == "crash":
            yield kind, "postgres"
        elif kind in LINK_FAULTS:
            yield from ((kind, link) for link in plan.links)
        else:
            # NATS is a static program: no library can be put before what it asks the kernel.
            yield from ((kind, part) for part in plan.processes if kind != "jump" or part != "nats")


def _drawn(dice: random.Random, possible: list[tuple[str, str]], at: float, *, both: bool) -> Fault:
    # First the kind and what it happens to, so that the many links do not make everything else rare.
    kind = dice.choice(sorted({kind for kind, _ in possible}))
    groups = sorted({_group(part) for each, part in possible if each == kind})
    group = dice.choice(groups)
    part = dice.choice([part for each, part in possible if each == kind and _group(part) == group])
    fault = Fault(round(at, 2), 0.0, kind, part)
    match kind:
        case "stop" | "cut" | "freeze":
            longest = LONGEST_OF_ALL if both or part in SINGLE else LONGEST
            return replace(fault, seconds=round(min(longest, 1.0 + dice.expovariate(0.4)), 2))
        case "kill" | "terminate":
            return replace(fault, seconds=round(dice.uniform(0.1, 2.0), 2))
        case "crash":
            return replace(fault, seconds=0.5)
        case "jump":
            return replace(fault, seconds=round(dice.uniform(1.0, 8.0), 2), jump=dice.choice(JUMPS))
        case _:
            return fault


def _group(part: str) -> str:
    """Parts of one sort: all chats, all links of chats to Postgres."""
    return "".join(letter for letter in part if not letter.isdigit())
