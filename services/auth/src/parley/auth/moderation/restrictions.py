"""Bans and suspensions: who is kept out or may read only, until when, and why. Each with its audit entry."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Table, func, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.moderation.audit import Actor, Detail
from parley.auth.owners import require_another_owner, require_not_above
from parley.auth.tables import bans, suspensions
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject


class _Kind(NamedTuple):
    """Bans or suspensions: their table, and how the audit log names them and what is done."""

    table: Table
    name: str
    by: str
    imposed: str
    lifted: str


_BAN = _Kind(bans, "ban", "banned_by", "user.ban", "user.unban")
_SUSPENSION = _Kind(suspensions, "suspension", "suspended_by", "user.suspend", "user.unsuspend")


async def ban(
    connection: AsyncConnection, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Ban a user, for ever without a duration, replacing a ban that stands; returns until when.

    Raises `Reject` with `not_found` for a user we do not know, `forbidden` for oneself, one who may more, and the last
    owner.
    """
    return await _impose(connection, _BAN, user_id, reason, admin, duration)


async def unban(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's ban; returns whether there was one to end."""
    return await _end(connection, _BAN, user_id, admin)


async def suspend(
    connection: AsyncConnection, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Have a user read only, replacing a suspension that stands; returns until when. Raises as `ban` does."""
    return await _impose(connection, _SUSPENSION, user_id, reason, admin, duration)


async def lift_suspension(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's suspension; returns whether there was one to end."""
    return await _end(connection, _SUSPENSION, user_id, admin)


async def lift(connection: AsyncConnection, table: Table, which: ColumnElement[bool]) -> Row[Any] | None:
    """End what stands of a table under a condition; returns its row, if it had not ended by itself."""
    standing = update(table).where(which, table.c.lifted_at.is_(None))
    ended = (await connection.execute(standing.values(lifted_at=func.clock_timestamp()).returning(table))).first()
    return None if ended is None or (ended.expires_at is not None and ended.expires_at <= ended.lifted_at) else ended


def end_of(duration: timedelta | None) -> Any:
    """When what begins now is over, by the database's clock; None for never."""
    return None if duration is None else func.clock_timestamp() + duration


def told(row: Row[Any] | None) -> Detail | None:
    """A ban or suspension, as the audit log says it; None for none."""
    return None if row is None else {"reason": row.reason, "expires_at": row.expires_at and row.expires_at.isoformat()}


def detail_of(reason: str, duration: timedelta | None) -> Detail:
    """What the audit log says of what was asked for."""
    return {"reason": reason, "duration_seconds": duration and int(duration.total_seconds())}


async def _impose(
    connection: AsyncConnection, kind: _Kind, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    await _require_below(connection, user_id, admin)
    before = await lift(connection, kind.table, kind.table.c.user_id == user_id)
    by = {kind.by: admin.user_id}
    new = insert(kind.table).values(user_id=user_id, reason=reason, expires_at=end_of(duration), **by)
    made = (await connection.execute(new.returning(kind.table))).one()
    changed = {"before": {kind.name: told(before)}, "after": {kind.name: told(made)}}
    await admin.record(connection, kind.imposed, user_id, detail_of(reason, duration), **changed)
    return made.expires_at


async def _end(connection: AsyncConnection, kind: _Kind, user_id: str, admin: Actor) -> bool:
    before = await lift(connection, kind.table, kind.table.c.user_id == user_id)
    lifted = before is not None
    changed = {"before": {kind.name: told(before)}, "after": {kind.name: None}}
    await admin.record(connection, kind.lifted, user_id, {"lifted": lifted}, **changed)
    return lifted


async def _require_below(connection: AsyncConnection, user_id: str, admin: Actor) -> None:
    if user_id == admin.user_id:
        raise Reject(Code.FORBIDDEN, "You cannot do this to yourself.")
    user = await lock_user(connection, user_id)
    if user is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    require_not_above(admin.identity, user.roles)
    await require_another_owner(connection, user)
