"""The rows of persisted as the tables of docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import marked
from report import number
from verdict import Row

BEGIN = "<!-- acked and persisted: written by make bench -->"
BEGIN_PARTS = "<!-- acked and persisted, by process: written by make bench -->"
PARLEY, GATHERED, EACH = "parley", "node-gathered", "node"
PARTS = ("postgres", "nats", "chat", "gateway")
HEAD = """\
| room | database | load | acked/s: Parley | gathered | one each | Parley ÷ gathered | \
last member: Parley | gathered | CPU µs: Parley | gathered | one each |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
HEAD_PARTS = f"""\
| load | Parley | {" | ".join(PARTS)} | gathered Node | its Postgres |
|---|---|{"---|" * len(PARTS)}---|---|"""


def write_tables(rows: Sequence[Row], page: Path) -> None:
    """Put all rows in one table, and the CPU by process for rooms of ten on a fresh database in another."""
    loads: dict[tuple[int, str, str], dict[str, Row]] = {}
    for row in rows:
        loads.setdefault((row["room"], row["database"], row["load"]), {})[row["server"]] = row
    marked.put(page, BEGIN, [HEAD, *(_line(load, servers) for load, servers in loads.items())])
    tens = {load[2]: servers for load, servers in loads.items() if load[:2] == (10, "fresh")}
    marked.put(page, BEGIN_PARTS, [HEAD_PARTS, *(_parts(load, servers) for load, servers in tens.items())])


def _line(load: tuple[int, str, str], servers: dict[str, Row]) -> str:
    ours, gathered = servers[PARLEY], servers[GATHERED]
    rates = [_cell(servers[name], "acked_per_s") for name in (PARLEY, GATHERED, EACH)]
    failed = ours["problems"] or gathered["problems"]
    ratio = "" if failed else number(ours["acked_per_s"] / gathered["acked_per_s"])
    waits = [_cell(row, "last_p50_ms", "last_p99_ms", "last_p999_ms") for row in (ours, gathered)]
    costs = [_cell(servers[name], "cpu_us_per_message") for name in (PARLEY, GATHERED, EACH)]
    return f"| {' | '.join([*map(str, load), *rates, ratio, *waits, *costs])} |"


def _parts(load: str, servers: dict[str, Row]) -> str:
    cells = [load]
    for name, parts in ((PARLEY, PARTS), (GATHERED, PARTS[:1])):
        row = servers[name]
        cells.append(_cell(row, "cpu_us_per_message"))
        found = row.get("cpu_us_per_message_by_part", {})
        cells += [f"{found[part]:,.0f}" if part in found else "" for part in parts]
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, *fields: str) -> str:
    return "failed" if row["problems"] else " / ".join(number(row[field]) for field in fields)
