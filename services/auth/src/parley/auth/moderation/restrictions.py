"""Bans and suspensions: who is kept out or may read only, until when, and why. Each with its audit entry."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Table, func, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.moderation.audit import Actor, Detail
from parley.auth.owners import require_another_owner, require_not_above
from parley.auth.tables import bans, suspensions
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject


async def ban(
    connection: AsyncConnection, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Ban a user, for ever without a duration, replacing a ban that stands; returns until when.

    Raises `Reject` with `not_found` for a user we do not know, `forbidden` for oneself, one who may more, and the last
    owner.
    """
    await _require_below(connection, user_id, admin)
    before = await _lift(connection, bans, user_id)
    new = insert(bans).values(user_id=user_id, reason=reason, banned_by=admin.user_id, expires_at=_end_of(duration))
    made = (await connection.execute(new.returning(bans))).one()
    detail = {"reason": reason, "duration_seconds": duration and int(duration.total_seconds())}
    await admin.record(connection, "user.ban", user_id, detail, before={"ban": before}, after={"ban": _told(made)})
    return made.expires_at


async def unban(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's ban; returns whether there was one to end."""
    before = await _lift(connection, bans, user_id)
    lifted = before is not None
    await admin.record(
        connection, "user.unban", user_id, {"lifted": lifted}, before={"ban": before}, after={"ban": None}
    )
    return lifted


async def suspend(
    connection: AsyncConnection, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Have a user read only, replacing a suspension that stands; returns until when. Raises as `ban` does."""
    await _require_below(connection, user_id, admin)
    before = await _lift(connection, suspensions, user_id)
    new = insert(suspensions).values(
        user_id=user_id, reason=reason, suspended_by=admin.user_id, expires_at=_end_of(duration)
    )
    made = (await connection.execute(new.returning(suspensions))).one()
    detail = {"reason": reason, "duration_seconds": duration and int(duration.total_seconds())}
    changed = {"before": {"suspension": before}, "after": {"suspension": _told(made)}}
    await admin.record(connection, "user.suspend", user_id, detail, **changed)
    return made.expires_at


async def lift_suspension(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's suspension; returns whether there was one to end."""
    before = await _lift(connection, suspensions, user_id)
    lifted = before is not None
    changed = {"before": {"suspension": before}, "after": {"suspension": None}}
    await admin.record(connection, "user.unsuspend", user_id, {"lifted": lifted}, **changed)
    return lifted


async def _require_below(connection: AsyncConnection, user_id: str, admin: Actor) -> None:
    if user_id == admin.user_id:
        raise Reject(Code.FORBIDDEN, "You cannot do this to yourself.")
    user = await lock_user(connection, user_id)
    if user is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    require_not_above(admin.identity, user.roles)
    await require_another_owner(connection, user)


async def _lift(connection: AsyncConnection, table: Table, user_id: str) -> Detail | None:
    """End what stands of a user in a table; returns it as the audit log says it, if it had not ended by itself."""
    now = func.clock_timestamp()
    standing = update(table).where(table.c.user_id == user_id, table.c.lifted_at.is_(None))
    ended = (await connection.execute(standing.values(lifted_at=now).returning(table))).first()
    if ended is None or (ended.expires_at is not None and ended.expires_at <= ended.lifted_at):
        return None
    return _told(ended)


def _told(row: Row[Any]) -> Detail:
    return {"reason": row.reason, "expires_at": row.expires_at and row.expires_at.isoformat()}


def _end_of(duration: timedelta | None) -> Any:
    return None if duration is None else func.clock_timestamp() + duration
