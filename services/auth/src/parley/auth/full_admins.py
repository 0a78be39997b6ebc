"""Administrators with every right, of whom one always stays; and that nobody acts on who may more."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.standing import BAN_STANDS, SUSPENSION_STANDS
from parley.auth.tables import bans, suspensions, users
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rights import ADMIN_ROLE, right_of_roles

FULL_ADMINS_LOCK = 0x6F776E72
"""Key of the advisory lock under which they become fewer, so that two do not do it to each other at once."""


def require_not_above(admin: Identity, roles: list[str] | tuple[str, ...]) -> None:
    """Raise `Reject(forbidden)` if the roles are of somebody who may more than this administrator."""
    theirs = right_of_roles(roles)
    if theirs is not None and not admin.may(theirs):
        raise Reject(Code.FORBIDDEN, "This user may more than you; only an equal may do this to them.")


async def require_another_full_admin(connection: AsyncConnection, user: Row[Any]) -> None:
    """Raise `Reject(forbidden)` if nobody but this user could decide who may what.

    Whoever takes one away asks this in the transaction that does it. Who is banned or suspended does not count.
    """
    if ADMIN_ROLE not in user.roles:
        return
    # Users' rows are locked one at a time, and two administrators would each lock the other's.
    await connection.execute(select(func.pg_advisory_xact_lock(FULL_ADMINS_LOCK)))
    # Those of providers do not count: whoever runs the provider decides whether they stay administrators.
    other = select(users.c.id).where(
        users.c.kind == "local",
        users.c.roles.contains([ADMIN_ROLE]),
        users.c.id != user.id,
        ~exists().where(bans.c.user_id == users.c.id, BAN_STANDS),
        ~exists().where(suspensions.c.user_id == users.c.id, SUSPENSION_STANDS),
    )
    if await connection.scalar(other.limit(1)) is None:
        raise Reject(Code.FORBIDDEN, "This is the last administrator with every right; make another one first.")
