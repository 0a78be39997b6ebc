"""The connection pool to Postgres: from a libpq-style URL, with outages turned into coded errors."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from parley.common.errors import Code, Reject
from parley.common.process.dead_peers import notice_dead_peer
from parley.common.process.logs import get_logger
from parley.common.process.outage_log import OutageLog
from parley.common.sqlstate import Fault, fault_of_state, lacks_schema, refuses_text
from parley.common.wire.text import NO_TEXT

log = get_logger(__name__)

POOL_WAIT = 5.0
"""Seconds a request waits for a free connection before it is told `overloaded`."""
STATEMENT_SECONDS = 5.0
"""Seconds after which Postgres itself ends a statement; a connection without any answer is given up a second later."""
PING_SECONDS = 2.0
CONNECT_SECONDS = 3.0
LOCK_SHARE = 0.4
"""How much of its time a statement may spend on waiting for a lock; another process may stand still with it in hand."""
IDLE_SECONDS = 10.0
"""Seconds after which Postgres ends a transaction whose process says nothing more."""
SCHEMA_REVISION = "0041"
"""The last migration that this service cannot do without."""
STARTUP_LOCK = 0x61757468
"""Key of the advisory lock under which replicas make what must exist once: the signing key, the first administrator."""

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class _Connection(asyncpg.Connection):
    """A connection that notices when Postgres is gone, and never waits for it when it closes."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        notice_dead_peer(transport.get_extra_info("socket"))

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002 - asyncpg's signature
        """Close the socket; Postgres ends a session whose socket is closed, as it does one that says goodbye."""
        self.terminate()


def create_engine(database_url: str, pool_size: int = 10, seconds: float | None = STATEMENT_SECONDS) -> AsyncEngine:
    """An engine on a URL as psql takes it: `postgresql://user:password@host:5432/name?sslmode=require`.

    Nothing is connected yet. asyncpg parses the URL itself, because it knows libpq's parameters (`sslmode`, a
    socket directory as `host`) and SQLAlchemy does not. Statements may take `seconds`, and with None as long as they
    like, as migrations do.
    """
    dial = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # it is not annotated
    settings = {
        "application_name": "parley-auth",
        # Whatever the database's default: a ban or a revocation that was answered must survive a crash.
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
    }
    if seconds is not None:
        settings |= {
            "statement_timeout": _milliseconds(seconds),
            # Shorter than a statement's time, so that the one that ran out says which it was.
            "lock_timeout": _milliseconds(seconds * LOCK_SHARE),
            # A process that stands still in a transaction would keep users' rows locked for as long as it does.
            "idle_in_transaction_session_timeout": _milliseconds(IDLE_SECONDS),
        }

    async def connect() -> Any:
        return await dial(
            database_url,
            timeout=CONNECT_SECONDS,
            command_timeout=seconds and seconds + 1,
            connection_class=_Connection,
            server_settings=settings,
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        # All that this process may have, so that Postgres' connections can be reckoned up.
        max_overflow=0,
        pool_timeout=POOL_WAIT,
    )
    event.listen(engine.sync_engine, "checkout", _ping)
    event.listen(engine.sync_engine, "handle_error", _give_up)
    return engine


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _ping(connection: Any, _record: object, _proxy: object) -> None:
    """Have a lost connection replaced, and with it all that were open then, because they went the same way.

    One round trip, where `pool_pre_ping` makes a transaction of three.
    """
    try:
        connection.run_async(_execute_nothing)
    except _AWAY as error:
        raise InvalidatePoolError from error


async def _execute_nothing(driver: Any) -> None:
    await driver.execute("SELECT", timeout=PING_SECONDS)


def _give_up(context: ExceptionContext) -> None:
    """Never use a connection again that gave no answer in time, nor the others that were open then."""
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = True


def fault_of(error: BaseException | None) -> Fault | None:
    """Whose fault an error is: the statement's, a conflict's, or Postgres' and the way's to it; None if of none."""
    if isinstance(error, DBAPIError):
        # SQLAlchemy's error holds its adapter's, and that was raised from the driver's.
        original: Any = error.orig
        return Fault.OUTAGE if error.connection_invalidated else fault_of(original.__cause__ or original)
    if isinstance(error, asyncpg.DataError):
        return Fault.STATEMENT  # the driver refused an argument before it sent anything
    if not isinstance(error, _AWAY):
        return None
    return fault_of_state(_state(error))


def _state(error: BaseException | None) -> str | None:
    if isinstance(error, DBAPIError):
        original: Any = error.orig
        return getattr(original, "sqlstate", None)
    return getattr(error, "sqlstate", None)


class Database:
    """Connections for two uses: a transaction, or single statements that need none."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._outages = OutageLog(log, "Postgres cannot serve")
        self._failed_at = -POOL_WAIT

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """Commit at the end of the block, roll back if it raises. Raises `Reject(unavailable)` in an outage."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except Exception as error:
            self._tell_outage(error)
            raise

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[AsyncConnection]:
        """Each statement commits by itself, which saves a read the round trips of a transaction."""
        try:
            async with self._reading.connect() as connection:
                yield connection
        except Exception as error:
            self._tell_outage(error)
            raise

    async def check(self) -> str | None:
        """What keeps the database from being ready, or None: it must take writes and have our tables."""
        # A standby that is promoted late answers reads, and would take no login.
        asked = text("SELECT current_setting('transaction_read_only'), version_num FROM public.parley_migrations")
        try:
            async with self.autocommit() as connection:
                found = (await connection.execute(asked)).first()
        except Reject as rejection:
            if lacks_schema(_state(rejection.__cause__)):
                return "the schema is missing: run `parley migrate`"
            return rejection.message
        if found is None or found[1] < SCHEMA_REVISION:
            return "the schema is too old: run `parley migrate`"
        return "the database is read-only" if found[0] == "on" else None

    def _tell_outage(self, error: Exception) -> None:
        """Turn what a lost or full database raises, or a text that it does not take, into a code; the rest passes."""
        now = time.monotonic()
        # All connections are in use and none has failed lately: it is a rush, and no outage.
        if isinstance(error, PoolTimeout) and now - self._failed_at > 2 * POOL_WAIT:
            raise Reject(Code.OVERLOADED) from error
        # Who waited in vain for a connection while others found theirs dead waited for Postgres, too.
        if not isinstance(error, PoolTimeout) and fault_of(error) is not Fault.OUTAGE:
            # Postgres broke a serialization failure or a deadlock up; the other one went through.
            if _state(error) in {"40001", "40P01"}:
                raise Reject(Code.UNAVAILABLE, "Somebody else changed the same; try again.") from error
            # In a field where nobody looked for it.
            if refuses_text(_state(error)):
                raise Reject(Code.INVALID_PAYLOAD, NO_TEXT) from error
            return
        self._failed_at = now
        self._outages.note(error)
        raise Reject(Code.UNAVAILABLE, "The database cannot be reached now; try again.") from error
