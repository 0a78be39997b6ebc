"""Rows as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from verdict import BUDGETS, Row

COLUMNS = {
    "fanout": {
        "recipients": "recipients",
        "in_flight": "in flight",
        "deliveries_per_s": "deliveries/s",
        "cpu_us_per_delivery": "CPU µs/delivery",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
    },
    "persisted": {
        "room": "room",
        "database": "database",
        "load": "load",
        "acked_per_s": "acked/s",
        "deliveries_per_s": "deliveries/s",
        "ack_p50_ms ack_p99_ms ack_p999_ms": "ack ms: p50/p99/p99.9",
        "last_p50_ms last_p99_ms last_p999_ms": "last member ms",
        "cpu_us_per_message": "CPU µs/message",
        "cpu_us_per_message_by_part": "by process",
        "flushes_per_s": "flushes/s",
    },
    "connect": {
        "connects_per_s": "connects/s",
        "cpu_us_front": "CPU µs, front process",
        "cpu_us": "CPU µs, all its processes",
    },
    "idle": {
        "connections": "connections",
        "kb_front": "KB each, front process",
        "kb": "KB each, all its processes",
        "stall_ms": "loop blocked ms",
        "stall_cpu_ms": "of it CPU ms",
        "gone_s": "all gone s",
        "cleanup_cpu_s": "CPU s",
    },
    "framework": {
        "commands": "commands/message",
        "cpu_us": "CPU µs/command",
        "over_bare_us": "over bare µs",
        "commands_per_s": "commands/s",
    },
    "hostile": {
        "flood": "flood",
        "echo_p50_ms echo_p99_ms echo_max_ms": "echo p50/p99/max ms",
        "healthz_p50_ms healthz_p99_ms healthz_max_ms": "healthz p50/p99/max ms",
        "over_idle_ms": "p99 over idle",
        "memory_mb": "+MB",
        "disconnected unanswered": "others cut off/unanswered",
        "attacker": "attacker",
    },
    "scale": {
        "events": "events",
        "operation": "operation",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "times_small": "p99, times the small log's",
        "bytes_per_event": "bytes/event",
        "grown_in_s": "grown in s",
    },
    "presence": {
        "users": "users",
        "load": "load",
        "core_percent": "% of a core",
        "first_ms": "first answer ms",
        "next_ms": "next answers ms",
        "cpu_us_per_change": "CPU µs/change, both gateways",
    },
    "revision": {
        "load": "load",
        "revision": "revision",
        "acked_per_s": "acked/s",
        "cpu_us_per_message": "CPU µs/message",
        "cpu_us_per_message_by_part": "by process",
        "times": "chat, gateway, Postgres: times the earlier",
    },
    "domain": {
        "members": "members",
        "operation": "operation",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "chat_ms": "CPU ms, chat",
        "postgres_ms": "CPU ms, Postgres",
        "times_small": "CPU, times the small room's",
    },
    "storm": {
        "load": "load",
        "acked_per_s": "acked/s",
        "deliveries_per_s": "deliveries/s, both gateways",
        "ack_p50_ms ack_p99_ms ack_p999_ms": "ack ms: p50/p99/p99.9",
        "p50_ms p99_ms p999_ms": "member ms",
        "cpu_us_per_message": "CPU µs each",
        "cpu_us_per_message_by_part": "by process",
        "server_percent": "% of a core",
    },
    "search": {
        "messages": "messages",
        "user": "user",
        "query": "query",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "max_ms": "max ms",
        "found": "found",
    },
}
TITLES = {
    "fanout": "One room, nothing kept",
    "persisted": "1,000 clients in rooms, every message stored before its ack",
    "connect": "A connect (Parley's with a token, the peers' without)",
    "idle": "Idle connections, and all of them lost at once",
    "framework": "A command in a service, and in a bare NATS callback",
    "hostile": "Others' round trips while one attacker floods",
    "scale": "A small log and a large one",
    "presence": "Presence of two gateways, without their connections",
    "revision": "A plain message, and what it cost at an earlier revision",
    "domain": "Many rooms, and a large room",
    "storm": "A message that everybody reacts to, 1,000 clients on two gateways",
    "search": "Searches",
}


def show(console: Console, rows: Sequence[Row]) -> None:
    """A table per measurement, and the budgets."""
    for measurement, columns in COLUMNS.items():
        found = [row for row in rows if row["measurement"] == measurement]
        if not found:
            continue
        table = Table(title=TITLES[measurement], title_justify="left", title_style="bold")
        table.add_column("server", no_wrap=True)
        for heading in columns.values():
            table.add_column(heading, justify="right")
        table.add_column("")
        for row in found:
            table.add_row(row["server"], *cells(row), marks(row))
        console.print(table)
    if any(row.get("disturbed") for row in rows):
        console.print("[dim]≈ other processes of the machine were busy; measure again on a quiet one[/]")
    for row in rows:
        for problem in row["problems"]:
            console.print(f"[red]{row['measurement']} {row['server']}:[/] {escape(problem)}")
    if any(map(_limited_by_client, rows)):
        console.print("[dim]> the client was the limit; the server can do more[/]")
    _show_budgets(console, rows)


def _show_budgets(console: Console, rows: Sequence[Row]) -> None:
    table = Table("budget", "", "", title="Budgets", title_justify="left", title_style="bold")
    for heading in ("found", "must be", "aim"):
        table.add_column(heading, justify="right")
    for budget in BUDGETS:
        judged = budget.rows(rows)
        if not judged:
            continue
        figure = budget.figure(judged)
        sign = "≥" if budget.at_least else "≤"
        bounds = [f"{sign} {bound:g}" if bound is not None else "" for bound in (budget.must, budget.aim)]
        bound = budget.must if budget.must is not None else budget.aim
        colour = "green" if bound is not None and budget.keeps(figure, bound) else "red"
        aimed = budget.aim is not None and budget.keeps(figure, budget.aim)
        signs = ("★" if aimed else "") + ("≈" if any(row.get("disturbed") for row in judged) else "")
        found = "failed" if math.isnan(figure) else f"{figure:.2f}"
        table.add_row(budget.what, budget.unit, signs, f"[{colour}]{found}[/]", *bounds)
    if table.row_count:
        console.print(table)
        console.print("[dim]★ the aim is met   ≈ judged by rows during which other processes were busy[/]")


def line(row: Row) -> str:
    """A row in a line, for progress."""
    columns = COLUMNS[row["measurement"]]
    figures = ", ".join(f"{heading} {cell}" for fields, heading in columns.items() if (cell := _cell(row, fields)))
    return f"[bold]{row['server']}[/] {figures} {remarks(row)}"


def remarks(row: Row) -> str:
    """What has to be known about a row: errors, who limited the rate when not the server, disturbance."""
    notes: list[str] = [f"[red]{escape(problem)}[/]" for problem in row["problems"]]
    if _limited_by_client(row):
        notes.append("[yellow]limited by the client[/]")
    if row.get("disturbed"):
        notes.append("[yellow]other processes were busy[/]")
    return ", ".join(notes)


def marks(row: Row) -> str:
    """The same as signs, which are explained below the tables."""
    signs = [*(">" if _limited_by_client(row) else ""), *("≈" if row.get("disturbed") else "")]
    return " ".join([*signs, *("[red]failed[/]" for _ in row["problems"][:1])])


def _limited_by_client(row: Row) -> bool:
    return row.get("limited_by") == "client" and "offered_per_s" not in row


def cells(row: Row) -> list[str]:
    """The figures of a row, one for each column of its measurement; empty where it has none."""
    return [_cell(row, fields) for fields in COLUMNS[row["measurement"]]]


def _cell(row: Row, fields: str) -> str:
    """One field, or several that stand together."""
    return " / ".join(number(row[field]) for field in fields.split() if field in row)


def number(value: Any) -> str:
    """A figure with as many digits as it deserves; what is none, as it is."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {part:,.0f}" for name, part in value.items())
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
