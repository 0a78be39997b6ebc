"""What is done to a log when its database was restored from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from parley.chat.log.erasure.erasure_runner import compare, erasure_connection, execute_open
from parley.chat.log.erasure.ledger import Ledger, LedgerError
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure

# What the log knows of transaction numbers: those of its events, and the positions of its consumers.
_NEW_OFFSET = """
SELECT CASE WHEN own.next + log.transaction_offset > greatest(known.events, known.followers)
            THEN log.transaction_offset ELSE greatest(known.events, known.followers) + 1 END
FROM chat.log, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) own, (
  SELECT (SELECT coalesce(max(transaction_id), '0')::text::bigint FROM chat.events) AS events,
         (SELECT coalesce(max(split_part(position, ':', 1)::bigint) - 1, 0) FROM chat.consumers) AS followers
) known
"""


async def begin_incarnation(url: str, ledger: Path | None) -> tuple[UUID, int]:
    """Give the log another incarnation, and request again what the ledger has and this log has not erased.

    Returns the incarnation, and how many such erasures there are; all of them are hidden by then. Raises
    `CommandFailure` if there is no log, or the ledger cannot be read.

    The restored server may have given out fewer transaction numbers than the log contains, and would use some of them a
    second time. Its numbers get an offset, so that they begin after those of the log.
    """
    async with log_connection(url) as connection:
        try:
            missing = 0 if ledger is None else await compare(connection, Ledger(ledger))
        except LedgerError as error:
            raise CommandFailure(str(error)) from error
        async with connection.transaction():
            return await _begin(connection), missing


async def _begin(connection: Any) -> UUID:
    # No event may be appended between looking at the last transaction number and setting the offset.
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
    """Execute the open erasures, unless a service does."""
    async with erasure_connection(url) as connection:
        await execute_open(connection)
