"""The rows as pictures for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, NullFormatter
from report import number
from verdict import Row

mpl.use("svg")
from matplotlib import pyplot as plt

COLOURS = {
    "floor": "#9aa0a6",
    "node": "#5b8c5a",
    "node-gathered": "#2f5d50",
    "python-socketio": "#c9a227",
    "drop-in": "#8a6d9e",
    "engine": "#7fb2e5",
    "parley": "#1f5fa8",
}
NAMES = {
    "floor": "floor (C, one write each)",
    "node": "Socket.IO on Node.js",
    "node-gathered": "the same, gathered INSERTs",
    "python-socketio": "python-socketio",
    "drop-in": "python-socketio on Parley's engine",
    "engine": "Parley's edge alone",
    "parley": "Parley",
}


def draw(rows: Sequence[Row], directory: Path) -> list[Path]:
    """Write a picture per measurement that there are rows of."""
    directory.mkdir(parents=True, exist_ok=True)
    # With fixed ids and no date, the same figures give the same file.
    plt.rcParams.update({"svg.hashsalt": "parley", "svg.fonttype": "none", "font.size": 9})
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    pictures: dict[str, Callable[[Sequence[Row]], Any]] = {
        "fanout": _fanout,
        "persisted": _persisted,
        "connections": _connections,
    }
    written: list[Path] = []
    for name, picture in pictures.items():
        figure = picture([row for row in rows if not row["problems"]])
        if figure is None:
            continue
        path = directory / f"bench-{name}.svg"
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
        written.append(path)
    return written


def _fanout(rows: Sequence[Row]) -> Any:
    rows = [row for row in rows if row["measurement"] == "fanout"]
    if not rows:
        return None
    recipients = sorted({row["recipients"] for row in rows})
    in_flight = sorted({row["in_flight"] for row in rows})
    figure, axes = plt.subplots(2, len(in_flight), figsize=(3.8 * len(in_flight), 6.4), squeeze=False, sharey="row")
    for column, many in enumerate(in_flight):
        chosen = [row for row in rows if row["in_flight"] == many]
        for line, (field, title) in enumerate(
            (("deliveries_per_s", "deliveries/s"), ("cpu_us_per_delivery", "server CPU, µs per delivery"))
        ):
            _bars(axes[line][column], chosen, field, "recipients", recipients)
            axes[line][column].set_title(f"{title}, {many} in flight")
            axes[line][column].set_xlabel("recipients")
            _logarithmic(axes[line][column])
    _legend(figure, axes[0][0])
    return figure


def _persisted(rows: Sequence[Row]) -> Any:
    """Rooms of ten on a fresh database; the tables have the others."""
    wanted = {"measurement": "persisted", "room": 10, "database": "fresh"}
    rows = [row for row in rows if row["server"] in NAMES and all(row.get(name) == wanted[name] for name in wanted)]
    closed = [row for row in rows if "in_flight" in row]
    steady = [row for row in rows if "offered_per_s" in row]
    if not closed or not steady:
        return None
    figure, (rate, latency, cpu) = plt.subplots(1, 3, figsize=(12, 3.4))
    in_flight = sorted({row["in_flight"] for row in closed})
    _bars(rate, closed, "acked_per_s", "in_flight", in_flight)
    rate.set_title("acked, persisted messages/s")
    rate.set_xlabel("in flight")
    fields = {"last_p50_ms": "p50", "last_p99_ms": "p99", "last_p999_ms": "p99.9"}
    offered = min(row["offered_per_s"] for row in steady)
    waits = [
        {"server": row["server"], "at": label, "ms": row[field]}
        for row in steady
        if row["offered_per_s"] == offered
        for field, label in fields.items()
    ]
    _bars(latency, waits, "ms", "at", list(fields.values()))
    latency.set_title(f"to the last member at {offered:,} messages/s, ms")
    _logarithmic(latency)
    _bars(cpu, rows, "cpu_us_per_message", "load", list(dict.fromkeys(row["load"] for row in [*closed, *steady])))
    cpu.set_title("CPU of all processes, µs per message")
    cpu.tick_params(axis="x", labelsize=7)
    _legend(figure, rate, {"node": "Socket.IO on Node.js, one INSERT each"})
    return figure


def _connections(rows: Sequence[Row]) -> Any:
    connects = [row for row in rows if row["measurement"] == "connect"]
    idle = [row for row in rows if row["measurement"] == "idle"]
    if not connects or not idle:
        return None
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    numbers = sorted({row["connections"] for row in idle})
    _bars(axes[0], [{**row, "all": ""} for row in connects], "cpu_us", "all", [""])
    axes[0].set_title("CPU per connect, µs\n(Parley's authenticated)")
    _bars(axes[1], idle, "kb_front", "connections", numbers)
    axes[1].set_title("memory per idle connection, KB")
    _bars(axes[2], idle, "stall_ms", "connections", numbers)
    axes[2].set_title("loop blocked when all are lost, ms")
    _logarithmic(axes[2])
    for axis in axes[1:]:
        axis.set_xlabel("connections")
    _legend(figure, axes[1])
    return figure


def _bars(axis: Any, rows: Sequence[Row], field: str, group: str, groups: Sequence[Any]) -> None:
    """Bars side by side: a group per value of a field, in it one per server."""
    servers = [name for name in COLOURS if any(row["server"] == name for row in rows)]
    width = 0.8 / max(1, len(servers))
    for place, server in enumerate(servers):
        own = {row[group]: row[field] for row in rows if row["server"] == server and row[field] is not None}
        at = [center + (place - (len(servers) - 1) / 2) * width for center, value in enumerate(groups) if value in own]
        heights = [own[value] for value in groups if value in own]
        bars = axis.bar(at, heights, width * 0.92, color=COLOURS[server], label=server)
        axis.bar_label(bars, [number(height) for height in heights], fontsize=6, rotation=90, padding=2)
    axis.margins(y=0.25)
    axis.set_xticks(range(len(groups)), [f"{value:,}" if isinstance(value, int) else value for value in groups])


def _plain(value: float, _place: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _logarithmic(axis: Any) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(FuncFormatter(_plain))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Any, axis: Any, names: dict[str, str] | None = None) -> None:
    handles, servers = axis.get_legend_handles_labels()
    labels = [{**NAMES, **(names or {})}[server] for server in servers]
    figure.tight_layout()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(labels), frameon=False)
