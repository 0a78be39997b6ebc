"""What the framework adds to a command: one controller bare, on the framework, and there inside of middleware."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import uvloop
from clients import TOLERATED
from contestants import SERVERS
from machine import SERVER_CORES, BenchError, child, machine_cpu_seconds, running
from nats.aio.msg import Msg

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import AckBatch, Command, CommandBatch, ConnectionCommands
from parley.common.wire.connections import Handshake
from parley.common.wire.identity import Identity

Row = dict[str, Any]

KINDS = ("bare", "framework", "middleware", "waiting")
SIZES = (1, 8, 64)
"""Commands per message."""
IN_FLIGHT = 128
"""Commands sent and not yet acked."""
ROUNDS = 3
WARM_UP = 0.5
PATIENCE = 30.0
GATEWAY = "bench"
PROBE = 1_000_000
"""The tag of the command that asks whether a server listens."""


class Load:
    """Sends batches to one server as a gateway would, each again as soon as all of its commands are acked."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subject = ""
        self._batches: list[bytes] = []
        self._owed: list[set[int]] = []
        self._size = 1
        self._sending = False
        self._done = asyncio.Event()
        self.acked = 0
        self.ready = False
        self.problems: set[str] = set()

    async def start(self) -> None:
        """Begin to receive acks."""
        for kind in KINDS:
            await self._bus.subscribe(subjects.acks(GATEWAY, f"/{kind}"), self._on_acks)

    async def find(self, kind: str) -> None:
        """Wait until a server answers. Raises `BenchError`."""
        self.ready = False
        deadline = time.monotonic() + PATIENCE
        while not self.ready:
            if time.monotonic() > deadline:
                raise BenchError(f"{kind} does not answer")
            await self._bus.publish(subjects.commands(f"/{kind}"), _batch(kind, [PROBE]))
            await asyncio.sleep(0.1)

    async def begin(self, kind: str, size: int) -> None:
        """Put so many commands in flight, `size` in each message."""
        self._subject, self._size = subjects.commands(f"/{kind}"), size
        slots = [list(range(first, first + size)) for first in range(0, IN_FLIGHT, size)]
        self._batches = [_batch(kind, tags) for tags in slots]
        self._owed = [set[int]() for _ in slots]
        self._sending, self._done = True, asyncio.Event()
        for slot in range(len(slots)):
            await self._send(slot)

    async def end(self) -> None:
        """Send no more, and wait for what is owed. Raises `TimeoutError`."""
        self._sending = False
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()

    async def _send(self, slot: int) -> None:
        self._owed[slot] = set(range(slot * self._size, (slot + 1) * self._size))
        await self._bus.publish(self._subject, self._batches[slot])

    async def _on_acks(self, message: Msg) -> None:
        for ack in decode(message.data, AckBatch).acks:
            if ack.tag == PROBE:
                self.ready = True
                continue
            slot = ack.tag // self._size
            owed = self._owed[slot]
            if ack.tag not in owed or ack.payload != _answer(ack.tag):
                self.problems.add(f"command {ack.tag} was answered twice or wrongly: {ack.payload!r}")
                continue
            owed.remove(ack.tag)
            self.acked += 1
            if not owed and self._sending:
                await self._send(slot)
        if not self._sending and not any(self._owed):
            self._done.set()


def _batch(kind: str, tags: list[int]) -> bytes:
    """A message with one command of each of so many connections."""
    handshake = Handshake("192.0.2.7", {"v": "1"}, {}, {}, True, 1_790_000_000.0, "websocket").encode()
    conversations = [
        ConnectionCommands(
            f"b9f6ce0d8a77{tag:08x}",
            Identity(f"0199e7d2-{tag:08x}", f"user {tag}", ("user",), 1_790_000_000.0),
            [Command(tag, "place", b'[{"id":"%d","text":"a hundred bytes or so","amount":21}]' % tag, f"b-{tag:x}")],
            handshake,
        )
        for tag in tags
    ]
    return CommandBatch(GATEWAY, f"/{kind}", conversations).encode()


def _answer(tag: int) -> bytes:
    return b'{"ok":true,"id":"%d","total":42}' % tag


@dataclass
class _Run:
    """One kind of server at one size of message, in one round."""

    cpu_us: float
    commands_per_s: float
    others_percent: float


async def _run(load: Load, kind: str, pid: int, size: int, seconds: float) -> _Run:
    await load.begin(kind, size)
    await asyncio.sleep(WARM_UP)
    pids = (pid, child("nats-server"), psutil.Process().pid)
    at, acked, machine, used = time.monotonic(), load.acked, machine_cpu_seconds(), [*map(_own_cpu, pids)]
    await asyncio.sleep(seconds)
    spent = [_own_cpu(one) - before for one, before in zip(pids, used, strict=True)]
    passed, others = time.monotonic() - at, machine_cpu_seconds() - machine - sum(spent)
    commands = load.acked - acked
    await load.end()
    if not commands:
        raise BenchError(f"{kind} answered nothing")
    return _Run(spent[0] / commands * 1e6, commands / passed, max(0.0, 100 * others / passed))


def _own_cpu(pid: int) -> float:
    """Without children: those of this process are counted by themselves."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def _measure(url: str, pids: dict[str, int], seconds: float) -> list[Row]:
    runs: defaultdict[tuple[int, str], list[_Run]] = defaultdict(list)
    async with connect(ServiceSettings(nats_url=url), GATEWAY) as bus:
        load = Load(bus)
        await load.start()
        for kind in KINDS:
            await load.find(kind)
        for _ in range(ROUNDS):
            for size in SIZES:
                for kind in KINDS:
                    runs[size, kind].append(await _run(load, kind, pids[kind], size, seconds))
    return [_row(size, kind, runs, load.problems) for size in SIZES for kind in KINDS]


def _row(size: int, kind: str, runs: dict[tuple[int, str], list[_Run]], problems: set[str]) -> Row:
    found = runs[size, kind]
    # Within a round: between rounds a shared machine may have become twice as slow.
    over = median(run.cpu_us - bare.cpu_us for run, bare in zip(found, runs[size, "bare"], strict=True))
    others = median(run.others_percent for run in found)
    return {
        "measurement": "framework",
        "server": kind,
        "commands": size,
        "cpu_us": round(median(run.cpu_us for run in found), 2),
        "over_bare_us": round(over, 2),
        "cpu_us_of_rounds": [round(run.cpu_us, 2) for run in found],
        "commands_per_s": round(median(run.commands_per_s for run in found)),
        "others_percent": round(others, 1),
        "disturbed": others > TOLERATED,
        "problems": sorted(problems)[:3],
    }


def overhead(seconds: float) -> Iterator[Row]:
    """Each kind at each size: medians of rounds in which all have their turn. The servers share one core."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        url = stack.enter_context(embedded.nats(directory / "nats"))
        environment = {"PARLEY_NATS_URL": url, "PARLEY_LOG_LEVEL": "warning"}
        pids: dict[str, int] = {}
        for kind in KINDS:
            command = [sys.executable, SERVERS / "commands.py", kind]
            process = stack.enter_context(running(command, directory / f"{kind}.log", SERVER_CORES, environment))
            pids[kind] = process.pid
        try:
            yield from uvloop.run(_measure(url, pids, seconds))
        except Exception as error:
            logs = "".join((directory / f"{kind}.log").read_text(errors="replace")[-300:] for kind in KINDS)
            raise BenchError(f"{type(error).__name__}: {error} {logs}".strip()) from error
