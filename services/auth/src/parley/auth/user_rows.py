"""The row of a user: locked by whoever issues or revokes tokens, so that each token is issued before or after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.names import skeletons, username_key
from parley.auth.tables import api_keys, deletions, sessions, username_skeletons, users
from parley.auth.tokens.claims import GUEST_PREFIX, LOCAL_PREFIX
from parley.common.errors import Code, Reject
from parley.common.wire.identifiers import uuid7

REMEMBERED = timedelta(days=1)
"""For how long a session that was ended is kept."""


def new_user_id() -> str:
    """Return an id for an account made here."""
    return f"{LOCAL_PREFIX}{uuid7().hex}"


def named(username: str) -> ColumnElement[bool]:
    """Return the condition that a user has this username, in whatever case it was written."""
    return users.c.username_key == username_key(username)


async def insert_local_user(
    connection: AsyncConnection, username: str, password_hash: str, roles: Sequence[str] = ()
) -> str:
    """Make an account; returns its id. Raises `IntegrityError` for a name that somebody has, or that looks like one."""
    user_id = new_user_id()
    await connection.execute(
        insert(users).values(
            id=user_id,
            username=username,
            username_key=username_key(username),
            name=username,
            password_hash=password_hash,
            roles=list(roles),
            kind="local",
        )
    )
    looks = [{"skeleton": skeleton, "user_id": user_id} for skeleton in skeletons(username)]
    # In the transaction of the user: of two names that look alike and come at once, the unique index lets one in.
    await connection.execute(insert(username_skeletons), looks)
    return user_id


async def require_unlike_others(connection: AsyncConnection, name: str, *, own: str) -> None:
    """Raise `Reject(already_exists)` for a display name that looks like a username of anybody but the user `own`."""
    looks = username_skeletons.c.skeleton.in_(skeletons(name))
    another = select(username_skeletons.c.user_id).where(looks, username_skeletons.c.user_id != own)
    if await connection.scalar(another) is not None:
        raise Reject(Code.ALREADY_EXISTS, "This name looks like somebody else's username.")


async def lock_user(connection: AsyncConnection, user_id: str) -> Row[Any] | None:
    """Return a user's row, locked against other grants and revocations until the transaction ends; None if unknown."""
    # FOR NO KEY UPDATE: it does not hold up those who insert rows that refer to the user, such as sessions of bots.
    row = select(users).where(users.c.id == user_id).with_for_update(key_share=True)
    return (await connection.execute(row)).first()


async def lock_if_known(connection: AsyncConnection, user_id: str) -> Row[Any] | None:
    """A user's row, locked; None for those of whom there is none any more, or never is: deleted users, and guests.

    Raises `Reject(not_found)` for a user whom there never was: an administrator has mistyped.
    """
    user = await lock_user(connection, user_id)
    if user is None and not await is_known(connection, user_id):
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    return user


async def is_known(connection: AsyncConnection, user_id: str) -> bool:
    """Return whether there is such a user, was one, or may be: guests are written down nowhere.

    Users who log in elsewhere are known from their first token on.
    """
    if user_id.startswith(GUEST_PREFIX):
        return True
    known = select(users.c.id).where(users.c.id == user_id)
    deleted = select(deletions.c.user_id).where(deletions.c.user_id == user_id)
    return await connection.scalar(known.union_all(deleted).limit(1)) is not None


async def revoke_all(connection: AsyncConnection, user_id: str) -> datetime:
    """End every token, session and API key a user was given so far; returns the moment. `lock_user` comes first."""
    moment = (
        await connection.execute(
            update(users)
            .where(users.c.id == user_id)
            # Never back: after a failover the clock may be behind, and what was revoked would be good again.
            .values(revoked_before=func.greatest(func.clock_timestamp(), users.c.revoked_before))
            .returning(users.c.revoked_before)
        )
    ).scalar_one()
    await revoke_sessions(connection, sessions.c.user_id == user_id)
    # They are older than the moment and so refused anyway; one that was rotated would be for ever.
    keys = update(api_keys).where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
    await connection.execute(keys.values(revoked_at=func.clock_timestamp()))
    return moment


async def revoke_sessions(connection: AsyncConnection, which: ColumnElement[bool]) -> list[str]:
    """End the sessions that a condition names and that stand yet; returns their ids. `lock_user` comes first."""
    # Who is ended is told why for a while yet; then the rows go.
    forgotten = func.least(sessions.c.usable_until, func.clock_timestamp() + REMEMBERED)
    ended = (
        update(sessions)
        .where(which, sessions.c.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp(), usable_until=forgotten)
        .returning(sessions.c.id)
    )
    return list((await connection.scalars(ended)).all())
