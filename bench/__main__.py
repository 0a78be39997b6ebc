"""`make bench`: Parley beside its peers, in turn, in one run on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import machine
import part_tables
import typer
from attack_table import write_table
from contestants import BENCH, BROADCASTERS, ON_REQUEST, PEERS
from durable_peers import missing
from floods import FLOODS
from machine import CLIENT_CORES, on_cores
from measurements import MEASUREMENTS, Row
from persisted import DATABASES, KEEPERS, OPTIONAL
from persisted_table import write_tables
from plan import Plan
from plots import draw
from report import TITLES, line, show
from rich.console import Console

from parley.cli.stack.stop_signals import StopSignals

RESULTS = BENCH / "results"
LATEST = RESULTS / "latest.json"
PERFORMANCE = BENCH.parent / "docs" / "performance.md"
IMAGES = BENCH.parent / "docs" / "img"
PERSISTED, FRAMEWORK, HOSTILE, SCALE, PRESENCE = "persisted", "framework", "hostile", "scale", "presence"
REVISION, DOMAIN, STORM, SEARCH = "revision", "domain", "storm", "search"
PARTS = (PERSISTED, FRAMEWORK, HOSTILE, SCALE, PRESENCE, REVISION, DOMAIN, STORM, SEARCH)
"""Measurements that may be made by themselves: their results have a part of their own, which they alone renew."""
BEFORE_THE_DOMAIN = "9efc2b0"
"""The last revision without edits, threads, reactions, receipts, notifications and search."""
RESERVED_FILES = 200
"""What a server has open besides its connections."""

# They take long, or compare with what only a developer asks for, and are measured only when they are named.
_BY_NAME = (HOSTILE, SCALE, REVISION, DOMAIN, STORM, SEARCH)
# What may be chosen without less being measured, where there is a part of its own: shorter floods are no renewal.
_RENEWING = {
    PERSISTED: {"--only", "--seconds", "--rounds"},
    FRAMEWORK: {"--only", "--seconds"},
    HOSTILE: {"--only"},
    SCALE: {"--only"},
    PRESENCE: {"--only", "--seconds"},
    REVISION: {"--only", "--seconds", "--rounds", "--revision"},
    DOMAIN: {"--only"},
    STORM: {"--only", "--seconds"},
    SEARCH: {"--only"},
}
_SERVERS = list(dict.fromkeys([*BROADCASTERS, *KEEPERS, *OPTIONAL]))
_UNNAMED = [*OPTIONAL, *sorted(ON_REQUEST)]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _choose(given: str, known: Sequence[str], option: str) -> list[str]:
    chosen = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := sorted(set(chosen) - set(known)):
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(known)}", param_hint=option)
    return chosen or list(known)


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
        str,
        typer.Option(
            help=f"Measurements, by commas: {', '.join(MEASUREMENTS)}. Without it all but {', '.join(_BY_NAME)}."
        ),
    ] = "",
    servers: Annotated[
        str, typer.Option(help=f"Servers: {', '.join(_SERVERS)}. Without it all but {', '.join(_UNNAMED)}.")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each rate is measured.")] = 4.0,
    recipients: Annotated[str, typer.Option(help="Sizes of the room in fanout.")] = "100,1000,5000",
    in_flight: Annotated[str, typer.Option(help="Messages in flight in fanout.")] = "1,4,64",
    chat_in_flight: Annotated[str, typer.Option(help="Messages in flight in persisted.")] = "64,256,1000",
    rates: Annotated[str, typer.Option(help="Messages per second of the open loops in persisted.")] = "1000,3000",
    rooms: Annotated[str, typer.Option(help="Members of a room in persisted.")] = "2,10,100",
    databases: Annotated[str, typer.Option(help=f"Databases in persisted: {', '.join(DATABASES)}.")] = "",
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of persisted and revision; each figure is their median.")
    ] = 5,
    connections: Annotated[str, typer.Option(help="Idle connections.")] = "10000,20000",
    floods: Annotated[str, typer.Option(help="Kinds of flood in hostile, by commas. All without it.")] = "",
    flood_seconds: Annotated[float, typer.Option(min=0.5, help="How long each flood lasts.")] = 10.0,
    events: Annotated[int, typer.Option(min=100_000, help="Events of the large log in scale.")] = 10_000_000,
    revision: Annotated[str, typer.Option(help="The earlier one, in revision.")] = BEFORE_THE_DOMAIN,
    messages: Annotated[int, typer.Option(min=10_000, help="Messages that are searched in.")] = 1_000_000,
) -> None:
    """Measure Parley beside its peers.

    A whole run writes bench/results/latest.json and docs/img/bench-*.svg; a narrowed one bench/results/narrowed.json.
    With `--only` one of persisted, framework, hostile, scale, presence, revision, domain, storm and search, that part
    of latest.json is renewed; the rest stays.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    named = _choose(servers, _SERVERS, "--servers")
    for name in named if servers else ():
        if reason := missing(name):
            raise typer.BadParameter(f"{name}: {reason}", param_hint="--servers")
    chosen = _choose(only, list(MEASUREMENTS), "--only")
    if not only:
        chosen = [name for name in chosen if name not in _BY_NAME]
    most = machine.allow_many_sockets() - RESERVED_FILES
    plan = Plan(
        servers=frozenset(named) - frozenset(() if servers else _UNNAMED),
        seconds=seconds,
        recipients=_numbers(recipients, "--recipients"),
        in_flight=_numbers(in_flight, "--in-flight"),
        chat_in_flight=_numbers(chat_in_flight, "--chat-in-flight"),
        rates=_numbers(rates, "--rates"),
        rooms=_numbers(rooms, "--rooms"),
        databases=tuple(_choose(databases, DATABASES, "--databases")),
        rounds=rounds,
        connections=tuple(sorted({min(number, most) for number in _numbers(connections, "--connections")})),
        floods=tuple(_choose(floods, list(FLOODS), "--floods")),
        flood_seconds=flood_seconds,
        events=events,
        revision=revision,
        messages_indexed=messages,
    )
    narrowed = len(sys.argv) > 1
    started = time.monotonic()
    rows: list[Row] = []
    with StopSignals(), on_cores(CLIENT_CORES):
        for measurement in chosen:
            console.print(f"[bold]{TITLES[measurement]}[/]")
            rows += _measure(console, measurement, plan)
    show(console, rows)
    given = {argument.split("=")[0] for argument in sys.argv[1:] if argument.startswith("--")}
    part = len(chosen) == 1 and given <= _RENEWING.get(chosen[0], set())
    path = RESULTS / "narrowed.json" if narrowed and not part else LATEST
    _write(path, rows, part)
    console.print(f"Wrote {path.relative_to(BENCH.parent)} after {time.monotonic() - started:.0f} s")
    if part and chosen == [HOSTILE]:
        write_table(rows, PERFORMANCE)
        console.print(f"Wrote the table in {PERFORMANCE.relative_to(BENCH.parent)}")
    if part and chosen[0] in part_tables.PARTS and part_tables.whole(rows):
        part_tables.write_part(chosen[0], rows, PERFORMANCE)
        console.print(f"Wrote the table of {chosen[0]} in {PERFORMANCE.relative_to(BENCH.parent)}")
    if found := [row for row in rows if row["measurement"] == PERSISTED and (part or not narrowed)]:
        write_tables(found, PERFORMANCE)
        console.print(f"Wrote the tables of {PERSISTED} in {PERFORMANCE.relative_to(BENCH.parent)}")
    if not narrowed or (part and chosen == [PERSISTED]):
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
    """Write all results, or with `part` those of one measurement alone beside what is there."""
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _output("git", "-C", str(BENCH), "describe", "--always", "--dirty"),
        "machine": machine.description(),
    }
    before: dict[str, Any] = json.loads(path.read_text("utf-8")) if path == LATEST and path.exists() else {}
    contents = {**before, "rows": [row for row in before.get("rows", []) if row["measurement"] not in PARTS]}
    if not part:
        others = [row for row in rows if row["measurement"] not in PARTS]
        contents = {**about, "versions": _versions(), "rows": others}
        contents |= {name: before[name] for name in PARTS if name in before}
    for name in PARTS:
        if found := [row for row in rows if row["measurement"] == name]:
            contents[name] = {**about, "rows": found}
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
