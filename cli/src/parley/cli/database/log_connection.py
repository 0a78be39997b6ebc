"""Connections to the database that holds the log, or is to hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from parley.cli.failure import CommandFailure

_STARTING = (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError)


def wait_for_database(url: str, seconds: float) -> None:
    """Return once Postgres takes connections. Raises `CommandFailure` when it refuses, or is not there in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            asyncio.run(_connect(url))
        except _STARTING as error:
            if time.monotonic() >= deadline:
                reason = str(error) or type(error).__name__
                raise CommandFailure(f"the database did not answer within {seconds:g} s: {reason}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise CommandFailure(f"the database refuses: {error}") from error
        else:
            return
        time.sleep(0.5)


@asynccontextmanager
async def log_connection(url: str, **settings: str) -> AsyncGenerator[Any]:
    """A connection to a database that holds a log. Raises `CommandFailure` when it does not."""
    connection = cast("Any", await asyncpg.connect(url, timeout=5, server_settings=settings))
    try:
        yield connection
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise CommandFailure("the database holds no log yet; run `parley migrate` first") from error
    finally:
        await connection.close()


async def _connect(url: str) -> None:
    await (await asyncpg.connect(url, timeout=5)).close()
