"""One attacker: goes through the script of a flood on all its connections as fast as it can, and says how it fared.

Who is cut off comes back at once, for as long as the flood lasts. It runs by itself, below everybody else's priority:

    python bench/attacker.py FLOOD --port 8001 --seconds 10 [--namespace /chat --token TOKEN]
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import select
import socket
import struct
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

from floods import FLOODS, OWN_SID, SID, Await, Close, Drip, Flood, Hold, Repeat, Send, Step, Target, request

ADDRESS = "127.0.0.66"
"""Where it comes from: no proxy that is believed, and nobody's neighbour."""
IDLE = "nothing"
"""The flood that only computes: what an attacker costs who shares a core with others."""
OPENING = 64
"""Connections that may be on their way at once."""
SLICE = 262_144
TAIL = 8_192
SESSIONS_PER_SECOND = 20
NICE = 10
"""Whoever shares its core goes first."""

_CODE = re.compile(rb'"code":"([a-z_]+)"')
_SID = re.compile(rb'"sid":"([^"]+)"')
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


@dataclass(eq=False)
class Connection:
    """Where one connection is in the script."""

    socket: socket.socket
    script: list[Step]
    step: int = -1
    out: memoryview = field(default_factory=lambda: memoryview(b""))
    tail: bytes = b""
    arrived: bool = False
    """Whether it has come to the last step."""
    due: float = 0.0
    sid: bytes = b""
    """The sid of the polling session that it has opened."""
    dripped: int = 0


