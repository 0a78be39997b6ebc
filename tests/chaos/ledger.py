"""The ledger of one process: JSON lines, on the disk before what they say is built upon.

Lines are numbered, so that it can be seen whether any is missing, and the last one is `end`. Times are of the monotonic
clock, which all processes of a machine share and no fault moves.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

GROUPED = 0.01
"""Seconds in which lines are gathered that share an fsync."""


class Ledger:
    """What a process writes down."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._waiting: list[bytes] = []
        self._written = asyncio.Event()
        self._kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, file: Path) -> AsyncGenerator[Ledger]:
        """Write until the block ends; only then is the ledger whole."""
        ledger = cls(file)
        keeping = asyncio.create_task(ledger._keep())
        try:
            yield ledger
            ledger.write("end")
            await ledger.kept()
        finally:
            keeping.cancel()
            ledger._file.close()

    def write(self, kind: str, **what: Any) -> None:
        """Write a line; `kept` waits until it cannot be lost any more."""
        self._number += 1
        line = {"n": self._number, "at": time.monotonic(), "kind": kind, **what}
        self._waiting.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._written.set()

    async def kept(self) -> None:
        """Wait until all that was written so far is on the disk."""
        if self._waiting:
            await asyncio.shield(self._kept)

    async def _keep(self) -> None:
        while True:
            await self._written.wait()
            await asyncio.sleep(GROUPED)
            self._written.clear()
            lines, self._waiting = self._waiting, []
            kept, self._kept = self._kept, asyncio.get_running_loop().create_future()
            await asyncio.to_thread(self._store, b"".join(lines))
            kept.set_result(None)

    def _store(self, data: bytes) -> None:
        self._file.write(data)
        os.fsync(self._file.fileno())


class Evidence:
    """A ledger as it is read, and whether it is whole."""

    def __init__(self, file: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self.whole = False
        """Whether nothing is missing, up to the end."""
        for line in self._read(file):
            if line.get("n") != len(self.lines) + 1:
                return
            self.lines.append(line)
        self.whole = bool(self.lines) and self.lines[-1]["kind"] == "end"

    @staticmethod
    def _read(file: Path) -> Iterator[dict[str, Any]]:
        if not file.exists():
            return
        with file.open("rb") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    yield {}
