"""Bans and suspensions: who is kept out or may read only, until when, and why. Each with its audit entry."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Table, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.full_admins import require_another_full_admin, require_not_above
from parley.auth.moderation.audit import Actor, Detail
from parley.auth.tables import bans, suspensions
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject
from parley.common.wire.rights import Right


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

    Raises `Reject` with `not_found` for a user we do not know, `forbidden` for oneself, one who may more, the last
    owner, and where a ban stands of somebody who may more.
    """
    return await _impose(connection, _BAN, user_id, reason, admin, duration)


async def unban(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's ban; returns whether there was one to end. Raises `Reject` as `lift` does, and `not_found`."""
    return await _end(connection, _BAN, user_id, admin)


async def suspend(
    connection: AsyncConnection, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Have a user read only, replacing a suspension that stands; returns until when. Raises as `ban` does."""
    return await _impose(connection, _SUSPENSION, user_id, reason, admin, duration)


async def lift_suspension(connection: AsyncConnection, user_id: str, admin: Actor) -> bool:
    """End a user's suspension; returns whether there was one to end. Raises as `unban` does."""
    return await _end(connection, _SUSPENSION, user_id, admin)


async def lift(connection: AsyncConnection, table: Table, which: ColumnElement[bool], admin: Actor) -> Row[Any] | None:
    """End what stands of a table under a condition; returns its row, if it had not ended by itself.

    Raises `Reject(forbidden)`, with nothing done, if whoever set it may more than `admin`.
    """
    standing = table.c.lifted_at.is_(None)
    over = (table.c.expires_at <= func.clock_timestamp()).label("over")
    found = (await connection.execute(select(table, over).where(which, standing).with_for_update())).first()
    if found is None:
        return None
    # Looked at first: of many in one transaction each has its own result, and what was done of one is not undone.
    if not found.over and not admin.identity.may(Right(found.right_to_lift)):
        raise Reject(Code.FORBIDDEN, "Whoever set this may more than you; only an equal lifts or replaces it.")
    await connection.execute(update(table).where(which, standing).values(lifted_at=func.clock_timestamp()))
    return None if found.over else found


def right_to_lift(admin: Actor) -> int:
    """Return what it takes to lift what an administrator sets now: as much as they may themselves."""
    return int(admin.identity.right or Right.MODERATE)


def end_of(duration: timedelta | None) -> Any:
    """Return when what begins now is over, by the database's clock; None for never."""
    return None if duration is None else func.clock_timestamp() + duration


def audit_detail(row: Row[Any] | None) -> Detail | None:
    """Return a ban or suspension, as the audit log says it; None for none."""
    return None if row is None else {"reason": row.reason, "expires_at": row.expires_at and row.expires_at.isoformat()}


def detail_of(reason: str, duration: timedelta | None) -> Detail:
    """Return what the audit log says of what was asked for."""
    return {"reason": reason, "duration_seconds": duration and int(duration.total_seconds())}


async def _impose(
    connection: AsyncConnection, kind: _Kind, user_id: str, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    await _require_below(connection, user_id, admin)
    # To replace is to lift: else who may less would put a ban of a second in the place of one for ever.
    before = await lift(connection, kind.table, kind.table.c.user_id == user_id, admin)
    by = {kind.by: admin.user_id, "right_to_lift": right_to_lift(admin)}
    new = insert(kind.table).values(user_id=user_id, reason=reason, expires_at=end_of(duration), **by)
    made = (await connection.execute(new.returning(kind.table))).one()
    changed = {"before": {kind.name: audit_detail(before)}, "after": {kind.name: audit_detail(made)}}
    await admin.record(connection, kind.imposed, user_id, detail_of(reason, duration), **changed)
    return made.expires_at


async def _end(connection: AsyncConnection, kind: _Kind, user_id: str, admin: Actor) -> bool:
    if await lock_user(connection, user_id) is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    before = await lift(connection, kind.table, kind.table.c.user_id == user_id, admin)
    lifted = before is not None
    changed = {"before": {kind.name: audit_detail(before)}, "after": {kind.name: None}}
    await admin.record(connection, kind.lifted, user_id, {"lifted": lifted}, **changed)
    return lifted


async def _require_below(connection: AsyncConnection, user_id: str, admin: Actor) -> None:
    if user_id == admin.user_id:
        raise Reject(Code.FORBIDDEN, "You cannot do this to yourself.")
    # Whoever logs in just now waits for this lock and finds the ban, or has a session that the ban's kick ends.
    user = await lock_user(connection, user_id)
    if user is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    require_not_above(admin.identity, user.roles)
    await require_another_full_admin(connection, user)
