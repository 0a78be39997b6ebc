"""The budgets that Parley keeps beside its peers, judged from the rows of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """A figure of `server`, divided by that of `beside` where one is named, and its bounds."""

    what: str
    field: str
    where: dict[str, Any]
    server: str
    beside: str = ""
    must: float | None = None
    aim: float | None = None
    unit: str = ""
    at_least: bool = False

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The rows it is judged by: none when they were not measured."""
        names = [self.server, self.beside] if self.beside else [self.server]
        found = [self._row(rows, name) for name in names]
        return [row for row in found if row] if all(found) else []

    def figure(self, rows: Sequence[Row]) -> float:
        """What those rows say; not a number when one of them failed."""
        values = [float("nan") if row["problems"] else row[self.field] for row in rows]
        return values[0] / values[1] if self.beside else values[0]

    def keeps(self, figure: float, bound: float) -> bool:
        """Whether a figure keeps a bound; what is not a number keeps none."""
        return figure >= bound if self.at_least else figure <= bound

    def _row(self, rows: Sequence[Row], server: str) -> Row | None:
        wanted = {**self.where, "server": server}
        # The last one, which for idle connections is the greatest number of them.
        found = (row for row in reversed(rows) if all(row.get(name) == value for name, value in wanted.items()))
        return next(found, None)


class WorstBudget(Budget):
    """The worst figure of all rows, which must all keep the bound: the least where it must be at least that."""

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Every row that was measured."""
        wanted = {**self.where, "server": self.server}
        return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]

    def figure(self, rows: Sequence[Row]) -> float:
        """The worst of all; not a number when one of them failed."""
        worst = min if self.at_least else max
        return float("nan") if any(row["problems"] for row in rows) else worst(row[self.field] for row in rows)


@dataclass(frozen=True)
class PairedBudget(Budget):
    """A figure of `server` beside that of `beside`, wherever both were measured alike; the worst is judged."""

    alike: tuple[str, ...] = ()
    difference: bool = False
    """How much more it is, rather than how many times as much."""

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Pair after pair."""
        wanted = [row for row in rows if all(row.get(name) == value for name, value in self.where.items())]
        theirs = {self._place(row): row for row in wanted if row["server"] == self.beside}
        ours = [row for row in wanted if row["server"] == self.server and self._place(row) in theirs]
        return [row for own in ours for row in (own, theirs[self._place(own)])]

    def figure(self, rows: Sequence[Row]) -> float:
        """The worst of all pairs; not a number when one of them failed."""
        if any(row["problems"] for row in rows):
            return float("nan")
        pairs = [(own[self.field], other[self.field]) for own, other in zip(rows[::2], rows[1::2], strict=True)]
        found = [own - other if self.difference else own / other for own, other in pairs]
        return min(found) if self.at_least else max(found)

    def _place(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.alike)


def _broadcast(server: str, what: str) -> Iterator[Budget]:
    one = {"measurement": "fanout", "recipients": 1000, "in_flight": 1}
    many = {**one, "in_flight": 64}
    cpu, rate = "cpu_us_per_delivery", "deliveries_per_s"
    yield Budget(f"{what}: CPU per delivery, 1 in flight", cpu, one, server, "node", 0.75, None, "times Node")
    yield Budget(f"{what}: CPU per delivery, 1 in flight", cpu, one, server, "floor", None, 1.25, "times floor")
    yield Budget(
        f"{what}: deliveries/s, 64 in flight", rate, many, server, "node", 1.5, None, "times Node", at_least=True
    )
    yield Budget(
        f"{what}: deliveries/s, 64 in flight", rate, many, server, "floor", None, 2, "times floor", at_least=True
    )


def _framework(commands: int) -> Budget:
    where = {"measurement": "framework", "commands": commands}
    what = f"framework with 2 middlewares, over bare, {commands} per message"
    return Budget(what, "over_bare_us", where, "middleware", "", 10, None, "µs/command")


def _persisted() -> Iterator[Budget]:
    """Beside the peer that gathers its INSERTs; of the databases, the worse."""
    alike = ("room", "database")
    measured = {"measurement": "persisted"}
    ours, theirs, unit = "parley", "node-gathered", "times gathered Node"
    for in_flight, must, aim in ((64, 1.5, 2.5), (256, 2, 4), (1000, 3, None)):
        for room in (2, 10, 100):
            what = f"acked, persisted messages/s, {in_flight:,} in flight, rooms of {room}"
            where = {**measured, "in_flight": in_flight, "room": room}
            yield PairedBudget(what, "acked_per_s", where, ours, theirs, must, aim, unit, True, alike)
    steady = {**measured, "room": 10, "offered_per_s": 1000}
    what, more = "to the last member at 1,000/s", "ms more than gathered Node"
    yield PairedBudget(f"{what}: p50", "last_p50_ms", steady, ours, theirs, 2, None, more, alike=alike, difference=True)
    yield PairedBudget(f"{what}: p99", "last_p99_ms", steady, ours, theirs, 1, None, unit, alike=alike)
    yield PairedBudget(
        "CPU per message at 1,000/s, all processes",
        "cpu_us_per_message",
        steady,
        ours,
        theirs,
        1,
        None,
        unit,
        alike=alike,
    )
    quick = {**measured, "room": 10, "offered_per_s": 3000}
    yield WorstBudget("acked of 3,000 offered/s", "acked_per_s", quick, ours, "", 2970, None, "/s", at_least=True)


_LARGE = {"measurement": "scale", "log": "large"}


def _scale(operation: str) -> Budget:
    where = {**_LARGE, "operation": operation}
    return Budget(f"{operation} of a large log: p99", "times_small", where, "parley", "", 2, None, "times the small")


_IDLE = {"measurement": "idle"}
_HOSTILE = {"measurement": "hostile"}

BUDGETS = (
    *_broadcast("engine", "edge alone, 1,000 recipients"),
    *_broadcast("parley", "with NATS and a service, 1,000 recipients"),
    *_persisted(),
    Budget(
        "CPU per connect, authenticated",
        "cpu_us",
        {"measurement": "connect"},
        "parley",
        "node",
        0.6,
        0.35,
        "times Node",
    ),
    Budget("memory per idle connection, edge alone", "kb_front", _IDLE, "engine", "", 8, 4, "KB"),
    Budget("memory per idle connection, gateway", "kb_front", _IDLE, "parley", "", 8, 4, "KB"),
    Budget("loop blocked by lost clients, edge alone", "stall_ms", _IDLE, "engine", "", 50, None, "ms"),
    Budget("loop blocked by lost clients, gateway", "stall_ms", _IDLE, "parley", "", 50, None, "ms"),
    *map(_framework, (1, 8, 64)),
    WorstBudget("any flood: p99 of others over idle", "over_idle_ms", _HOSTILE, "parley", "", 50, None, "ms"),
    WorstBudget("any flood: memory of the gateway", "memory_mb", _HOSTILE, "parley", "", 64, None, "MB more"),
    WorstBudget("any flood: others cut off", "disconnected", _HOSTILE, "parley", "", 0, None, "connections"),
    WorstBudget("any flood: others without an answer", "unanswered", _HOSTILE, "parley", "", 0, None, "requests"),
    *map(_scale, ("history", "sync", "append")),
    WorstBudget("an event with all indices", "bytes_per_event", _LARGE, "parley", "", 350, None, "bytes"),
)
