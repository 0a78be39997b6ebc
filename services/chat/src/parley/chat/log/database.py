"""Connections to Postgres on which nothing waits for ever, and what its errors mean.

Whatever is lost on the way (a server that froze, a failover, a NAT entry that was dropped) shows within seconds: every
statement has its time, every wait for a connection too, and where one statement found its connection dead, all others
of that time are given up unseen, because they went the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from parley.common.errors import Code, Reject
from parley.common.process.dead_peers import notice_dead_peer
from parley.common.process.logs import get_logger
from parley.common.process.outage_log import OutageLog
from parley.common.sqlstate import Fault, fault_of_state, lacks_schema

log = get_logger(__name__)

STATEMENT_SECONDS = 5.0
"""Seconds after which Postgres itself ends a statement; a healthy one answers within milliseconds."""
COMMAND_SECONDS = STATEMENT_SECONDS + 1.0
"""Seconds after which a connection without an answer is given up: Postgres would have answered, if only by an error."""
CONNECT_SECONDS = 3.0
LOCK_SECONDS = 2.0
"""Seconds that a statement waits for a lock; another process may stand still with it in hand."""
IDLE_SECONDS = 10.0
"""Seconds after which Postgres ends a transaction whose process says nothing more, and with it takes back its locks."""
RELEASE_SECONDS = 1.0
MAX_WAITING = 500
"""Reads that may wait for a connection; who comes then is told `overloaded`."""
SCHEMA_REVISION = "0008"
"""The last migration that this service cannot do without."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke in the middle of an answer
)
"""All that a statement may raise; `fault_of` says what it means."""

_outages = OutageLog(log, "Postgres cannot serve")


def fault_of(error: BaseException) -> Fault:
    """Whose fault one of `DATABASE_ERRORS` is: the statement's, a conflict's, or Postgres' and the way's to it."""
    if isinstance(error, asyncpg.DataError):
        return Fault.STATEMENT  # the driver refused an argument before it sent anything
    return fault_of_state(_state(error))


def _state(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


class Pool:
    """Connections for statements of one kind of work. Rows are read by column name."""

    def __init__(self, pool: Any, size: int) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(size)
        self._waiting = 0

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Any]:
        """A connection to use for a while. Raises `Reject(overloaded)`, and what connecting raises.

        One that gave no answer in time is never used again, nor are the others that were open then.
        """
        await self._wait_for_turn()
        try:
            connection = await self._pool.acquire(timeout=CONNECT_SECONDS)
            try:
                yield connection
            except TimeoutError:
                connection.terminate()
                await self._pool.expire_connections()
                raise
            finally:
                with suppress(*DATABASE_ERRORS):
                    await self._pool.release(connection, timeout=RELEASE_SECONDS)
        finally:
            self._free.release()

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args)

    async def _wait_for_turn(self) -> None:
        if self._waiting >= MAX_WAITING:
            raise Reject(Code.OVERLOADED)
        self._waiting += 1
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise Reject(Code.OVERLOADED) from None
        finally:
            self._waiting -= 1


class PostgresConnection(asyncpg.Connection):
    """A connection that notices when Postgres is gone, and never waits for it when it closes."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        notice_dead_peer(transport.get_extra_info("socket"))

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002 - asyncpg's signature
        """Close the socket; Postgres ends a session whose socket is closed, as it does one that says goodbye."""
        self.terminate()


@asynccontextmanager
async def connect(url: str, size: int, **settings: str) -> AsyncGenerator[Pool]:
    """Connect to Postgres. What acks and decisions depend on is set rather than hoped for, and `settings` besides.

    Raises `Reject(unavailable)` when Postgres cannot be reached.
    """
    async with asyncpg.create_pool(
        url,
        # No floor: asyncpg would try to restore it for as long as Postgres is away, with a traceback each time.
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        connection_class=PostgresConnection,
        # Sessions carry no state between uses here, so the round trip that would reset it is saved.
        reset=_keep_session,
        server_settings=session_settings("parley-chat", lock=LOCK_SECONDS, idle=IDLE_SECONDS) | settings,
    ) as pool:
        opened = Pool(pool, size)
        with reachable():
            await opened.fetchval("SELECT 1")
        yield opened


def session_settings(name: str, *, lock: float, idle: float) -> dict[str, str]:
    """What a session of ours is set to. It waits for a lock for `lock` seconds, for a silent process for `idle`."""
    return {
        "application_name": name,
        # Acks depend on it, so it is set rather than hoped for.
        "synchronous_commit": "on",
        # What is committed while a statement waits for a lock has to be seen by it, whatever the database's default is.
        "default_transaction_isolation": "read committed",
        "statement_timeout": _milliseconds(STATEMENT_SECONDS),
        "lock_timeout": _milliseconds(lock),
        # A process that stands still within a transaction loses it, and with it the rooms it has locked.
        "idle_in_transaction_session_timeout": _milliseconds(idle),
        "jit": "off",
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


async def _keep_session(_connection: Any) -> None:
    """Leave a connection as it is when it returns to the pool."""


async def check(pool: Pool) -> str | None:
    """What keeps the database from being ready, or None: it must take writes and have our tables."""
    try:
        row = await pool.fetchrow(
            "SELECT current_setting('transaction_read_only') AS read_only, version_num FROM public.parley_migrations"
        )
    except Reject as rejection:
        return f"Postgres: {rejection.message}"
    except DATABASE_ERRORS as error:
        if lacks_schema(_state(error)):
            return "Postgres: the schema is missing: run `parley migrate`"
        return f"Postgres: {error or type(error).__name__}"
    if row is None or row["version_num"] < SCHEMA_REVISION:
        return "Postgres: the schema is too old: run `parley migrate`"
    return "Postgres: it is read-only" if row["read_only"] == "on" else None


def unavailable() -> Reject:
    """What a caller is told while Postgres is away."""
    return Reject(Code.UNAVAILABLE, "The event log cannot be reached now; try again with the same id.")


def note_outage(error: BaseException, **fields: Any) -> None:
    """Log that Postgres cannot serve: at once, and then now and then for as long as it lasts."""
    _outages.note(error, **fields)


@contextmanager
def reachable() -> Generator[None]:
    """Tell a caller `unavailable` when Postgres turns out to be away inside of the block."""
    try:
        yield
    except DATABASE_ERRORS as error:
        if fault_of(error) is Fault.STATEMENT:
            raise
        note_outage(error)
        raise unavailable() from error
