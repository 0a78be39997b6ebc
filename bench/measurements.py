"""The measurements: each starts its servers in turn and yields a row per result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from chats import database, parley_chat
from clients import clients, connect, phase, usage_fields
from contestants import BROADCASTERS, Contestant, Start, Surroundings
from domain import domain
from hostile import hostile
from machine import (
    CLIENT_CORES,
    SERVER_CORES,
    cpu_seconds,
    open_files,
    resident_bytes,
    wait_until,
)
from overhead import overhead
from persisted import persisted
from plan import PATIENCE, WARM_UP, Plan
from presence import presence
from revision import revision
from scale import scale
from searches import searches
from storm import storm

Row = dict[str, Any]

CONNECTS = 2_000
SHORTEST_STALL = 0.002
"""What servers report, see servers/lag.py."""
OWN_PARTS = ("gateway", "auth", "chat")
"""Parley's own processes: what stands beside a peer that is one process."""


def fanout(plan: Plan) -> Iterator[Row]:
    """One room, everybody in it, nothing kept."""
    for recipients in plan.recipients:
        for name, start in BROADCASTERS.items():
            if name in plan.servers:
                yield from _rows("fanout", name, partial(_fanout, plan, start, recipients), recipients=recipients)


def _fanout(plan: Plan, start: Start, recipients: int) -> Iterator[Row]:
    with _surroundings(recipients) as around, start(around) as server:
        options = plan.messages("-w", ",".join(map(str, plan.in_flight)))
        timeout = PATIENCE + len(plan.in_flight) * (plan.seconds + WARM_UP + PATIENCE)
        with clients(server, CLIENT_CORES, _log(around), number=recipients, timeout=timeout, options=options) as load:
            connect(load, recipients)
            for in_flight in plan.in_flight:
                yield {"in_flight": in_flight, **phase(load)}


def connecting(plan: Plan) -> Iterator[Row]:
    """What one connect costs. Parley's clients have a token, which is verified; the peers' have none."""
    for name, start in _holders(plan):
        yield from _rows("connect", name, partial(_connecting, start))


def _connecting(start: Start) -> Iterator[Row]:
    with _surroundings(CONNECTS) as around, start(around) as server:
        _warm(server, around)
        with clients(server, CLIENT_CORES, _log(around), number=CONNECTS, timeout=PATIENCE, options=("-I",)) as load:
            before = load.usage()
            event, after = connect(load, CONNECTS)
            used = after.since(before)
            each = {part: round(value / CONNECTS * 1e6, 1) for part, value in used["cpu_seconds"].items()}
            yield {
                "connects_per_s": round(CONNECTS / event["seconds"]),
                "cpu_us_front": each[server.front],
                "cpu_us": round(sum(value for part, value in each.items() if part in (*OWN_PARTS, server.front)), 1),
                "cpu_us_by_part": each,
                **usage_fields(used),
                "problems": [],
            }


def idle(plan: Plan) -> Iterator[Row]:
    """Many idle connections: what one takes in memory, and for how long the server stops when all vanish at once."""
    for number in plan.connections:
        for name, start in _holders(plan):
            yield from _rows("idle", name, partial(_idle, start, number), connections=number)


def _idle(start: Start, number: int) -> Iterator[Row]:
    with _surroundings(number) as around, start(around) as server:
        _warm(server, around)
        files = open_files(server.front_pid)
        before = {part: resident_bytes(pid) for part, pid in server.parts.items() if part != "postgres"}
        with clients(server, CLIENT_CORES, _log(around), number=number, timeout=3 * PATIENCE, options=("-I",)) as load:
            begun = load.usage()
            _, connected = connect(load, number)
            _settle(server)
            grown = {part: resident_bytes(server.parts[part]) - size for part, size in before.items()}
            cpu, killed = cpu_seconds(server.front_pid), time.monotonic()
            load.kill()
            wait_until(lambda: open_files(server.front_pid) <= files, "all connections to be gone", PATIENCE)
            gone = time.monotonic() - killed
            _settle(server)
        kilobytes = {part: round(size / number / 1024, 2) for part, size in grown.items()}
        stalls = _stalls(around.lag_file, killed)
        yield {
            "kb_front": kilobytes[server.front],
            "kb": round(sum(size for part, size in kilobytes.items() if part in (*OWN_PARTS, server.front)), 2),
            "kb_by_part": kilobytes,
            "stall_ms": round(max((late for late, _ in stalls), default=SHORTEST_STALL) * 1000, 1),
            "stall_cpu_ms": round(max((cpu for _, cpu in stalls), default=SHORTEST_STALL) * 1000, 1),
            "gone_s": round(gone, 2),
            "cleanup_cpu_s": round(cpu_seconds(server.front_pid) - cpu, 2),
            "disturbed": usage_fields(connected.since(begun))["disturbed"] or _descheduled(stalls),
            "problems": [],
        }


