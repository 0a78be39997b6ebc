"""A load generator for servers that do not speak Socket.IO; it takes the options of wsload and reports as it does.

A protocol of its own (`jetstream_load.py`, `xmpp_load.py`) connects the clients, sends what it is told, and says what
came back. Everybody sends, in turn; a message is over when it is acked.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import itertools
import json
import os
import struct
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import uvloop

SECOND = 1_000_000_000
CHECK_EVERY = 32
PATIENCE = 5.0
CONNECT_SECONDS = 60.0
LONGEST = 10
_CLOCK_MONOTONIC, _ABSOLUTE, _NONBLOCK = 1, 1, os.O_NONBLOCK


class Sender(Protocol):
    """A connected client."""

    def send(self, number: int, text: str) -> None:
        """Send a message to its room."""
        ...


class Load:
    """What was sent, and what of it has come back."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.clients: int = options.n
        self.room_size: int = options.g
        self._senders: Sequence[Sender] = ()
        self._turn = itertools.cycle(range(self.clients))
        self._padding = "x" * options.z
        self._sent_at = array("q")
        self._without = array("i")
        self._got = [0] * self.clients
        self._room_sent = [0] * (self.clients // self.room_size + 1)
        self._measuring = False
        self._times: dict[str, array[int]] = {}
        self._in_flight = 0
        self._phase_begun = (0, 0)
        self.acked = self.delivered = self.rejected = self.dead = self._checked = self._corrupt = 0

    @property
    def rooms(self) -> int:
        """How many rooms there are."""
        return -(-self.clients // self.room_size)

    def room_of(self, client: int) -> int:
        """The room of a client."""
        return client // self.room_size

    def sender_of(self, number: int) -> int:
        """Who sent a message: everybody does, in turn."""
        return number % self.clients

    def on_ack(self, number: int) -> None:
        """A message was acked."""
        self.acked += 1
        if self._measuring:
            self._times["ack"].append(time.monotonic_ns() - self._sent_at[number])
        self._fill()

    def on_delivery(self, client: int, text: bytes) -> None:
        """A client got a message; `text` is what was sent, marker and all."""
        at, number = text[2 : text.index(b"@", 2)].split(b".")
        message = int(number)
        self._got[client] += 1
        self.delivered += 1
        if self.delivered % CHECK_EVERY == 0:
            self._checked += 1
            self._corrupt += text != self._text(int(at), message).encode()
        self._without[message] -= 1
        if self._measuring:
            waited = time.monotonic_ns() - int(at)
            self._times["member"].append(waited)
            if not self._without[message]:
                self._times["last"].append(waited)

    async def run(self, senders: Sequence[Sender]) -> None:
        """All phases in turn."""
        self._senders = senders
        for phase in self.options.w.split(","):
            await self._phase(0 if phase[0] == "r" else int(phase), float(phase[1:]) if phase[0] == "r" else 0)

    def _text(self, at: int, number: int) -> str:
        return f"@T{at}.{number}@{self._padding}"

    def _send(self, at: int) -> None:
        client, number = next(self._turn), len(self._sent_at)
        self._sent_at.append(at)
        self._without.append(min(self.room_size, self.clients - self.room_of(client) * self.room_size))
        self._room_sent[self.room_of(client)] += 1
        self._senders[client].send(number, self._text(at, number))

    def _fill(self) -> None:
        sent, acked = self._phase_begun
        while len(self._sent_at) - sent - (self.acked - acked) < self._in_flight:
            self._send(time.monotonic_ns())

    async def _phase(self, in_flight: int, rate: float) -> None:
        options = self.options
        begin = time.monotonic() + options.u
        self._phase_begun, self._in_flight = (len(self._sent_at), self.acked), in_flight
        clock = _Clock(rate, self._send) if rate else None
        self._fill()
        await asyncio.sleep(begin - time.monotonic())
        self._times = {name: array("q") for name in ("member", "ack", "last")}
        before = (len(self._sent_at), self.delivered, self.acked)
        begin, self._measuring = time.monotonic(), True
        report("begin")
        await asyncio.sleep(self.options.d)
        while not self._over(begin, before[2], in_flight):  # noqa: ASYNC110 - an event would cost each ack
            await asyncio.sleep(0.01)
        seconds, self._measuring, self._in_flight = time.monotonic() - begin, False, 0
        if clock:
            clock.close()
        sent, delivered, acked = (
            now - then for now, then in zip((len(self._sent_at), self.delivered, self.acked), before, strict=True)
        )
        counts = {"sent": sent, "delivered": delivered, "acked": acked, "rejected": self.rejected}
        times = {name: _percentiles(found) for name, found in self._times.items()}
        report("end", in_flight=in_flight, seconds=round(seconds, 4), **counts, **times)
        await self._drain()

    def _over(self, begin: float, acked: int, in_flight: int) -> bool:
        return self.acked - acked >= in_flight or time.monotonic() - begin >= LONGEST * self.options.d

    async def _drain(self) -> None:
        expected = [self._room_sent[self.room_of(client)] for client in range(self.clients)]
        seen, progress = (-1, -1), time.monotonic()
        while self.delivered < sum(expected) or self.acked < len(self._sent_at):
            if (self.delivered, self.acked) != seen:
                seen, progress = (self.delivered, self.acked), time.monotonic()
            elif time.monotonic() - progress > PATIENCE:
                break
            await asyncio.sleep(0.02)
        report(
            "drained",
            sent_in_all=len(self._sent_at),
            missing=sum(abs(due - got) for due, got in zip(expected, self._got, strict=True)),
            doubled=sum(missing < 0 for missing in self._without),
            unacked=len(self._sent_at) - self.acked,
            checked=self._checked,
            corrupt=self._corrupt,
            dead=self.dead,
        )


class _Clock:
    """Sends at a steady rate, each message when it is due: the event loop's own timers know only milliseconds."""

    def __init__(self, rate: float, send: Callable[[int], None]) -> None:
        self._step = int(SECOND / rate)
        self._due = time.monotonic_ns()
        self._send = send
        self._libc = ctypes.CDLL(None)
        self._timer = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        asyncio.get_running_loop().add_reader(self._timer, self._on_time)
        self._on_time()

    def _on_time(self) -> None:
        while time.monotonic_ns() >= self._due:
            self._send(self._due)
            self._due += self._step
        when = struct.pack("qqqq", 0, 0, *divmod(self._due, SECOND))
        self._libc.timerfd_settime(self._timer, _ABSOLUTE, when, None)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)


def report(event: str, **fields: Any) -> None:
    """Say what happened, as wsload does."""
    print(json.dumps({"event": event, **fields}), flush=True)


def main(connect: Callable[[Load], Awaitable[Sequence[Sender]]]) -> None:
    """Connect the clients, wait until told, and measure."""
    parser = argparse.ArgumentParser()
    for name, kind in {"p": int, "n": int, "g": int, "z": int, "d": float, "u": float, "w": str}.items():
        parser.add_argument(f"-{name}", type=kind, default=100 if name == "z" else None)
    # What it says over Socket.IO is of no use here.
    for name in "cjsKR":
        parser.add_argument(f"-{name}")
    for name in "ab":
        parser.add_argument(f"-{name}", action="store_true")
    load = Load(parser.parse_args())
    # What it keeps is needed until the end.
    gc.disable()
    uvloop.run(_run(load, connect))


async def _run(load: Load, connect: Callable[[Load], Awaitable[Sequence[Sender]]]) -> None:
    begun = time.monotonic()
    async with asyncio.timeout(CONNECT_SECONDS):
        senders = await connect(load)
    report("connected", clients=len(senders), dead=load.dead, seconds=round(time.monotonic() - begun, 4))
    if load.options.b:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await load.run(senders)


def _percentiles(nanoseconds: array[int]) -> list[float]:
    found = sorted(nanoseconds)
    if not found:
        return [0.0, 0.0, 0.0]
    return [round(found[min(len(found) - 1, int(len(found) * share))] / 1e6, 2) for share in (0.5, 0.99, 0.999)]
