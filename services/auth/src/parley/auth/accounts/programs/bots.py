"""Bots: accounts that programs use, by API keys. Whoever owns one answers for it.

A bot has none of the roles that its owner lacks, and is banned or suspended while its owner is (see `standing`). It
goes with its owner.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.names import check_display_name
from parley.auth.tables import api_keys, users
from parley.auth.user_rows import lock_user, new_user_id, require_unlike_others
from parley.common.errors import Code, Reject

BOT = "bot"


class BotDetails(BaseModel):
    """A bot, as its owner and administrators see it."""

    id: str = Field(description="its user id, with which it is invited and found in messages")
    name: str
    owner_id: str
    roles: list[str] = Field(description="of which only those count that its owner has as well")
    created_at: datetime


async def create(connection: AsyncConnection, name: str, owner_id: str, limit: int) -> BotDetails:
    """Return a new bot of somebody.

    Raises `Reject` with `not_found` for an owner we do not know, `forbidden` for a bot, and `limit_exceeded` when they
    have `limit` bots already; and for the name `invalid_payload`, or `already_exists` for one that looks like somebody
    else's username.
    """
    # Locked, so that two requests at once do not both find one place left.
    owner = await lock_user(connection, owner_id)
    if owner is None:
        raise Reject(Code.NOT_FOUND, "There is no such user to own the bot.")
    if owner.kind == BOT:
        raise Reject(Code.FORBIDDEN, "A bot owns no bots.")
    number = await connection.scalar(select(func.count()).select_from(users).where(users.c.owner_id == owner_id))
    if (number or 0) >= limit:
        raise Reject(Code.LIMIT_EXCEEDED, f"A user has at most {limit} bots.")
    # After the limit: who may make none is told that, whatever they would call it.
    check_display_name(name)
    await require_unlike_others(connection, name, own=owner_id)
    new = insert(users).values(id=new_user_id(), name=name, kind=BOT, owner_id=owner_id)
    row = (await connection.execute(new.returning(users))).mappings().one()
    return BotDetails.model_validate(dict(row))


async def listed(connection: AsyncConnection, which: ColumnElement[bool], limit: int) -> list[BotDetails]:
    """Return bots that a condition names, newest first."""
    query = select(users).where(users.c.kind == BOT, which).order_by(users.c.created_at.desc(), users.c.id).limit(limit)
    return [BotDetails.model_validate(dict(row)) for row in (await connection.execute(query)).mappings()]


async def owned_by(connection: AsyncConnection, owners: Collection[str]) -> list[str]:
    """Return the ids of the bots of some users, to whom happens what happens to these."""
    ids = select(users.c.id).where(users.c.owner_id.in_(owners)).order_by(users.c.id)
    return list((await connection.scalars(ids)).all())


async def require(connection: AsyncConnection, bot_id: str, owner_id: str | None = None) -> BotDetails:
    """Return a bot, locked; of this owner, if one is named. Raises `Reject(not_found)`."""
    row = await lock_user(connection, bot_id)
    if row is None or row.kind != BOT or owner_id not in (None, row.owner_id):
        raise Reject(Code.NOT_FOUND, "There is no such bot.")
    return BotDetails.model_validate(row, from_attributes=True)


async def of_key(connection: AsyncConnection, key_id: str) -> BotDetails:
    """Return the bot of an API key, locked. Raises `Reject(not_found)`."""
    bot_id = await connection.scalar(select(api_keys.c.user_id).where(api_keys.c.id == key_id))
    if bot_id is None:
        raise Reject(Code.NOT_FOUND, "There is no such API key.")
    return await require(connection, bot_id)


async def remove(connection: AsyncConnection, bot_id: str) -> None:
    """Delete a bot with its keys. What it wrote stays, under its name."""
    await connection.execute(delete(users).where(users.c.id == bot_id, users.c.kind == BOT))