def framework(plan: Plan) -> Iterator[Row]:
    """What the framework adds to a command."""
    yield from _rows("framework", "all", partial(overhead, plan.seconds))


def hostility(plan: Plan) -> Iterator[Row]:
    """One attacker, and what others notice."""
    yield from hostile(plan.servers, list(plan.floods), plan.flood_seconds)


def scaling(plan: Plan) -> Iterator[Row]:
    """A small log and a large one."""
    yield from _rows("scale", "parley", partial(scale, plan.events))


def present(plan: Plan) -> Iterator[Row]:
    """Who is there: of 50,000 users, while nobody looks and while some do."""
    yield from _rows("presence", "parley", partial(presence, plan.seconds))


def earlier(plan: Plan) -> Iterator[Row]:
    """What a plain message costs now and at an earlier revision."""
    yield from _rows("revision", "parley", partial(revision, plan))


def domains(plan: Plan) -> Iterator[Row]:
    """Long lists of rooms, and a large room."""
    del plan
    yield from _rows("domain", "parley", domain)


def stormy(plan: Plan) -> Iterator[Row]:
    """Reactions to one message that a thousand clients look at."""
    yield from _rows("storm", "parley", partial(storm, plan))


def searching(plan: Plan) -> Iterator[Row]:
    """Searches in many messages."""
    yield from _rows("search", "parley", partial(searches, plan.messages_indexed))


MEASUREMENTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "fanout": fanout,
    "persisted": persisted,
    "connect": connecting,
    "idle": idle,
    "framework": framework,
    "hostile": hostility,
    "scale": scaling,
    "presence": present,
    "revision": earlier,
    "domain": domains,
    "storm": stormy,
    "search": searching,
}


def _rows(measurement: str, name: str, measure: Callable[[], Iterator[Row]], **fields: int) -> Iterator[Row]:
    """The rows of one server; when it fails, a row that says so, and the others go on."""
    common: Row = {"measurement": measurement, "server": name, **fields}
    try:
        for row in measure():
            yield {**common, **row}
    except Exception as error:  # noqa: BLE001 - whatever befalls one server, the figures of the others are kept
        yield {**common, "problems": [f"{type(error).__name__}: {error}"]}


def _holders(plan: Plan) -> list[tuple[str, Start]]:
    starts: dict[str, Start] = {
        "node": BROADCASTERS["node"],
        "python-socketio": BROADCASTERS["python-socketio"],
        "engine": BROADCASTERS["engine"],
        "parley": _parley_with_accounts,
    }
    return [(name, start) for name, start in starts.items() if name in plan.servers]


@contextmanager
def _parley_with_accounts(around: Surroundings) -> Generator[Contestant]:
    with database(around.directory / "postgres", SERVER_CORES) as base, parley_chat(around, base) as server:
        yield server


@contextmanager
def _surroundings(number: int) -> Generator[Surroundings]:
    with tempfile.TemporaryDirectory() as directory:
        yield Surroundings(Path(directory), Path(directory) / "lag", number)


def _log(around: Surroundings) -> Path:
    return around.directory / "wsload.log"


def _warm(server: Contestant, around: Surroundings) -> None:
    """Let some clients come and go first, so that what a server needs once is not counted."""
    files = open_files(server.front_pid)
    with clients(server, CLIENT_CORES, _log(around), number=200, timeout=PATIENCE, options=("-I",)) as load:
        connect(load, 200)
    wait_until(lambda: open_files(server.front_pid) <= files, "the first connections to be gone")


def _stalls(lag_file: Path, since: float) -> list[tuple[float, float]]:
    """How late the server's loop was each time, and the CPU time it used meanwhile."""
    if not lag_file.exists():
        return []
    lines = [[float(part) for part in line.split()] for line in lag_file.read_text().splitlines()]
    return [(late, cpu) for at, late, cpu in lines if at >= since]


def _descheduled(stalls: list[tuple[float, float]]) -> bool:
    """Whether the longest pause was in good part a wait for a core."""
    late, cpu = max(stalls, default=(0.0, 0.0))
    return late - cpu > max(0.01, 0.3 * late)


def _settle(server: Contestant) -> None:
    """Wait until the server has nothing left to do."""

    def quiet() -> bool:
        before = sum(cpu_seconds(pid) for pid in server.parts.values())
        time.sleep(0.5)
        return sum(cpu_seconds(pid) for pid in server.parts.values()) - before < 0.05

    wait_until(quiet, "the server to be idle", PATIENCE)
