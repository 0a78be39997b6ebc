"""The rows of single measurements as tables of docs/performance.md, with the columns that the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import marked
from report import COLUMNS, cells
from verdict import Row

PARTS = ("revision", "domain", "storm", "search")
"""What has such a table."""


def begin_of(measurement: str) -> str:
    """The mark that a measurement's table stands behind."""
    return f"<!-- {measurement}: written by make bench -->"


def whole(rows: Sequence[Row]) -> bool:
    """Whether all rows have figures: one that failed has none."""
    return all(any(cells(row)) for row in rows)


def write_part(measurement: str, rows: Sequence[Row], page: Path) -> None:
    """Put the rows of a measurement in its place. A column that no row has anything in is left out."""
    table = [cells(row) for row in rows]
    kept = [place for place in range(len(table[0])) if any(line[place] for line in table)]
    headings = list(COLUMNS[measurement].values())
    lines = [
        [headings[place] for place in kept],
        ["---"] * len(kept),
        *([line[place] for place in kept] for line in table),
    ]
    marked.put(page, begin_of(measurement), [f"| {' | '.join(line)} |" for line in lines])
