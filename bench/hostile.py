"""What one attacker does to others: their round trips, and the server's memory, while it floods.

The server has a core of its own. On the other are the attacker, below everybody else's priority, the innocents, and
what stands behind the server. Idle is measured in the same layout, with an attacker that only computes, so that
nothing but the server differs. Each flood has a server of its own, since memory that was taken once is not given back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from attacker import IDLE
from chats import SECRET, database, ready, token
from contestants import BENCH, PEERS, SERVERS, wait_for_port
from floods import FLOODS
from machine import (
    CLIENT_CORES,
    SERVER_CORES,
    BenchError,
    end,
    free_port,
    on_cores,
    resident_bytes,
    running,
    wait_until,
)

from parley.cli.stack import embedded

Row = dict[str, Any]

NAMESPACE = "/echo"
INNOCENT, ATTACKER = "innocent", "attacker"
SETTLE_SECONDS = 1.0
SAMPLE_SECONDS = 0.02
PATIENCE = 60.0
MB = 1024 * 1024


@dataclass(frozen=True)
class Victim:
    """A running server, and the tokens of who may connect to it."""

    port: int
    pid: int
    tokens: Mapping[str, str]


Start = Callable[[bool], AbstractContextManager[Victim]]
"""Starts a server, with compression or without."""


def hostile(servers: frozenset[str], floods: list[str], seconds: float) -> Iterator[Row]:
    """A row per server and flood; the first is without one."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        starts: dict[str, Start] = {}
        if "node" in servers:
            starts["node"] = partial(_node, directory)
        if "parley" in servers:
            starts["parley"] = stack.enter_context(_parley(directory))
        idle: dict[str, Row] = {}
        for flood in [IDLE, *floods]:
            for server, start in starts.items():
                row: Row = {"measurement": "hostile", "server": server, "flood": flood, "problems": []}
                try:
                    row |= _attack(start, flood, seconds)
                except (BenchError, OSError, ValueError) as error:
                    row["problems"].append(f"{flood}: {type(error).__name__}: {error}")
                if flood == IDLE:
                    idle[server] = row
                yield row | _over(row, idle[server])


def _over(row: Row, idle: Row) -> Row:
    """How much longer than on an idle machine others wait, of the two ways to ask the one that suffers more."""
    if row["problems"] or idle["problems"]:
        return {}
    return {"over_idle_ms": round(max(row[name] - idle[name] for name in ("echo_p99_ms", "healthz_p99_ms")), 2)}


def _attack(start: Start, flood: str, seconds: float) -> Row:
    with start(flood in FLOODS and FLOODS[flood].deflate) as server, ExitStack() as stack:
        innocents = stack.enter_context(
            _process("innocents.py", str(server.port), NAMESPACE, server.tokens[INNOCENT], seconds=seconds)
        )
        time.sleep(SETTLE_SECONDS)
        _tell(innocents, "begin")
        time.sleep(SETTLE_SECONDS)
        memory = stack.enter_context(_memory(server.pid))
        attacker = stack.enter_context(
            _process(
                *("attacker.py", flood, "--port", str(server.port), "--seconds", str(seconds)),
                *("--namespace", NAMESPACE, "--token", server.tokens[ATTACKER]),
                seconds=seconds,
            )
        )
        _tell(innocents, "begin")
        time.sleep(seconds)
        suffered = _tell(innocents, "end")
        fared = json.loads(_line(attacker))
    return {
        **_waits("echo", suffered["echo"]),
        **_waits("healthz", suffered["healthz"]),
        "disconnected": len(suffered["lost"]),
        "unanswered": suffered["unanswered"],
        "memory_mb": round((max(memory) - memory[0]) / MB, 1),
        "sent_mb": round(fared.get("sent", 0) / MB, 1),
        "attacker": _fate(fared),
        "attacker_ends": fared.get("ends", {}),
        "attacker_codes": fared.get("codes", {}),
        "attacker_connections": fared.get("connections", 0),
    }


