"""A thin double of Postgres: sessions, transactions, row locks of rooms, and the ways in which all that fails.

It is READ COMMITTED as far as the log's statements need it. A statement sees what was committed when it began; where
it waits for a room's lock, it sees that room's row as it is once the lock is free, and everything else as before. What
a transaction wrote is seen by others after its commit, which takes a while and may outlive who asked for it. What the
statements do is in `statements`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.simulation.loop import Process, SimulatedLoop, current

COMMAND_SECONDS = 6.0
"""After which the driver gives up on an answer."""
IDLE_SECONDS = 5.0
"""After which Postgres ends a transaction whose process says nothing more."""


class Row(dict[str, Any]):
    """A row as asyncpg shows it: by column name, and iterating over its values."""

    def __iter__(self) -> Any:
        return iter(self.values())


@dataclass
class Tables:
    """What is committed."""

    rooms: dict[int, Row] = field(default_factory=dict)
    events: defaultdict[int, dict[int, Row]] = field(default_factory=lambda: defaultdict(dict))
    """Per room, by sequence."""
    by_id: dict[tuple[int, Any], Row] = field(default_factory=dict)
    """Events by room and event id."""
    members: defaultdict[int, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    commands: dict[tuple[int, Any], Row] = field(default_factory=dict)
    declined: dict[tuple[int, str], datetime] = field(default_factory=dict)
    consumers: dict[str, Row] = field(default_factory=dict)
    erasures: dict[Any, Row] = field(default_factory=dict)


class Transaction:
    """What one session has locked, and what it will have written."""

    __slots__ = ("alive", "committing", "ended", "locks", "rooms", "session", "writes", "xid")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.alive = True
        self.committing = False
        self.locks: dict[int, None] = {}
        self.rooms: set[int] = set()
        """Keys of rooms that it makes."""
        self.writes: list[Callable[[Tables], None]] = []
        self.xid: int | None = None
        self.ended: list[asyncio.Future[None]] = []
        session.database.transactions[self] = None


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
        self._locks: dict[int, Transaction] = {}
        self._waiting: defaultdict[int, deque[tuple[Transaction, asyncio.Future[None]]]] = defaultdict(deque)
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

    def is_free(self, room_id: int, transaction: Transaction) -> bool:
        """Whether nobody else has locked a room."""
        return self._locks.get(room_id, transaction) is transaction

    async def lock(self, room_id: int, transaction: Transaction) -> None:
        """Lock a room's row until the end of the transaction. Raises `LockNotAvailableError` when that takes long."""
        if self.is_free(room_id, transaction):
            self._locks[room_id] = transaction
            transaction.locks[room_id] = None
            return
        granted = self.loop.create_future()
        self._waiting[room_id].append((transaction, granted))
        timer = self.loop.call_later(transaction.session.lock_seconds, _refuse, granted)
        try:
            await granted
        finally:
            timer.cancel()

    async def pass_gate(self, transaction: Transaction, seconds: float, *, alone: bool) -> None:
        """Hold the gate of erasures until the end of the transaction, with others or alone, in the order of asking.

        Raises `LockNotAvailableError` when that takes long.
        """
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
        for room_id in transaction.locks:
            if self._locks.get(room_id) is transaction:
                self._release(room_id)

    def _release(self, room_id: int) -> None:
        self._locks.pop(room_id, None)
        waiting = self._waiting.get(room_id)
        while waiting:
            transaction, granted = waiting.popleft()
            if not granted.done() and transaction.alive:
                self._locks[room_id] = transaction
                transaction.locks[room_id] = None
                granted.set_result(None)
                return
        self._waiting.pop(room_id, None)

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


