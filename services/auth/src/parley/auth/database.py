"""The connection pool to Postgres: from a libpq-style URL, with outages turned into coded errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from parley.common.errors import Code, Reject
from parley.common.logs import get_logger

log = get_logger(__name__)

POOL_WAIT = 5.0
"""Seconds a request waits for a free connection before it is told `overloaded`."""
STARTUP_LOCK = 0x61757468
"""Key of the advisory lock under which replicas make what must exist once: the signing key, the first administrator."""


def create_engine(database_url: str, pool_size: int = 10) -> AsyncEngine:
    """An engine on a URL as psql takes it: `postgresql://user:password@host:5432/name?sslmode=require`.

    Nothing is connected yet. asyncpg parses the URL itself, because it knows libpq's parameters (`sslmode`, a
    socket directory as `host`) and SQLAlchemy does not.
    """
    dial = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # it is not annotated

    async def connect() -> Any:
        return await dial(database_url, server_settings={"application_name": "parley-auth"})

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT,
    )
    event.listen(engine.sync_engine, "checkout", _ping)
    return engine


def _ping(connection: Any, _record: object, _proxy: object) -> None:
    """Have a lost connection replaced. One round trip, where `pool_pre_ping` makes a transaction of three."""
    try:
        connection.run_async(_execute_nothing)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DisconnectionError from error


async def _execute_nothing(driver: Any) -> None:
    await driver.execute("SELECT")


class Database:
    """Connections for two uses: a transaction, or single statements that need none."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """Commit at the end of the block, roll back if it raises. Raises `Reject(unavailable)` in an outage."""
        with _Outage():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[AsyncConnection]:
        """Each statement commits by itself, which saves a read the round trips of a transaction."""
        with _Outage():
            async with self._reading.connect() as connection:
                yield connection

    async def check(self) -> str | None:
        """What keeps the database from being ready, or None."""
        try:
            async with self.autocommit() as connection:
                await connection.execute(text("SELECT FROM auth.users LIMIT 0"))
        except Reject as rejection:
            return rejection.message
        except DBAPIError:
            return "the schema is missing: run `parley migrate`"
        return None


class _Outage:
    """Turns what a lost or full database raises into a code; anything else passes."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        match error:
            case PoolTimeout():
                raise Reject(Code.OVERLOADED) from error
            case DBAPIError() if error.connection_invalidated:
                pass
            case OSError() | asyncpg.PostgresConnectionError() | asyncpg.CannotConnectNowError():
                pass
            case asyncpg.TooManyConnectionsError() | asyncpg.InterfaceError():
                pass
            case _:
                return
        log.warning("database not reachable", error=f"{type(error).__name__}: {error}")
        raise Reject(Code.UNAVAILABLE, "The database cannot be reached now; try again.") from error
