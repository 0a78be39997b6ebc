"""Messages that are stored before they are acked: every server in turn, round after round, and the medians.

A round starts its server anew on a copy of the same database, so that none finds what another left behind: `fresh` is
one that was just migrated and has no statistics, `grown` holds the events of `growth.py` and was analysed.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from chats import Database, copied, database, node_chat, node_gathered_chat, one_process_chat, parley_chat
from clients import clients, connect, phase
from contestants import Contestant, Surroundings
from durable_peers import ejabberd, jetstream
from growth import grow
from machine import ALL_CORES
from plan import PATIENCE, Plan

Row = dict[str, Any]
Start = Callable[[Surroundings, Database, Sequence[str]], AbstractContextManager[Contestant]]

CLIENTS = 1_000
DATABASES = ("fresh", "grown")
GROWN_EVENTS, GROWN_ROOMS = 200_000, 2_000
SPREAD = ("acked_per_s", "ack_p50_ms", "last_p50_ms", "last_p99_ms", "cpu_us_per_message")
"""Figures of which the least and the greatest of all rounds are kept beside the median."""

_GROW_PEERS = """
INSERT INTO peer_messages(room, author, body)
SELECT 'room-' || n % {rooms}, gen_random_uuid()::text, jsonb_build_object('text', repeat('x', 100))
FROM generate_series(1, {events}) n
"""

KEEPERS: dict[str, Start] = {"node": node_chat, "node-gathered": node_gathered_chat, "parley": parley_chat}
OPTIONAL: dict[str, Start] = {"one-process": one_process_chat, "jetstream": jetstream, "ejabberd": ejabberd}
"""Servers that are measured only when they are named, and on a fresh database alone."""


def persisted(plan: Plan) -> Iterator[Row]:
    """Every size of rooms on every database; all on all cores, the client included."""
    chosen = {name: start for name, start in {**KEEPERS, **OPTIONAL}.items() if name in plan.servers}
    if not chosen:
        return
    for kind in plan.databases:
        if kind == "grown":
            chosen = {name: start for name, start in chosen.items() if name in KEEPERS}
        for size in plan.rooms:
            with _prepared(kind, size) as (template, rooms):
                yield from _interleaved(plan, chosen, template, rooms, {"room": size, "database": kind})


def _rooms(size: int) -> int:
    return -(-CLIENTS // size)


@contextmanager
def _prepared(kind: str, size: int) -> Generator[tuple[Path, list[str]]]:
    """A stopped database of one kind, and the rooms in it that clients will join; none where they are made later."""
    with tempfile.TemporaryDirectory() as directory:
        template, rooms = Path(directory) / "postgres", []
        with database(template, ALL_CORES) as base:
            if kind == "grown":
                rooms = grow(base, GROWN_EVENTS, GROWN_ROOMS)[: _rooms(size)]
                with node_chat(Surroundings(Path(directory), Path(directory) / "lag", 0), base, ()):
                    base.value(_GROW_PEERS.format(events=GROWN_EVENTS, rooms=_rooms(size)))
                base.value("ANALYZE peer_messages")
        yield template, rooms


def _interleaved(
    plan: Plan, chosen: Mapping[str, Start], template: Path, rooms: list[str], where: Row
) -> Iterator[Row]:
    found: dict[str, list[list[Row]]] = {name: [] for name in chosen}
    for _ in range(plan.rounds):
        for name, start in chosen.items():
            found[name].append(_attempt(plan, start, template, rooms, where["room"]))
    for name, rounds in found.items():
        for rows in zip(*rounds, strict=True):
            yield {"measurement": "persisted", "server": name, **where, **_median(rows)}


def _attempt(plan: Plan, start: Start, template: Path, rooms: list[str], size: int) -> list[Row]:
    """A row for each load, with or without figures: what befalls one server in one round leaves the others alone."""
    loads: list[Row] = [{"load": f"{number:,} in flight", "in_flight": number} for number in plan.chat_in_flight]
    loads += [{"load": f"{rate:,}/s", "offered_per_s": rate} for rate in plan.rates]
    try:
        _run(plan, start, template, rooms, size, loads)
    except Exception as error:  # noqa: BLE001 - a server may fail in any way
        for load in loads:
            load.setdefault("problems", []).append(f"{type(error).__name__}: {error}")
    return loads


def _run(plan: Plan, start: Start, template: Path, rooms: list[str], size: int, loads: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        around = Surroundings(Path(directory), Path(directory) / "lag", CLIENTS)
        with copied(template, around.directory / "postgres", ALL_CORES) as base:
            names = rooms or [""] * _rooms(size)
            with start(around, base, names) as server:
                phases = [
                    f"{load['in_flight']}" if "in_flight" in load else f"r{load['offered_per_s']}" for load in loads
                ]
                options = plan.messages("-a", "-b", "-g", str(size), "-w", ",".join(phases))
                timeout = PATIENCE * (1 + len(loads))
                log = around.directory / "load.log"
                with clients(server, ALL_CORES, log, number=CLIENTS, timeout=timeout, options=options) as load:
                    connect(load, CLIENTS)
                    before = server.stored()
                    load.begin()
                    for row in loads:
                        row.update(phase(load))
                kept, sent = server.stored() - before, loads[-1]["sent_in_all"]
                if kept != sent:
                    loads[-1]["problems"].append(f"{sent} messages are {kept} rows in the database")


def _median(rows: tuple[Row, ...]) -> Row:
    """The median of each figure, and all problems; where a round failed, of the others."""
    problems = [problem for row in rows for problem in row["problems"]]
    whole = [row for row in rows if "acked_per_s" in row]
    if not whole:
        return {**rows[0], "problems": problems}
    return {
        **{name: _middle([row[name] for row in whole]) for name in whole[0] if name != "problems"},
        "rounds": len(whole),
        "spread": {name: [min(row[name] for row in whole), max(row[name] for row in whole)] for name in SPREAD},
        "problems": problems,
    }


def _middle(values: list[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    if isinstance(first, dict):
        return {name: _middle([value[name] for value in values]) for name in first}
    if isinstance(first, bool):
        return sum(values) * 2 > len(values)
    if isinstance(first, int | float):
        return round(statistics.median(values), 3)
    # Who limited the rate, or nothing: what most rounds say.
    return statistics.mode(values)
