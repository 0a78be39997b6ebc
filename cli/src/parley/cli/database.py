"""Waiting for a database that is still starting."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from parley.cli.failure import Failure

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


async def _connect(url: str) -> None:
    await (await asyncpg.connect(url, timeout=5)).close()
