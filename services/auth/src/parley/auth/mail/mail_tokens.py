"""Tokens that are in mails alone: what is stored is their hash. Each works once, and only while the password stays."""

from __future__ import annotations

import secrets
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.login_tables import mail_tokens
from parley.auth.tokens.secret_hash import secret_hash

MAX_TOKEN = 64
PER_HOUR = 5
"""Tokens of a user and a purpose that are made within an hour, each by a mail."""
SWEPT = 1_000
"""Rows that one who makes a token clears away at most."""


class Purpose(StrEnum):
    """What a token is good for. One that was mailed for one purpose is nothing for another."""

    VERIFY = "verify"
    RESET = "reset"


async def make(
    connection: AsyncConnection, user: Row[Any], purpose: Purpose, address: str, lifetime: timedelta
) -> str | None:
    """Return a new token for the mail to an address, of a user whose row is locked.

    None if there were too many lately.
    """
    mine = (mail_tokens.c.user_id == user.id) & (mail_tokens.c.purpose == str(purpose))
    lately = mail_tokens.c.created_at > func.clock_timestamp() - timedelta(hours=1)
    number = await connection.scalar(select(func.count()).select_from(mail_tokens).where(mine, lately))
    if (number or 0) >= PER_HOUR:
        return None
    # A row stays an hour at least, also when its token is over: it is counted above.
    over = mail_tokens.c.expires_at < func.clock_timestamp() - timedelta(hours=1)
    left = select(mail_tokens.c.hash).where(over).limit(SWEPT).with_for_update(skip_locked=True)
    await connection.execute(delete(mail_tokens).where(mail_tokens.c.hash.in_(left)))
    token = secrets.token_urlsafe(24)
    await connection.execute(
        insert(mail_tokens).values(
            hash=secret_hash(token),
            user_id=user.id,
            purpose=str(purpose),
            address=address,
            password=secret_hash(user.password_hash),
            expires_at=func.clock_timestamp() + lifetime,
        )
    )
    return token


async def find(connection: AsyncConnection, token: str, purpose: Purpose) -> Row[Any] | None:
    """Return the row of a token that is still good; None for any other."""
    wanted = select(mail_tokens).where(
        mail_tokens.c.hash == secret_hash(token),
        mail_tokens.c.purpose == str(purpose),
        mail_tokens.c.expires_at > func.clock_timestamp(),
    )
    return (await connection.execute(wanted)).first()


async def take(connection: AsyncConnection, token: str, purpose: Purpose, user: Row[Any]) -> str | None:
    """Use a token of a user whose row is locked, and all others of its purpose; returns the address it was sent to.

    None if it is not theirs, over, used, or of before the password was changed.
    """
    found = await find(connection, token, purpose)
    # Bound to the password: whoever changes it, for fear of somebody else, makes the links of before worthless.
    if found is None or found.user_id != user.id or found.password != secret_hash(user.password_hash or ""):
        return None
    mine = (mail_tokens.c.user_id == user.id) & (mail_tokens.c.purpose == str(purpose))
    # All of this purpose: older mails in the same box must not work after the newest has.
    await connection.execute(delete(mail_tokens).where(mine))
    return found.address
