"""What the command line does to a database besides migrating it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg

from parley.chat.domain.projectors import PROJECTORS, Projector
from parley.chat.log.erasure_ledger import Ledger, LedgerError
from parley.chat.log.erasure_runner import compare, erasure_connection, execute_open
from parley.chat.projections.rebuild import Rebuilt, rebuild
from parley.chat.projections.replay import SETTINGS
from parley.chat.projections.verify import Progress, Verified, verify
from parley.cli.failure import Failure

# What the log knows of transactions: those of its events, and how far its followers are.
_NEW_OFFSET = """
SELECT CASE WHEN own.next + log.transaction_offset > greatest(known.events, known.followers)
            THEN log.transaction_offset ELSE greatest(known.events, known.followers) + 1 END
FROM chat.log, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) own, (
  SELECT (SELECT coalesce(max(transaction_id), '0')::text::bigint FROM chat.events) AS events,
         (SELECT coalesce(max(split_part(position, ':', 1)::bigint) - 1, 0) FROM chat.consumers) AS followers
) known
"""

_STARTING = (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError)


def wait_for_database(url: str, seconds: float) -> None:
    """Return once Postgres takes connections. Raises `Failure` when it refuses, or is not there in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            asyncio.run(_connect(url))
        except _STARTING as error:
            if time.monotonic() >= deadline:
                reason = str(error) or type(error).__name__
                raise Failure(f"the database did not answer within {seconds:g} s: {reason}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise Failure(f"the database refuses: {error}") from error
        else:
            return
        time.sleep(0.5)


async def rebuild_projections(url: str, name: str, progress: Progress | None = None) -> Rebuilt:
    """Make a projection anew from the log, or all. Raises `Failure` when there is no log, or no such projection."""
    async with log_connection(url, **SETTINGS) as connection:
        return await rebuild(connection, _projectors(name), progress)


async def verify_projections(url: str, name: str, progress: Progress | None = None) -> Verified:
    """Compare a projection with the log, or all. Raises `Failure` when there is no log, or no such projection."""
    async with log_connection(url, **SETTINGS) as connection:
        return await verify(connection, _projectors(name), progress)


def _projectors(name: str) -> list[Projector]:
    if name and name not in PROJECTORS:
        raise Failure(f"there is no projection {name!r}; there are {', '.join(sorted(PROJECTORS))}")
    return [PROJECTORS[name]] if name else [*PROJECTORS.values()]


async def begin_incarnation(url: str, ledger: Path | None) -> tuple[UUID, int]:
    """Give the log another incarnation, and have it erase again what the ledger says that it has not erased.

    Returns the incarnation, and how many erasures these are: all are hidden by then. Raises `Failure` when there is no
    log, or no ledger to read.

    A server that has given out fewer numbers of transactions than the log holds would give them out again: its own
    begin behind those of the log from then on.
    """
    async with log_connection(url) as connection:
        try:
            missing = 0 if ledger is None else await compare(connection, Ledger(ledger))
        except LedgerError as error:
            raise Failure(str(error)) from error
        async with connection.transaction():
            return await _begin(connection), missing


async def _begin(connection: Any) -> UUID:
    await connection.execute("LOCK TABLE chat.events IN SHARE ROW EXCLUSIVE MODE")
    offset: int = await connection.fetchval(_NEW_OFFSET)
    if offset:
        await connection.execute(
            f"""ALTER TABLE chat.events ALTER COLUMN transaction_id
                SET DEFAULT ((pg_current_xact_id()::text::bigint + {offset})::text)::xid8"""
        )
    return await connection.fetchval(
        """UPDATE chat.log SET incarnation = gen_random_uuid(), transaction_offset = $1, mended = mended + 1
           RETURNING incarnation""",
        offset,
    )


async def erase_what_is_open(url: str) -> None:
    """Execute what was asked to be erased, unless a service does."""
    async with erasure_connection(url) as connection:
        await execute_open(connection)


@asynccontextmanager
async def log_connection(url: str, **settings: str) -> AsyncGenerator[Any]:
    """A connection to a database that holds a log. Raises `Failure` when it does not."""
    connection = cast("Any", await asyncpg.connect(url, timeout=5, server_settings=settings))
    try:
        yield connection
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise Failure("the database holds no log yet; run `parley migrate` first") from error
    finally:
        await connection.close()


async def _connect(url: str) -> None:
    await (await asyncpg.connect(url, timeout=5)).close()