def _waits(name: str, seconds: list[float]) -> Row:
    if not seconds:
        raise BenchError(f"nobody got an answer: {name}")
    found = sorted(seconds)
    at = {"p50": len(found) // 2, "p99": len(found) * 99 // 100, "max": -1}
    return {f"{name}_{what}_ms": round(found[place] * 1000, 2) for what, place in at.items()}


def _fate(fared: Row) -> str:
    """What became of the attacker's connections: how most of them ended."""
    ends: dict[str, int] = fared.get("ends", {})
    many = sorted(((count, how) for how, count in ends.items() if count), reverse=True)[:2]
    told = sorted(((count, code) for code, count in fared.get("codes", {}).items()), reverse=True)[:1]
    parts = [f"{count:,} {how}" if count > 1 else how for count, how in many]
    return ", ".join([*parts, *(f"told {code} {count:,} times" for count, code in told)])


def _tell(process: subprocess.Popen[str], command: str) -> Row:
    assert process.stdin is not None
    process.stdin.write(f"{command}\n")
    process.stdin.flush()
    return json.loads(_line(process)) if command == "end" else {}


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchError(f"{Path(str(process.args[1])).stem} died")  # type: ignore[index]
    return line


@contextmanager
def _process(script: str, *arguments: str, seconds: float) -> Generator[subprocess.Popen[str]]:
    """One of our scripts beside the driver, once it has said that it is ready."""
    command = [sys.executable, str(BENCH / script), *arguments]
    with on_cores(CLIENT_CORES):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    clock = threading.Timer(seconds + PATIENCE, process.kill)
    clock.start()
    try:
        _line(process)
        yield process
    finally:
        clock.cancel()
        end(process)
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()


@contextmanager
def _memory(pid: int) -> Generator[list[int]]:
    """The resident memory of a process, looked at all the time; the first is what it had before."""
    samples, over = [resident_bytes(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append(resident_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()


@contextmanager
def _node(directory: Path, deflate: bool) -> Generator[Victim]:
    port, log = free_port(), directory / "node.log"
    environment = {"PORT": str(port), "TOKEN": "right", "DEFLATE": str(deflate).lower()}
    with running(["node", PEERS / "hostile.js"], log, SERVER_CORES, environment) as process:
        wait_for_port(process, port, log)
        yield Victim(port, process.pid, {INNOCENT: "right", ATTACKER: "right"})


@contextmanager
def _parley(directory: Path) -> Generator[Start]:
    """What stands behind the gateway, and how to start one."""
    tokens = {name: token(name) for name in (INNOCENT, ATTACKER)}
    with ExitStack() as stack:
        base = stack.enter_context(database(directory / "postgres", CLIENT_CORES))
        with on_cores(CLIENT_CORES):
            nats_url = stack.enter_context(embedded.nats(directory / "nats"))
        environment = {
            "PARLEY_NATS_URL": nats_url,
            "PARLEY_DATABASE_URL": base.url,
            "PARLEY_LOG_LEVEL": "warning",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            "PARLEY_AUTH_ADMIN_PASSWORD": "the password of nobody",
            "PARLEY_NAMESPACES_FILE": str(SERVERS / "hostile.toml"),
            "PARLEY_GATEWAY_DRAIN_SECONDS": "0",
        }
        auth = {**environment, "PARLEY_PORT": str(free_port())}
        stack.enter_context(running([sys.executable, "-m", "parley.auth"], directory / "auth.log", CLIENT_CORES, auth))
        service = [sys.executable, SERVERS / "hostile.py"]
        stack.enter_context(running(service, directory / "service.log", CLIENT_CORES, environment))
        wait_until(lambda: ready(int(auth["PARLEY_PORT"])), "auth to be ready")

        @contextmanager
        def gateway(deflate: bool) -> Generator[Victim]:
            port, log = free_port(), directory / "gateway.log"
            own = {**environment, "PARLEY_PORT": str(port), "PARLEY_GATEWAY_DEFLATE": str(deflate).lower()}
            with running([sys.executable, "-m", "parley.gateway"], log, SERVER_CORES, own) as process:
                wait_for_port(process, port, log)
                wait_until(lambda: ready(port), "the gateway to be ready")
                yield Victim(port, process.pid, tokens)

        yield gateway
