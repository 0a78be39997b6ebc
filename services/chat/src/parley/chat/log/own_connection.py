"""The connections to Postgres that have one user each, the writer's first; and what a failure on that one means."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import asyncpg

from parley.chat.log.database import (
    COMMAND_SECONDS,
    DATABASE_ERRORS,
    STATEMENT_SECONDS,
    PostgresConnection,
    fault_of,
    session_settings,
)
from parley.common.sqlstate import Fault

CONNECT_SECONDS = 5
LOCK_SECONDS = 0.3
"""How long a statement waits for a room that another process has locked; commits take a few milliseconds."""

SETTINGS = session_settings("parley-chat writer", lock=LOCK_SECONDS, idle=STATEMENT_SECONDS) | {
    # A process that is cut off loses its transaction as well: Postgres notices within 11 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # One plan per statement, made once and by keys, whatever is believed of the sizes of tables.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

# Two batches met; the loser of the race simply goes again.
CONFLICTS: tuple[type[Exception], ...] = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


def is_own_fault(error: Exception) -> bool:
    """Whether a failure is that of one of the commands, which then fails alone. Else none can be written now."""
    if not isinstance(error, DATABASE_ERRORS) or isinstance(error, asyncpg.UniqueViolationError):
        return True
    return fault_of(error) is Fault.STATEMENT


async def dial(url: str, settings: dict[str, str]) -> Any:
    """Make a connection outside of the pools. Raises what asyncpg does, or `TimeoutError`."""
    # Bounded as a whole: Postgres may take a connection and say nothing.
    async with asyncio.timeout(CONNECT_SECONDS):
        return await cast("Any", asyncpg).connect(
            url, command_timeout=COMMAND_SECONDS, connection_class=PostgresConnection, server_settings=settings
        )


class OwnConnection:
    """One connection, kept for as long as it works: taking one from a pool costs as much as a statement."""

    def __init__(self, url: str, settings: dict[str, str] = SETTINGS) -> None:
        self._url = url
        self._settings = settings
        self._connection: Any = None

    async def get(self) -> tuple[Any, bool]:
        """The connection, and whether it is another one than before. Raises what asyncpg does, or `TimeoutError`."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection, False
        self.abandon()
        self._connection = connection = await dial(self._url, self._settings)
        return connection, True

    def abandon(self) -> None:
        """Give the connection up: something is wrong with it, or with the Postgres behind it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