class Session:
    """One connection of a client, both ends of it."""

    def __init__(self, database: Database, process: Process, lock_seconds: float, idle_seconds: float = 0.0) -> None:
        self.process = process
        self.number = database.opened = database.opened + 1
        self.lock_seconds = lock_seconds
        self.idle_seconds = idle_seconds
        """After which the server ends it though it is in no transaction, or 0."""
        self.transaction_now: Transaction | None = None
        self.mute = False
        """Whether the client hears nothing of it any more, and does not know that."""
        self.database = database
        self._loop = database.loop
        self._closed = False
        self._broken = False
        """The server's end."""
        self._executing = False
        self._asked: asyncio.Future[Any] | None = None
        self._in_transaction = False
        self._idle: asyncio.Handle | None = None

    @property
    def gone(self) -> bool:
        """Whether the server has ended it, with all that it held."""
        return self._broken

    # -- the client's end ------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Whether the client knows that it is of no use any more."""
        return self._closed

    def terminate(self) -> None:
        """Close it without a word."""
        if not self._closed:
            self._closed = True
            self._loop.after(self.database.latency, self._loop.physics, self.client_gone)

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        """All rows of a statement."""
        return await self._ask(query, args)

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """The first row."""
        rows = await self._ask(query, args)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row."""
        row = await self.fetchrow(query, *args)
        return None if row is None else next(iter(row.values()))

    async def execute(self, query: str, *args: Any) -> None:
        """Run a statement."""
        await self._ask(query, args)

    @asynccontextmanager
    async def transaction(self, **_options: Any) -> AsyncGenerator[None]:
        """Run statements in one transaction."""
        await self._ask("BEGIN", ())
        self._in_transaction = True
        try:
            yield
        except Exception:
            self._in_transaction = False
            if not self._closed:
                await self._ask("ROLLBACK", ())
            raise
        self._in_transaction = False
        await self._ask("COMMIT", ())

    async def _ask(self, query: str, args: tuple[Any, ...]) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        loop, database = self._loop, self.database
        asked = self._asked = loop.create_future()
        if not self._broken:
            loop.after(database.latency * (0.5 + loop.rng.random()), loop.physics, self._arrive, query, args, asked)
        late = None
        if self.mute or self._broken:
            late = loop.call_later(COMMAND_SECONDS, _time_out, asked)
        try:
            return await asked
        except asyncio.CancelledError:
            self.terminate()
            raise
        finally:
            if late is not None:
                late.cancel()

    # -- the server's end ------------------------------------------------------------------------------------------

    def _arrive(self, query: str, args: tuple[Any, ...], asked: asyncio.Future[Any]) -> None:
        if self._broken or not self.database.up:
            return
        if self._idle is not None:
            self._idle.cancel()
        self._executing = True
        self._loop.physics.spawn(self._serve(query, args, asked))

    async def _serve(self, query: str, args: tuple[Any, ...], asked: asyncio.Future[Any]) -> None:
        answer: Any
        try:
            answer = await self._run(query, args)
        except asyncpg.PostgresError as error:
            answer = error
        self._executing = False
        if self._broken:
            self._roll_back()
            return
        allowed = self.idle_seconds if self.transaction_now is None else IDLE_SECONDS
        if allowed:
            self._idle = self._loop.after(allowed, self._loop.physics, self._idled)
        if not self.mute:
            delay = self.database.latency * (0.5 + self._loop.rng.random())
            self._loop.after(delay, self.process, _settle, asked, answer)

    async def _run(self, query: str, args: tuple[Any, ...]) -> Any:
        database = self.database
        if query == "BEGIN":
            self.transaction_now = Transaction(self)
            return []
        if query == "ROLLBACK":
            self._roll_back()
            return []
        transaction = self.transaction_now
        if query == "COMMIT":
            assert transaction is not None
            await database.commit(transaction)
            self.transaction_now = None
            return []
        own = transaction is None
        if transaction is None:
            transaction = self.transaction_now = Transaction(self)
        try:
            if (statement := database.statements.get(query)) is None:
                self._loop.fail(f"the double does not know a statement: {query}")
                return []
            rows = statement(database, transaction, args)
            if isinstance(rows, Awaitable):
                rows = await rows
            if own:
                await database.commit(transaction)
        except asyncpg.PostgresError:
            if own:
                self._roll_back()
            raise
        if own:
            self.transaction_now = None
        return rows

    def _roll_back(self) -> None:
        transaction, self.transaction_now = self.transaction_now, None
        if transaction is not None and transaction.alive:
            self.database.end(transaction)

    def _idled(self) -> None:
        if not self._executing:
            self.cut()

    # -- the ways in which it ends ---------------------------------------------------------------------------------

    def client_ended(self) -> None:
        """Its process was killed; the server notices a little later, and what is being executed still is."""
        self._loop.after(self.database.latency, self._loop.physics, self.client_gone)

    def client_gone(self) -> None:
        """The server sees that nobody is there."""
        self._broken = True
        self.database.sessions.discard(self)
        if not self._executing:
            self._roll_back()

    def end_server_side(self) -> None:
        """The server's end is gone with everything it was at."""
        self._broken = True
        self.transaction_now = None
        self.database.sessions.discard(self)

    def cut(self) -> None:
        """The connection breaks: both ends notice. What is being executed still is, and nobody hears of it."""
        if self._closed:
            return
        self.client_gone()
        if self.process.alive:
            self._loop.after(self.database.latency, self.process, self._notice)

    def _notice(self) -> None:
        self._closed = True
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle"))

    def mute_now(self) -> None:
        """From now on no answer comes back, and nobody knows."""
        self.mute = True
        if self._asked is not None and not self._asked.done():
            self._loop.after(COMMAND_SECONDS, self.process, _time_out, self._asked)


class SessionPool:
    """What `parley.chat.log.database.Pool` uses of asyncpg's pool."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._free: list[Session] = []

    async def acquire(self, *, timeout: float) -> Session:
        """A session that works, as far as is known."""
        del timeout
        while self._free:
            session = self._free.pop()
            if not session.is_closed():
                return session
        return await self.database.connect()

    async def release(self, session: Session, *, timeout: float) -> None:
        """Give it back."""
        del timeout
        if not session.is_closed():
            self._free.append(session)

    async def expire_connections(self) -> None:
        """Use none of those that are open now."""
        self._free.clear()


def _refuse(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_exception(asyncpg.LockNotAvailableError("canceling statement due to lock timeout"))


def _settle(asked: asyncio.Future[Any], answer: Any) -> None:
    if asked.done():
        return
    if isinstance(answer, Exception):
        asked.set_exception(answer)
    else:
        asked.set_result(answer)


def _time_out(asked: asyncio.Future[Any]) -> None:
    if not asked.done():
        asked.set_exception(TimeoutError())
