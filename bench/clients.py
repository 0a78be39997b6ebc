"""Running the load generator, and measuring the server beside it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
from contestants import BENCH, Contestant
from machine import BenchError, cpu_seconds, disk_flushes, end, machine_cpu_seconds, on_cores

WSLOAD = BENCH / "build" / "wsload"
BUSY = 90.0
"""Percent of a core from which a process is what limits the rate."""
TOLERATED = 8.0
"""Percent of a core that the rest of the machine may use before a result is called disturbed."""


@dataclass(frozen=True)
class Usage:
    """CPU time used so far: by each part of the server, by the client, and by the whole machine."""

    at: float
    parts: dict[str, float]
    client: float
    driver: float
    machine: float
    flushes: int | None
    """Of the disk, where the kernel counts them."""

    def since(self, before: Usage) -> dict[str, Any]:
        """What was used, in seconds and in percent of a core, and by whom the rate was limited."""
        seconds = self.at - before.at
        parts = {name: value - before.parts[name] for name, value in self.parts.items()}
        client = self.client - before.client
        others = self.machine - before.machine - sum(parts.values()) - client - (self.driver - before.driver)
        return {
            "cpu_seconds": parts,
            "server_percent": round(100 * sum(parts.values()) / seconds, 1),
            "client_percent": round(100 * client / seconds, 1),
            "others_percent": round(max(0.0, 100 * others / seconds), 1),
            "flushes_per_s": None
            if self.flushes is None or before.flushes is None
            else round((self.flushes - before.flushes) / seconds, 1),
        }


class Clients:
    """A running load generator. Iterating gives its events as it reports them, each with the usage at that moment."""

    def __init__(self, process: subprocess.Popen[str], contestant: Contestant) -> None:
        self._process = process
        self._contestant = contestant

    def usage(self) -> Usage:
        """What has been used so far."""
        return Usage(
            time.monotonic(),
            {name: cpu_seconds(pid) for name, pid in self._contestant.parts.items()},
            cpu_seconds(self._process.pid),
            sum(psutil.Process().cpu_times()[:2]),
            machine_cpu_seconds(),
            disk_flushes(),
        )

    def next(self, kind: str) -> tuple[dict[str, Any], Usage]:
        """Wait for the next event, which must be of this kind. Raises `BenchError`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        event = json.loads(line) if line else {"event": "the end of the load generator"}
        if event["event"] != kind:
            raise BenchError(f"expected {kind}, got {event['event']}")
        return event, self.usage()

    def begin(self) -> None:
        """Let one that was started with `-b` send messages."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it at once; its connections are reset."""
        self._process.kill()
        self._process.wait()


@contextmanager
def clients(
    contestant: Contestant, cores: set[int], log: Path, *, number: int, timeout: float, options: tuple[str, ...] = ()
) -> Generator[Clients]:
    """Start a load generator; it is ended when the block ends or the seconds are over."""
    command = [*(contestant.load or [str(WSLOAD)]), "-p", str(contestant.port), "-n", str(number)]
    command += ["-c", contestant.connect, "-j", contestant.join, "-s", contestant.message]
    command += [*contestant.clients, *options]
    with log.open("ab") as errors, on_cores(cores):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    clock = Timer(timeout, process.kill)
    clock.start()
    try:
        yield Clients(process, contestant)
    except BenchError as error:
        raise BenchError(f"{error} {log.read_text(errors='replace')[-300:]}".strip()) from error
    finally:
        clock.cancel()
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def connect(load: Clients, number: int) -> tuple[dict[str, Any], Usage]:
    """Wait until all are connected. Raises `BenchError` when some are not."""
    event, usage = load.next("connected")
    if event["clients"] < number:
        raise BenchError(f"only {event['clients']} of {number} clients connected")
    return event, usage


def phase(load: Clients) -> dict[str, Any]:
    """Wait for a phase of messages to begin and end; what was measured, and what went wrong in it."""
    _, before = load.next("begin")
    measured, after = load.next("end")
    drained, _ = load.next("drained")
    used = after.since(before)
    deliveries = measured["delivered"]
    problems: list[str] = []
    if not deliveries:
        problems.append("nothing was delivered")
    problems += [
        f"{drained[name] if name in drained else measured[name]} {name}"
        for name in ("missing", "doubled", "unacked", "corrupt", "dead", "rejected")
        if {**drained, **measured}[name]
    ]
    seconds, acked, cpu = measured["seconds"], measured["acked"], used["cpu_seconds"]
    per_message = {
        "cpu_us_per_message": _each(sum(cpu.values()), acked),
        "cpu_us_per_message_by_part": {name: _each(value, acked) for name, value in cpu.items()},
        "flushes_per_s": used["flushes_per_s"],
        **_percentiles("ack_", measured["ack"]),
        **_percentiles("last_", measured["last"]),
    }
    return {
        "seconds": seconds,
        "messages_per_s": round(measured["sent"] / seconds, 1),
        "acked_per_s": round(acked / seconds, 1),
        "deliveries_per_s": round(deliveries / seconds, 1),
        "cpu_us_per_delivery": _each(sum(cpu.values()), deliveries),
        "cpu_us_per_delivery_by_part": {name: _each(value, deliveries) for name, value in cpu.items()},
        **_percentiles("", measured["member"]),
        **(per_message if acked else {}),
        "checked": drained["checked"],
        "sent_in_all": drained["sent_in_all"],
        **usage_fields(used),
        "problems": problems,
    }


def _percentiles(prefix: str, found: list[float]) -> dict[str, float]:
    return {f"{prefix}{name}_ms": value for name, value in zip(("p50", "p99", "p999"), found, strict=True)}


def usage_fields(used: dict[str, Any]) -> dict[str, Any]:
    """Who was busy, who therefore limited the rate, and whether the rest of the machine kept quiet."""
    busy = (name for name in ("client", "server") if used[f"{name}_percent"] >= BUSY)
    percents = {name: used[name] for name in ("server_percent", "client_percent", "others_percent")}
    return {**percents, "limited_by": next(busy, "neither"), "disturbed": used["others_percent"] > TOLERATED}


def _each(seconds: float, count: int) -> float | None:
    return round(seconds / count * 1e6, 3) if count else None
