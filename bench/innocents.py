"""Clients that did nothing wrong: what they wait for an echo and for /healthz, and whether they are cut off.

Each asks every PERIOD, and a wait counts from when the question was due, so that a server that stands still for a
second is seen to do so. Driven by lines: `begin` forgets what was, `end` waits for what is owed and prints it all.

    python bench/innocents.py PORT NAMESPACE < tokens
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

from floods import Await, Send, Target, joined, text

ADDRESS = "127.0.0.2"
PERIOD = 0.025
PATIENCE = 30.0
CLIENTS = 4
NICE = 0


@dataclass
class Ledger:
    """What happened since it was begun."""

    echo: list[float] = field(default_factory=list[float])
    healthz: list[float] = field(default_factory=list[float])
    lost: list[str] = field(default_factory=list[str])
    unanswered: int = 0


class Innocents:
    """All of them, each in a thread of its own."""

    def __init__(self, port: int, target: Target) -> None:
        self._port = port
        self._target = target
        self._ledger = Ledger()
        self._asking = threading.Event()
        self._stopped = False
        self._busy = threading.Semaphore(0)
        self._ready = threading.Semaphore(0)
        self._workers = [threading.Thread(target=self._echoes, daemon=True) for _ in range(CLIENTS)]
        self._workers.append(threading.Thread(target=self._looks, daemon=True))

    def run(self) -> None:
        """Serve the driver until it closes the pipe."""
        for worker in self._workers:
            worker.start()
        for _ in self._workers:
            self._ready.acquire()
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "begin":
                self._ledger = Ledger()
                self._asking.set()
            else:
                self._asking.clear()
                for _ in self._workers:
                    self._busy.acquire(timeout=PATIENCE)
                print(json.dumps(vars(self._ledger)), flush=True)

    def _open(self) -> socket.socket:
        one = socket.create_connection(("127.0.0.1", self._port), PATIENCE, source_address=(ADDRESS, 0))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return one

    def _join(self) -> socket.socket:
        one = self._open()
        for step in joined(self._target):
            if isinstance(step, Send):
                one.sendall(step.data)
            elif isinstance(step, Await):
                _receive(one, step.marker)
        return one

    def _echoes(self) -> None:
        one = self._join()
        number = 0
        self._ready.release()
        while True:
            self._asking.wait()
            due = time.monotonic()
            while self._asking.is_set():
                number += 1
                try:
                    one.sendall(text(f'42{self._target.namespace},{number}["echo","{number}"]'))
                    answer = _receive(one, f"43{self._target.namespace},{number}[".encode())
                    if f'"{number}"'.encode() in answer:
                        self._ledger.echo.append(time.monotonic() - due)
                    else:
                        self._ledger.unanswered += 1
                except TimeoutError:
                    self._ledger.unanswered += 1
                except OSError as error:
                    self._ledger.lost.append(str(error))
                    one = self._again(one)
                due = _next(due)
            self._busy.release()

    def _again(self, one: socket.socket) -> socket.socket:
        one.close()
        while True:
            try:
                return self._join()
            except OSError:
                time.sleep(0.1)

    def _looks(self) -> None:
        self._ready.release()
        while True:
            self._asking.wait()
            due = time.monotonic()
            while self._asking.is_set():
                try:
                    with self._open() as one:
                        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        _receive(one, b"HTTP/1.1 200")
                    self._ledger.healthz.append(time.monotonic() - due)
                except OSError:
                    self._ledger.unanswered += 1
                due = _next(due)
            self._busy.release()


def _next(due: float) -> float:
    """Sleep until the next question is due; what is overdue is asked at once, but what nobody would wait for is not."""
    due = max(due + PERIOD, time.monotonic() - PERIOD)
    time.sleep(max(0.0, due - time.monotonic()))
    return due


def _receive(one: socket.socket, marker: bytes) -> bytes:
    """Read until the marker, and return what was read; heartbeats are answered. Raises `OSError`."""
    received = b""
    while marker not in received:
        data = one.recv(65_536)
        if not data:
            raise ConnectionResetError(_status(received) or "closed by the server")
        if data.endswith(b"\x81\x012"):
            one.sendall(text("3"))
        received += data
    return received


def _status(received: bytes) -> str:
    found = re.search(rb"HTTP/1\.1 (\d{3})", received)
    return f"HTTP {found[1].decode()}" if found else ""


if __name__ == "__main__":
    os.nice(NICE)
    Innocents(int(sys.argv[1]), Target(sys.argv[2], sys.argv[3])).run()
