"""Tickets that were used: each works once."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.factors.tickets import Ticket
from parley.auth.login_tables import spent_tickets
from parley.auth.tokens.secret_hash import secret_hash
from parley.common.errors import Code, Reject

SWEPT = 1_000
"""Rows of tickets whose time is over that one use clears away at most."""


async def spend(connection: AsyncConnection, raw: str, ticket: Ticket) -> None:
    """Use a ticket in the caller's transaction. Raises `Reject(invalid_credentials)` for one that was used before."""
    over = select(spent_tickets.c.hash).where(spent_tickets.c.expires_at < func.clock_timestamp())
    over = over.limit(SWEPT).with_for_update(skip_locked=True)
    await connection.execute(delete(spent_tickets).where(spent_tickets.c.hash.in_(over)))
    # It is kept for longer than it is good, by whichever replica's clock.
    expires_at = datetime.fromtimestamp(ticket.expires_at + 60, UTC)
    used = insert(spent_tickets).values(hash=secret_hash(raw), expires_at=expires_at)
    done = await connection.execute(used.on_conflict_do_nothing().returning(spent_tickets.c.hash))
    if done.first() is None:
        raise Reject(Code.INVALID_CREDENTIALS, "This was used before; begin again.")
