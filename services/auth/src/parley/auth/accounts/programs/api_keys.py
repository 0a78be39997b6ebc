"""API keys: made, rotated and revoked. A key is a bot's, is good for its scopes alone, and is shown once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.tables import api_keys
from parley.auth.tokens.api_key import ApiKeyText, new_id, new_secret
from parley.auth.tokens.secret_hash import secret_hash
from parley.common.errors import Code, Reject

MAX_KEYS = 20
"""Keys of one bot that are good for anything."""
MAX_ENDED = 100
"""Keys of one bot that have ended and can still be seen, the newest."""
SCOPE = r"^(admin:(read|moderate|operate|own)|(?!admin:)[A-Za-z0-9_./-]{1,64}:(read|write))(?!\n)$"
"""What a scope looks like: reading or writing in a namespace, or up to which right an administrator's roles count."""
MAX_SCOPES = 32


class ApiKeyDetails(BaseModel):
    """A key as it can be seen, which is without its secret."""

    id: str
    user_id: str = Field(description="the bot whose key it is")
    name: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="null: never")
    last_used_at: datetime | None = Field(description="to about five minutes; null: never used")
    rotating_until: datetime | None = Field(description="until then the secret before the last rotation is good, too")
    revoked_at: datetime | None


class NewApiKey(ApiKeyDetails):
    """A key that was just made or rotated: the only time that all of it is told."""

    key: str = Field(description="for `Authorization: Bearer` and Socket.IO's `auth.token`")


async def create(
    connection: AsyncConnection, user_id: str, name: str, scopes: list[str], by: str, lifetime: timedelta | None
) -> NewApiKey:
    """A new key of a bot whose row is locked. Raises `Reject(limit_exceeded)`."""
    number = select(func.count()).select_from(api_keys).where(api_keys.c.user_id == user_id, *_GOOD)
    if (await connection.scalar(number) or 0) >= MAX_KEYS:
        raise Reject(Code.LIMIT_EXCEEDED, f"A bot has at most {MAX_KEYS} API keys.")
    mine = api_keys.c.user_id == user_id
    # Whoever makes and revokes keys in a circle would else fill the table.
    ended = select(api_keys.c.id).where(mine, ~and_(*_GOOD)).order_by(api_keys.c.created_at.desc()).offset(MAX_ENDED)
    await connection.execute(delete(api_keys).where(api_keys.c.id.in_(ended)))
    text = ApiKeyText(new_id(), new_secret())
    until: Any = None if lifetime is None else func.clock_timestamp() + lifetime
    new = insert(api_keys).values(
        id=text.id, user_id=user_id, name=name, scopes=list(dict.fromkeys(scopes)),
        secret_hash=secret_hash(text.secret), created_by=by, expires_at=until,
    )  # fmt: skip
    return _shown((await connection.execute(new.returning(api_keys))).one(), text)


async def rotate(connection: AsyncConnection, which: ColumnElement[bool], overlap: timedelta) -> NewApiKey:
    """A new secret for a key; the one that it had stays good for a while, and one from before that is good no more.

    It says since when each of the two is, by which `standing` tells the connections that they opened apart. What the
    key left to be done later goes on, unless there is no overlap: then the secret is taken to be in wrong hands.
    Raises `Reject(not_found)` for a key that is not there, or is not good for anything any more.
    """
    secret = new_secret()
    # In one statement: of two rotations at once the second keeps what the first has made as the one before.
    change = update(api_keys).where(which, *_GOOD)
    before: Any = func.coalesce(api_keys.c.secret_since, api_keys.c.created_at)
    # Later than the one before even where the clock was set back: else that would be taken for this one.
    now = func.greatest(func.clock_timestamp(), before + timedelta(microseconds=1))
    row = (
        await connection.execute(
            change.values(
                previous_hash=api_keys.c.secret_hash,
                previous_until=func.clock_timestamp() + overlap,
                previous_since=before,
                cut_off_since=api_keys.c.cut_off_since if overlap else before,
                secret_hash=secret_hash(secret),
                secret_since=now,
            ).returning(api_keys)
        )
    ).first()
    if row is None:
        raise _no_such_key()
    return _shown(row, ApiKeyText(row.id, secret))


async def revoke(connection: AsyncConnection, which: ColumnElement[bool]) -> ApiKeyDetails:
    """End a key for ever. Raises `Reject(not_found)` for one that is not there or has ended."""
    ended = update(api_keys).where(which, api_keys.c.revoked_at.is_(None))
    row = (await connection.execute(ended.values(revoked_at=func.clock_timestamp()).returning(api_keys))).first()
    if row is None:
        raise _no_such_key()
    return details_of(row)


async def listed(connection: AsyncConnection, which: ColumnElement[bool], limit: int) -> list[ApiKeyDetails]:
    """Keys that a condition names, newest first."""
    query = select(api_keys).where(which).order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc()).limit(limit)
    return [details_of(row) for row in await connection.execute(query)]


def details_of(row: Row[Any]) -> ApiKeyDetails:
    """A key in a row, as it can be seen."""
    own = {name: getattr(row, name) for name in ApiKeyDetails.model_fields if name != "rotating_until"}
    return ApiKeyDetails(**own, rotating_until=row.previous_until)


_GOOD = (
    api_keys.c.revoked_at.is_(None),
    (api_keys.c.expires_at.is_(None)) | (api_keys.c.expires_at > func.clock_timestamp()),
)


def _shown(row: Row[Any], text: ApiKeyText) -> NewApiKey:
    return NewApiKey(**details_of(row).model_dump(), key=str(text))


def _no_such_key() -> Reject:
    return Reject(Code.NOT_FOUND, "There is no such API key, or it has ended.")
