"""`make bench`: Parley beside its peers, in turn, in one run on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import machine
import typer
from contestants import BENCH, BROADCASTERS, PEERS
from machine import CLIENT_CORES, on_cores
from measurements import MEASUREMENTS, Plan, Row
from plots import draw
from report import TITLES, line, show
from rich.console import Console

from parley.cli.stop_signals import StopSignals

RESULTS = BENCH / "results"
LATEST = RESULTS / "latest.json"
IMAGES = BENCH.parent / "docs" / "img"
FRAMEWORK = "framework"
"""The measurement without peers: its results have a part of their own, which it alone may renew."""
RESERVED_FILES = 200
"""What a server has open besides its connections."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _choose(given: str, known: list[str], option: str) -> list[str]:
    chosen = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := sorted(set(chosen) - set(known)):
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(known)}", param_hint=option)
    return chosen or known


def _numbers(given: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in given.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise typer.BadParameter("whole numbers, separated by commas", param_hint=option)
    return numbers


@app.command()
def bench(
    only: Annotated[
        str, typer.Option(help=f"Measurements, by commas: {', '.join(MEASUREMENTS)}. All without it.")
    ] = "",
    servers: Annotated[str, typer.Option(help=f"Servers: {', '.join(BROADCASTERS)}. All without it.")] = "",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each rate is measured.")] = 4.0,
    recipients: Annotated[str, typer.Option(help="Sizes of the room in fanout.")] = "100,1000,5000",
    in_flight: Annotated[str, typer.Option(help="Messages in flight in fanout.")] = "1,4,64",
    chat_in_flight: Annotated[str, typer.Option(help="Messages in flight in persisted.")] = "64,256",
    rate: Annotated[int, typer.Option(min=1, help="Messages per second of the open loop in persisted.")] = 1000,
    connections: Annotated[str, typer.Option(help="Idle connections.")] = "10000,20000",
) -> None:
    """Measure Parley beside its peers.

    A whole run writes bench/results/latest.json and docs/img/bench-*.svg; a narrowed one bench/results/narrowed.json.
    With `--only framework`, that part of latest.json is renewed, and the rest stays.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    chosen = _choose(only, list(MEASUREMENTS), "--only")
    most = machine.allow_many_sockets() - RESERVED_FILES
    plan = Plan(
        servers=frozenset(_choose(servers, list(BROADCASTERS), "--servers")),
        seconds=seconds,
        recipients=_numbers(recipients, "--recipients"),
        in_flight=_numbers(in_flight, "--in-flight"),
        chat_in_flight=_numbers(chat_in_flight, "--chat-in-flight"),
        rate=rate,
        connections=tuple(sorted({min(number, most) for number in _numbers(connections, "--connections")})),
    )
    narrowed = len(sys.argv) > 1
    started = time.monotonic()
    rows: list[Row] = []
    with StopSignals(), on_cores(CLIENT_CORES):
        for measurement in chosen:
            console.print(f"[bold]{TITLES[measurement]}[/]")
            rows += _measure(console, measurement, plan)
    show(console, rows)
    path = RESULTS / "narrowed.json" if narrowed and chosen != [FRAMEWORK] else LATEST
    _write(path, rows, path == LATEST and narrowed)
    console.print(f"Wrote {path.relative_to(BENCH.parent)} after {time.monotonic() - started:.0f} s")
    if not narrowed:
        for picture in draw(rows, IMAGES):
            console.print(f"Wrote {picture.relative_to(BENCH.parent)}")
    if any(row["problems"] for row in rows):
        raise typer.Exit(1)


def _measure(console: Console, measurement: str, plan: Plan) -> list[Row]:
    rows: list[Row] = []
    with console.status("measuring…"):
        for row in MEASUREMENTS[measurement](plan):
            console.print(f"  {line(row)}")
            rows.append(row)
    return rows


def _write(path: Path, rows: list[Row], part: bool) -> None:
    """Write all results, or with `part` those of the framework alone beside what is there."""
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _output("git", "-C", str(BENCH), "describe", "--always", "--dirty"),
        "machine": machine.description(),
    }
    contents: dict[str, object] = {}
    if part:
        contents = json.loads(path.read_text("utf-8")) if path.exists() else {}
    else:
        others = [row for row in rows if row["measurement"] != FRAMEWORK]
        contents = {**about, "versions": _versions(), "rows": others}
    if found := [row for row in rows if row["measurement"] == FRAMEWORK]:
        contents[FRAMEWORK] = {**about, "rows": found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _versions() -> dict[str, str]:
    return {
        "node": _output("node", "--version"),
        "socket.io": json.loads((PEERS / "node_modules/socket.io/package.json").read_text())["version"],
        **{name: version(name) for name in ("python-socketio", "python-engineio", "uvicorn", "uvloop")},
    }


def _output(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip()


if __name__ == "__main__":
    app()
