"""A table that nobody can write for a while, as behind a long transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.chat.erasing import connected


@asynccontextmanager
async def locked(url: str, table: str) -> AsyncGenerator[Callable[[], Awaitable[bool]]]:
    """Keep writers of a table waiting, and yield what says whether one waits."""
    async with connected(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")

        async def waited_for() -> bool:
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted)", table
            )

        try:
            yield waited_for
        finally:
            await transaction.rollback()
