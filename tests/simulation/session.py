"""One connection to the double of Postgres, both ends of it, and the ways in which it ends.

The client's end is what asyncpg offers. The server goes on with what it executes when the client has gone, and ends a
session that says nothing while it holds a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.simulation.loop import Process
from tests.simulation.tables import Row, Transaction

if TYPE_CHECKING:
    from tests.simulation.database import Database

COMMAND_SECONDS = 6.0
"""After which the driver gives up on an answer."""
IDLE_SECONDS = 5.0
"""After which Postgres ends a transaction whose process says nothing more."""


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
