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
    """The worst figure of all rows, which must all keep the bound."""

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Every row that was measured."""
        wanted = {**self.where, "server": self.server}
        return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]

    def figure(self, rows: Sequence[Row]) -> float:
        """The greatest of all; not a number when one of them failed."""
        return float("nan") if any(row["problems"] for row in rows) else max(row[self.field] for row in rows)


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


_CHAT = {"measurement": "persisted", "in_flight": 256}
_OPEN_LOOP = {"measurement": "persisted", "offered_per_s": 1000}
_IDLE = {"measurement": "idle"}
_HOSTILE = {"measurement": "hostile"}

BUDGETS = (
    *_broadcast("engine", "edge alone, 1,000 recipients"),
    *_broadcast("parley", "with NATS and a service, 1,000 recipients"),
    Budget("acked, persisted messages/s", "acked_per_s", _CHAT, "parley", "node", 2.5, 5, "times Node", at_least=True),
    Budget("send to member at 1,000/s: p50", "p50_ms", _OPEN_LOOP, "parley", "", None, 1.5, "ms"),
    Budget("send to member at 1,000/s: p99", "p99_ms", _OPEN_LOOP, "parley", "", 15, None, "ms"),
    Budget("send to member at 1,000/s: p99.9", "p999_ms", _OPEN_LOOP, "parley", "node", None, 1, "times Node"),
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
)
