"""The pool of Postgres connections, and which of its failures mean "try again"."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol, cast

import asyncpg

from parley.common.errors import Code, Reject

COMMAND_SECONDS = 15.0

# Postgres or the way to it is gone or restarting: nothing is wrong with what was asked.
UNAVAILABLE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke in the middle of an answer
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
# Two batches met; the loser of the race simply goes again.
CONFLICTS: tuple[type[Exception], ...] = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


class Pool(Protocol):
    """What chat uses of asyncpg's pool, whose own signatures are only partly typed. Rows are read by column name."""

    def acquire(self) -> AbstractAsyncContextManager[Any]:
        """A connection to use for a while."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        ...


@asynccontextmanager
async def connect(url: str, size: int) -> AsyncGenerator[Pool]:
    """Connect to Postgres. Acks depend on `synchronous_commit`, so it is set rather than hoped for."""
    async with asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=COMMAND_SECONDS,
        # Sessions carry no state between uses here, so the round trip that would reset it is saved.
        reset=_keep_session,
        server_settings={"application_name": "parley-chat", "synchronous_commit": "on", "jit": "off"},
    ) as pool:
        yield cast("Pool", pool)


async def _keep_session(_connection: Any) -> None:
    """Leave a connection as it is when it returns to the pool."""


async def check(pool: Pool) -> str | None:
    """What keeps the database from being ready, or None."""
    try:
        await pool.fetchval("SELECT 1 FROM chat.rooms LIMIT 1")
    except UNAVAILABLE as error:
        return f"Postgres: {error or type(error).__name__}"
    except asyncpg.PostgresError as error:
        return f"Postgres: {error}"
    return None


def unavailable() -> Reject:
    """What a caller is told while Postgres is away."""
    return Reject(Code.UNAVAILABLE, "The event log cannot be reached now; try again with the same id.")


@contextmanager
def reachable() -> Generator[None]:
    """Tell a caller `unavailable` when Postgres turns out to be away inside of the block."""
    try:
        yield
    except UNAVAILABLE as error:
        raise unavailable() from error
