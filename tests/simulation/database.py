"""A thin double of Postgres: sessions, transactions, row locks of rooms, and the ways in which all that fails.

It is READ COMMITTED as far as the log's statements need it. A statement sees what was committed when it began; where
it waits for a room's lock, it sees that room's row as it is once the lock is free, and everything else as before. What
a transaction wrote is seen by others after its commit, which takes a while and may outlive who asked for it. What the
statements do is in `statements`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.simulation.loop import Process, SimulatedLoop, current
from tests.simulation.session import Session
from tests.simulation.tables import Tables, Transaction

Statement = Callable[["Database", Transaction, tuple[Any, ...]], Any]
"""Runs a statement: a plain function, or one to be awaited where it may wait for a lock."""


class Database:
    """The server. Delays are in seconds, and drawn from the loop's generator."""

    def __init__(self, loop: SimulatedLoop, statements: dict[str, Statement]) -> None:
        self.loop = loop
        self.tables = Tables()
        self.up = True
        self.away: set[Process] = set()
        """Processes that cannot reach it."""
        self.secret = b"secret of the log"
        self.incarnation = "first"
        self.mended = 0
        self.advisory: dict[tuple[Any, ...], Session] = {}
        """Who holds each advisory lock, for as long as its session lasts."""
        self.sessions: set[Session] = set()
        self.statements = statements
        self.latency = 0.0005
        self.disk = 0.001
        self.slow = 0.02
        """How often a commit takes a hundred times as long."""
        self.lose_answer = 0.0
        """How often the connection breaks while a commit is under way."""
        self.transactions: dict[Transaction, None] = {}
        self._locks: dict[Hashable, Transaction] = {}
        self._waiting: defaultdict[Hashable, deque[tuple[Transaction, asyncio.Future[None]]]] = defaultdict(deque)
        self._creating: dict[int, Transaction] = {}
        self._at_gate: dict[Transaction, bool] = {}
        """Who holds the gate of erasures, and whether alone."""
        self._gate_waits: deque[tuple[Transaction, bool, asyncio.Future[None]]] = deque()
        self._next_xid = 100
        self._active: set[int] = set()
        self.commits = 0
        self.opened = 0

    # -- what statements ask ---------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        """The wall clock of the server."""
        return datetime.fromtimestamp(1_700_000_000 + self.loop.now, UTC)

    @property
    def snapshot(self) -> str:
        """A `pg_snapshot`: the first transaction that has not ended, the next one, and those that are running."""
        running = sorted(self._active)
        return f"{min(running, default=self._next_xid)}:{self._next_xid}:{','.join(map(str, running))}"

    def begin_writing(self, transaction: Transaction) -> int:
        """The number of a transaction, from its first write on."""
        if transaction.xid is None:
            transaction.xid = self._next_xid
            self._next_xid += 1
            self._active.add(transaction.xid)
        return transaction.xid

    def is_free(self, row: Hashable, transaction: Transaction) -> bool:
        """Whether nobody else has locked a row, which is a room by its key."""
        return self._locks.get(row, transaction) is transaction

    async def lock(self, row: Hashable, transaction: Transaction) -> None:
        """Lock a row until the end of the transaction. Raises `LockNotAvailableError` when that takes long."""
        _require_alive(transaction)
        if self.is_free(row, transaction):
            self._locks[row] = transaction
            transaction.locks[row] = None
            return
        granted = self.loop.create_future()
        self._waiting[row].append((transaction, granted))
        timer = self.loop.call_later(transaction.session.lock_seconds, _refuse, granted)
        try:
            await granted
        finally:
            timer.cancel()

    async def pass_gate(self, transaction: Transaction, seconds: float, *, alone: bool) -> None:
        """Hold the gate of erasures until the end of the transaction, with others or alone, in the order of asking.

        Raises `LockNotAvailableError` when that takes long.
        """
        _require_alive(transaction)
        if transaction in self._at_gate:
            return
        if not self._gate_waits and not (alone and self._at_gate) and not any(self._at_gate.values()):
            self._at_gate[transaction] = alone
            return
        granted = self.loop.create_future()
        self._gate_waits.append((transaction, alone, granted))
        timer = self.loop.call_later(seconds, _refuse, granted)
        try:
            await granted
        finally:
            timer.cancel()
            self._open_gate()

    def _open_gate(self) -> None:
        waits = self._gate_waits
        while waits:
            transaction, alone, granted = waits[0]
            if granted.done() or not transaction.alive:
                waits.popleft()
            elif (alone and self._at_gate) or any(self._at_gate.values()):
                return
            else:
                waits.popleft()
                self._at_gate[transaction] = alone
                granted.set_result(None)

    async def claim_room(self, room_id: int, transaction: Transaction) -> None:
        """Make a room's key one's own. Raises `UniqueViolationError` when there is or has come to be such a room."""
        while (other := self._creating.get(room_id)) is not None and other is not transaction:
            ended = self.loop.create_future()
            other.ended.append(ended)
            await ended
        if room_id in self.tables.rooms:
            raise asyncpg.UniqueViolationError("duplicate key value violates unique constraint rooms_pkey")
        self._creating[room_id] = transaction
        transaction.rooms.add(room_id)

    # -- transactions ----------------------------------------------------------------------------------------------

    async def commit(self, transaction: Transaction) -> None:
        """Make what was written last, and seen, unless the server crashes meanwhile."""
        if transaction.writes:
            transaction.committing = True
            rng = self.loop.rng
            seconds = self.disk * (0.5 + rng.random())
            if self.slow and rng.random() < self.slow:
                seconds *= 100
            if self.lose_answer and rng.random() < self.lose_answer:
                self.loop.after(seconds * 1.5 * rng.random(), self.loop.physics, transaction.session.cut)
            await asyncio.sleep(seconds)
        if transaction.alive:
            self._apply(transaction)

    def _apply(self, transaction: Transaction) -> None:
        for write in transaction.writes:
            write(self.tables)
        if transaction.writes:
            self.commits += 1
        self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """Give back what a transaction has locked; what it wrote and did not commit is gone."""
        transaction.alive = False
        self.transactions.pop(transaction, None)
        if self._at_gate.pop(transaction, None) is not None:
            self._open_gate()
        if transaction.xid is not None:
            self._active.discard(transaction.xid)
        for room_id in transaction.rooms:
            if self._creating.get(room_id) is transaction:
                del self._creating[room_id]
        for ended in transaction.ended:
            if not ended.done():
                ended.set_result(None)
        for row in transaction.locks:
            if self._locks.get(row) is transaction:
                self._release(row)

    def _release(self, row: Hashable) -> None:
        self._locks.pop(row, None)
        waiting = self._waiting.get(row)
        while waiting:
            transaction, granted = waiting.popleft()
            if not granted.done() and transaction.alive:
                self._locks[row] = transaction
                transaction.locks[row] = None
                granted.set_result(None)
                return
        self._waiting.pop(row, None)

    # -- sessions and outages --------------------------------------------------------------------------------------

    async def connect(self, _url: str = "", **options: Any) -> Session:
        """Open a session, as `asyncpg.connect` does. Raises `ConnectionRefusedError` while the server is away."""
        process = current()
        await asyncio.sleep(self.latency * (1 + self.loop.rng.random()))
        if not self.up or process in self.away:
            raise ConnectionRefusedError("the server is not there")
        settings: dict[str, str] = options.get("server_settings") or {}
        idle = int(settings.get("idle_session_timeout", "0")) / 1000
        session = Session(self, process, int(settings.get("lock_timeout", "2000")) / 1000, idle)
        self.sessions.add(session)
        process.on_end.append(session.client_ended)
        return session

    def crash(self, seconds: float) -> None:
        """The server ends at once, and is back after a while. A commit under way may have made it to the disk."""
        self.up = False
        for session in sorted(self.sessions, key=lambda one: one.number):
            session.end_server_side()
            session.cut()
        for transaction in list(self.transactions):
            if transaction.committing and self.loop.rng.random() < 0.5:
                self._apply(transaction)
            transaction.alive = False
        self.transactions.clear()
        self._locks.clear()
        self._waiting.clear()
        self._creating.clear()
        self._at_gate.clear()
        self._gate_waits.clear()
        self._active.clear()
        self.loop.after(seconds, self.loop.physics, self._come_back)

    def cut_off(self, process: Process, seconds: float) -> None:
        """A process cannot reach the server for a while; its sessions are broken."""
        self.away.add(process)
        for session in sorted(self.sessions, key=lambda one: one.number):
            if session.process is process:
                session.cut()
        self.loop.after(seconds, self.loop.physics, self.away.discard, process)

    def _come_back(self) -> None:
        self.up = True


def _require_alive(transaction: Transaction) -> None:
    """Let no statement lock anything that was under way when its server or its session ended."""
    if not transaction.alive:
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")


def _refuse(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_exception(asyncpg.LockNotAvailableError("canceling statement due to lock timeout"))
