"""Connections to Postgres that one user has for itself, above all the writer; and what the writer's failures mean."""

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
"""Seconds that a statement waits for a room that another process has locked. A commit takes a few milliseconds."""

SETTINGS = session_settings("parley-chat writer", lock=LOCK_SECONDS, idle=STATEMENT_SECONDS) | {
    # A process that is cut off must lose its transaction too. With these, Postgres notices within 11 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # One plan per statement, made once and always by keys: a custom plan would cost more than most batches do, and
    # statistics of a table that was just filled lead to scans.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

# Two batches met. The one that lost is tried again.
CONFLICTS: tuple[type[Exception], ...] = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


def is_own_fault(error: Exception) -> bool:
    """Return whether a failure is the fault of one of the commands, which then fails alone.

    Else nothing can be written now.
    """
    if not isinstance(error, DATABASE_ERRORS) or isinstance(error, asyncpg.UniqueViolationError):
        return True
    return fault_of(error) is Fault.STATEMENT


async def dial(url: str, settings: dict[str, str]) -> Any:
    """Open a connection outside of the pools. Raises what asyncpg raises, or `TimeoutError`."""
    # asyncpg's timeout bounds each step; Postgres may accept the connection and then say nothing.
    async with asyncio.timeout(CONNECT_SECONDS):
        return await cast("Any", asyncpg).connect(
            url, command_timeout=COMMAND_SECONDS, connection_class=PostgresConnection, server_settings=settings
        )


class OwnConnection:
    """One connection that is kept as long as it works. Taking one from a pool would cost as much as a statement."""

    def __init__(self, url: str, settings: dict[str, str] = SETTINGS) -> None:
        self._url = url
        self._settings = settings
        self._connection: Any = None

    async def get(self) -> tuple[Any, bool]:
        """Return the connection, and whether it is new. Raises what asyncpg raises, or `TimeoutError`."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection, False
        self.abandon()
        self._connection = connection = await dial(self._url, self._settings)
        return connection, True

    def abandon(self) -> None:
        """Close the connection, because something is wrong with it or with the Postgres behind it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
