"""Pools of connections to Postgres on which nothing waits for ever, and what Postgres' errors mean.

Whatever breaks on the way (a server that froze, a failover, a dropped NAT entry) shows within seconds: every statement
has a time limit, and so has every wait for a connection. When a statement finds its connection dead, the pool drops all
connections that were open then without trying them, because they go the same way.
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
from parley.common.sqlstate import Fault, fault_of_state, lacks_schema, refuses_text
from parley.common.wire.text import NO_TEXT

log = get_logger(__name__)

STATEMENT_SECONDS = 5.0
"""Seconds after which Postgres itself ends a statement; a healthy one answers within milliseconds."""
COMMAND_SECONDS = STATEMENT_SECONDS + 1.0
"""Seconds after which a connection without an answer is given up. Postgres would have answered by then, if only an
error."""
CONNECT_SECONDS = 3.0
LOCK_SECONDS = 2.0
"""Seconds that a statement waits for a lock, because the process that holds it may stand still."""
IDLE_SECONDS = 10.0
"""Seconds after which Postgres ends a transaction whose process is silent, which frees its locks."""
# asyncpg waits on release until the connection is idle; one that is broken never is.
RELEASE_SECONDS = 1.0
MAX_WAITING = 500
"""Reads that may wait for a connection. Further ones are refused with `overloaded`."""
SCHEMA_REVISION = "0043"
"""The oldest migration that this version of the service works with."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke in the middle of an answer
)
"""Everything that a statement may raise. `fault_of` says what it means."""

_outages = OutageLog(log, "Postgres cannot serve")


def fault_of(error: BaseException) -> Fault:
    """Return whose fault one of `DATABASE_ERRORS` is: the statement's, a conflict's, or Postgres' and the network's."""
    if isinstance(error, asyncpg.DataError):
        return Fault.STATEMENT  # the driver refused an argument before it sent anything
    return fault_of_state(_state(error))


def _state(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


class Pool:
    """A pool of connections for one kind of work. Its rows are read by column name."""

    def __init__(self, pool: Any, size: int) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(size)
        self._waiting = 0

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Any]:
        """Lend a connection. Raises `Reject(overloaded)`, and what connecting raises.

        After a timeout the connection is closed, and so are all others that were open then.
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
        """Return all rows."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """Return the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args)

    async def _wait_for_turn(self) -> None:
        if self._waiting >= MAX_WAITING:
            raise Reject(Code.OVERLOADED)
        self._waiting += 1
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                # asyncpg's own queue for connections has no bound, so a semaphore in front of it has one.
                await self._free.acquire()
        except TimeoutError:
            raise Reject(Code.OVERLOADED) from None
        finally:
            self._waiting -= 1


class PostgresConnection(asyncpg.Connection):
    """A connection that notices within seconds when its peer is gone, and that closes without waiting for it."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        notice_dead_peer(transport.get_extra_info("socket"))

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002 - asyncpg's signature
        """Close the socket without saying goodbye. Postgres ends a session whose socket is closed just the same."""
        self.terminate()


@asynccontextmanager
async def connect(url: str, size: int, **settings: str) -> AsyncGenerator[Pool]:
    """Open a pool of `size` connections whose sessions have `settings` besides those that acks and decisions depend on.

    Raises `Reject(unavailable)` if Postgres cannot be reached.
    """
    async with asyncpg.create_pool(
        url,
        # None are kept open: asyncpg would try to restore them as long as Postgres is away, with a traceback each time.
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        connection_class=PostgresConnection,
        # Sessions carry no state from one use to the next here, so the round trip that would reset them is saved.
        reset=_keep_session,
        server_settings=session_settings("parley-chat", lock=LOCK_SECONDS, idle=IDLE_SECONDS) | settings,
    ) as pool:
        opened = Pool(pool, size)
        with reachable():
            await opened.fetchval("SELECT 1")
        yield opened


def session_settings(name: str, *, lock: float, idle: float) -> dict[str, str]:
    """Return the settings of a session.

    Its statements wait `lock` seconds for a lock, and a silent transaction lives `idle`.
    """
    return {
        "application_name": name,
        # Acked means durable, whatever the server's default is.
        "synchronous_commit": "on",
        # A statement that waited for a lock has to see what was committed meanwhile.
        "default_transaction_isolation": "read committed",
        "statement_timeout": _milliseconds(STATEMENT_SECONDS),
        "lock_timeout": _milliseconds(lock),
        # A process that stands still within a transaction loses it, and with it the locks of its rooms.
        "idle_in_transaction_session_timeout": _milliseconds(idle),
        # Compiling a statement takes longer than these statements run.
        "jit": "off",
        # So does starting a process to help with one.
        "max_parallel_workers_per_gather": "0",
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


async def _keep_session(_connection: Any) -> None:
    """Leave a connection as it is when it returns to the pool.

    asyncpg calls this instead of `RESET ALL` and the like.
    """


async def check(pool: Pool) -> str | None:
    """Return what keeps the database from being ready, or None. It must accept writes and have our tables."""
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
    """Return what a caller is told while Postgres is away."""
    return Reject(Code.UNAVAILABLE, "The event log cannot be reached now; try again with the same id.")


def note_outage(error: BaseException, **fields: Any) -> None:
    """Log that Postgres cannot serve: at once, and then every ten seconds for as long as it lasts."""
    _outages.note(error, **fields)


@contextmanager
def reachable() -> Generator[None]:
    """Refuse the caller with `unavailable` if Postgres turns out to be away inside of the block.

    Text that Postgres does not take, in a field where nobody looked for it, is the caller's fault: `invalid_payload`.
    """
    try:
        yield
    except DATABASE_ERRORS as error:
        if refuses_text(_state(error)):
            raise Reject(Code.INVALID_PAYLOAD, NO_TEXT) from None
        if fault_of(error) is Fault.STATEMENT:
            raise
        note_outage(error)
        raise unavailable() from error
