"""The rows of hostile as the table of docs/performance.md, which is long and changes as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import marked
from report import number
from verdict import Row

BEGIN = "<!-- what others notice: written by make bench -->"
HEAD = """\
| flood | echo | /healthz | +MB | cut off | the attacker | Node: echo | /healthz | +MB | cut off |
|---|---|---|---|---|---|---|---|---|---|"""


def write_table(rows: Sequence[Row], page: Path) -> None:
    """Put the table in the place of the one that stands between the marks."""
    floods = dict.fromkeys(row["flood"] for row in rows)
    lines = [_line(flood, {row["server"]: row for row in rows if row["flood"] == flood}) for flood in floods]
    marked.put(page, BEGIN, [HEAD, *lines])


def _line(flood: str, servers: dict[str, Row]) -> str:
    parley, node = servers.get("parley", {}), servers.get("node", {})
    cells = [flood, *_cells(parley), parley.get("attacker", ""), *_cells(node)]
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    if not row or row["problems"]:
        return ["failed" if row else "", "", "", ""]
    waits = [
        " / ".join(number(row[f"{name}_{what}_ms"]) for what in ("p50", "p99", "max")) for name in ("echo", "healthz")
    ]
    return [*waits, number(row["memory_mb"]), number(row["disconnected"])]
