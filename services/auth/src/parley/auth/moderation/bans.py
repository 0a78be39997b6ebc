"""Bans: who is kept out, until when, and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.tables import bans
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity


async def ban(
    connection: AsyncConnection, user_id: str, reason: str, admin: Identity, duration: timedelta | None
) -> datetime | None:
    """Ban a user, for ever without a duration, replacing a ban that stands; returns until when.

    Raises `Reject(not_found)` for a user we do not know.
    """
    if await lock_user(connection, user_id) is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    await lift(connection, user_id)
    until: Any = func.clock_timestamp() + duration if duration is not None else None
    new = insert(bans).values(user_id=user_id, reason=reason, banned_by=admin.user_id, expires_at=until)
    return (await connection.execute(new.returning(bans.c.expires_at))).scalar_one()


async def lift(connection: AsyncConnection, user_id: str) -> bool:
    """End a user's ban; returns whether there was one to end."""
    standing = update(bans).where(bans.c.user_id == user_id, bans.c.lifted_at.is_(None))
    return (await connection.execute(standing.values(lifted_at=func.clock_timestamp()))).rowcount > 0
