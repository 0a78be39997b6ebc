"""The writer's own connection to Postgres, and what a failure on it means."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import asyncpg

from parley.chat.log.database import DATABASE_ERRORS, Connection, fault_of
from parley.common.sqlstate import Fault

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 5.0
ANSWER_SECONDS = 6.0
"""Later than Postgres' own limit, which answers: only a connection that is dead gets there."""
LOCK_SECONDS = 0.3
"""How long a statement waits for a room that another process has locked; commits take a few milliseconds."""

SETTINGS = {
    "application_name": "parley-chat writer",
    # Acks depend on it, so it is set rather than hoped for.
    "synchronous_commit": "on",
    # What is committed while a statement waits for a lock has to be seen by it, whatever the database's default is.
    "default_transaction_isolation": "read committed",
    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
    "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
    # A process that stands still within a transaction loses it, and with it the rooms it has locked.
    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
    # So does one that is cut off: Postgres notices within 11 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # One plan per statement, made once and by keys, whatever is believed of the sizes of tables.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
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


class WriterConnection:
    """One connection, kept for as long as it works: taking one from a pool costs as much as a statement."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    async def get(self) -> tuple[Any, bool]:
        """The connection, and whether it is another one than before. Raises what asyncpg does, or `TimeoutError`."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection, False
        self.abandon()
        # Dialling is bounded as a whole: Postgres may take a connection and say nothing.
        async with asyncio.timeout(CONNECT_SECONDS):
            connection: Any = await cast("Any", asyncpg).connect(
                self._url, command_timeout=ANSWER_SECONDS, connection_class=Connection, server_settings=SETTINGS
            )
        self._connection = connection
        return connection, True

    def abandon(self) -> None:
        """Give the connection up: something is wrong with it, or with the Postgres behind it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Part from Postgres."""
        if self._connection is not None:
            self.abandon()
