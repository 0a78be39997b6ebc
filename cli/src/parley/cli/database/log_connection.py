"""Connections to the database that has the log, or is about to have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from parley.cli.failure import CommandFailure

WAIT_SECONDS = 10.0
"""Seconds to wait for a database that is being started."""
_STARTING = (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError)


def wait_for_database(url: str, seconds: float) -> None:
    """Return once Postgres accepts connections. Raises `CommandFailure` if it refuses, or does not answer in time."""

    async def wait() -> None:
        # Not kept for what follows: Alembic connects by a driver of its own.
        await (await _connect(url, seconds, {})).close()

    asyncio.run(wait())


@asynccontextmanager
async def log_connection(url: str, **settings: str) -> AsyncGenerator[Any]:
    """Connect to a database that has a log, with these settings. Raises `CommandFailure` if it has none."""
    connection = await _connect(url, WAIT_SECONDS, settings)
    try:
        yield connection
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise CommandFailure("the database holds no log yet; run `parley migrate` first") from error
    finally:
        await connection.close()


async def _connect(url: str, seconds: float, settings: Mapping[str, str]) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return cast("Any", await asyncpg.connect(url, timeout=5, server_settings=dict(settings)))
        # What a server says while it starts, and a container's network before its name is known.
        except _STARTING as error:
            if time.monotonic() >= deadline:
                reason = str(error) or type(error).__name__
                raise CommandFailure(f"the database did not answer within {seconds:g} s: {reason}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise CommandFailure(f"the database refuses: {error}") from error
        await asyncio.sleep(0.5)