class Attacker:
    """All connections of a flood, in one thread."""

    def __init__(self, flood: Flood, port: int, session: str) -> None:
        self._flood = flood
        self._port = port
        self._session = session
        self._session_at = time.monotonic()
        self._script = self._scripted()
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._opening = 0
        self.sent = 0
        self.opened = 0
        self.done = 0
        self.ends: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Attack for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while len(self._connections) < self._flood.connections and self._opening < OPENING:
                self._open()
            for number, events in self._poll.poll(0.05, 256):
                if connection := self._connections.get(number):
                    self._serve(connection, events)
            self._drip()
        self.ends["open"] += len(self._connections)

    def _scripted(self) -> list[Step]:
        known = self._session.encode()
        return [
            replace(step, data=step.data.replace(SID, known)) if isinstance(step, Send | Repeat) else step
            for step in self._flood.script
        ]

    def _open(self) -> None:
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: else ports run out
        if not self._flood.reads:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # else its kernel takes megabytes for it
        one.bind((ADDRESS, 0))
        with suppress(BlockingIOError):
            one.connect(("127.0.0.1", self._port))
        connection = Connection(one, self._script)
        self._connections[one.fileno()] = connection
        self._opening += 1
        self.opened += 1
        self._poll.register(one.fileno(), select.EPOLLOUT)

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if connection.step < 0:
                if failed := connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._ended(connection, errno.errorcode[failed].lower())
                    return
                self._advance(connection)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(connection)
            if events & select.EPOLLOUT and connection.socket.fileno() >= 0:
                self._send(connection)
        except BlockingIOError:
            pass
        except OSError as error:
            self._ended(connection, errno.errorcode.get(error.errno or 0, "lost").lower())

    def _receive(self, connection: Connection) -> None:
        data = connection.socket.recv(65_536)
        if not data:
            self._ended(connection, "eof")
            return
        self.codes.update(code.decode() for code in _CODE.findall(data))
        connection.tail = (connection.tail + data)[-TAIL:]
        step = connection.script[connection.step]
        if isinstance(step, Await) and (at := connection.tail.find(step.marker)) >= 0:
            if not connection.sid and (found := _SID.search(connection.tail)):
                connection.sid = found[1]
            connection.tail = connection.tail[at + len(step.marker) :]
            self._advance(connection)

    def _send(self, connection: Connection) -> None:
        step = connection.script[connection.step]
        if not connection.out and isinstance(step, Repeat):
            connection.out = memoryview(step.data)
        if connection.out:
            count = connection.socket.send(connection.out[:SLICE])
            self.sent += count
            connection.out = connection.out[count:]
        if not connection.out and isinstance(step, Send):
            self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        connection.step += 1
        match step := connection.script[connection.step]:
            case Send():
                connection.out = memoryview(step.data.replace(OWN_SID.encode(), connection.sid))
                self._watch(connection, writing=True)
            case Repeat():
                self._arrived(connection)
                self._watch(connection, writing=True)
            case Await():
                self._watch(connection, writing=False)
            case Drip() | Hold():
                self._arrived(connection)
                self._watch(connection, writing=False)
            case Close():
                self._arrived(connection)
                self.done += 1
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._forget(connection)

    def _arrived(self, connection: Connection) -> None:
        """The last step is reached, so that the next connection may be opened."""
        self._opening -= 1
        connection.arrived = True

    def _watch(self, connection: Connection, *, writing: bool) -> None:
        # Who reads nothing still reads the answers that it waits for.
        reads = self._flood.reads or not isinstance(connection.script[connection.step], Repeat | Hold)
        events = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if writing else 0)
        self._poll.modify(connection.socket.fileno(), events)

    def _drip(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            step = connection.script[connection.step]
            if not connection.arrived or not isinstance(step, Drip) or connection.due > now:
                continue
            connection.due = now + step.every
            at = connection.dripped % len(step.data)
            try:
                self.sent += connection.socket.send(step.data[at : at + 1])
            except BlockingIOError:
                continue
            except OSError as error:
                self._ended(connection, errno.errorcode.get(error.errno or 0, "lost").lower())
                continue
            connection.dripped += 1

    def _ended(self, connection: Connection, how: str) -> None:
        self.ends[_reason(connection.tail) or how] += 1
        if not connection.arrived:
            self._opening -= 1
        self._forget(connection)
        if self._flood.sessions and time.monotonic() - self._session_at > 1 / SESSIONS_PER_SECOND:
            self._session_at = time.monotonic()
            with suppress(OSError, ValueError):
                self._session = open_session(self._port)
                self._script = self._scripted()

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        connection.socket.close()


def _reason(tail: bytes) -> str:
    """The close frame at the end of what was received, or the status of the last answer."""
    for size in range(2, min(126, len(tail) - 1)):
        if tail[-size - 2 : -size] == bytes((0x88, size)):
            code = int.from_bytes(tail[-size:][:2], "big")
            return f"{code} {tail[len(tail) - size + 2 :].decode(errors='replace')}".strip()
    found = _STATUS.findall(tail)
    return f"HTTP {found[-1].decode()}" if found and found[-1] != b"101" else ""


def open_session(port: int) -> str:
    """A new polling session's sid. Raises `ValueError` when there was none."""
    with socket.create_connection(("127.0.0.1", port), timeout=2, source_address=(ADDRESS, 0)) as one:
        one.sendall(request("GET"))
        found = re.search(rb'"sid":"([^"]+)"', one.recv(4_096))
    if found is None:
        raise ValueError("no session")
    return found[1].decode()


def _first_session(port: int) -> str:
    """A session to begin with; who may have none begins with one that does not exist."""
    for _ in range(10):
        with suppress(OSError, ValueError):
            return open_session(port)
        time.sleep(0.05)
    return "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flood", choices=[IDLE, *FLOODS])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--namespace", default="/")
    parser.add_argument("--token", default="")
    given = parser.parse_args()
    os.nice(NICE)
    if given.flood == IDLE:
        deadline = time.monotonic() + given.seconds
        print("ready", flush=True)
        while time.monotonic() < deadline:
            pass
        print("{}")
        return
    flood = FLOODS[given.flood].make(Target(given.namespace, given.token))
    attacker = Attacker(flood, given.port, _first_session(given.port) if flood.sessions else "")
    print("ready", flush=True)
    attacker.run(given.seconds)
    report = {
        "sent": attacker.sent,
        "connections": attacker.opened,
        "done": attacker.done,
        "ends": dict(attacker.ends),
        "codes": dict(attacker.codes),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
