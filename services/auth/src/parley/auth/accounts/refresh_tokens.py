"""Issuing access and refresh tokens, rotating refresh tokens, and revoking both.

Whoever issues or revokes first locks the user's row. A token is therefore issued either before a revocation, which
then sees and refuses it, or after it.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field
from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import Database
from parley.auth.settings import Settings
from parley.auth.standing import require_not_banned
from parley.auth.tables import refresh_tokens
from parley.auth.tokens.signing import Signer
from parley.auth.user_rows import lock_user, revoke_refresh_tokens
from parley.common.errors import Code, Reject

MAX_REFRESH_TOKEN = 128
_LAST_MOMENT = timedelta(microseconds=1)


class Grant(BaseModel):
    """What a user gets for a password or a refresh token."""

    user_id: str
    access_token: str = Field(description="JWT for `Authorization: Bearer` and Socket.IO's `auth.token`")
    refresh_token: str = Field(description="good for one `POST /auth/refresh`")
    expires_in: int = Field(description="seconds the access token is valid")


class RefreshTokens:
    """Grants tokens to users. A refresh token is stored as its hash and belongs to the family its login began."""

    def __init__(self, database: Database, signer: Signer, settings: Settings) -> None:
        self._database = database
        self._signer = signer
        self._access_ttl = settings.auth_access_ttl
        self._refresh_ttl = timedelta(seconds=settings.auth_refresh_ttl)

    async def begin(self, connection: AsyncConnection, user: Row[Any]) -> Grant:
        """A new family for a user whose row `lock_user` returned in this transaction. Raises `Reject(banned)`."""
        await require_not_banned(connection, user.id)
        expired = refresh_tokens.c.expires_at < func.clock_timestamp()
        await connection.execute(delete(refresh_tokens).where(refresh_tokens.c.user_id == user.id, expired))
        return await self._grant(connection, user, uuid4().hex)

    async def rotate(self, token: str) -> Grant:
        """Spend a refresh token for a new grant.

        Raises `Reject` with `invalid_token`, `expired_token`, `banned`, or `revoked_token`. A token that was spent
        before is known to two parties, so its whole family is revoked, and the owner has to log in again.
        """
        hashed = _hash(token)
        mine = refresh_tokens.c.hash == hashed
        async with self._database.transaction() as connection:
            user_id = await connection.scalar(select(refresh_tokens.c.user_id).where(mine))
            user = await lock_user(connection, user_id) if user_id is not None else None
            if user is None:
                raise Reject(Code.INVALID_TOKEN, "The refresh token is not valid.")
            row = (
                await connection.execute(select(refresh_tokens, func.clock_timestamp().label("now")).where(mine))
            ).one()
            if row.used_at is None:
                _require_usable(row)
                await require_not_banned(connection, user.id)
                await connection.execute(update(refresh_tokens).where(mine).values(used_at=row.now))
                return await self._grant(connection, user, row.family)
            await revoke_refresh_tokens(connection, refresh_tokens.c.family == row.family)
        raise Reject(Code.REVOKED_TOKEN, "This refresh token was used before; log in again.")

    async def end(self, token: str) -> None:
        """Revoke a token's family. An unknown token is nobody's, so there is nothing to say about it."""
        async with self._database.transaction() as connection:
            mine = refresh_tokens.c.hash == _hash(token)
            row = (
                await connection.execute(select(refresh_tokens.c.user_id, refresh_tokens.c.family).where(mine))
            ).first()
            if row is not None:
                await lock_user(connection, row.user_id)
                await revoke_refresh_tokens(connection, refresh_tokens.c.family == row.family)

    async def session_of(self, connection: AsyncConnection, token: str) -> str:
        """The session that a refresh token belongs to; empty for one that is nobody's."""
        mine = select(refresh_tokens.c.family).where(refresh_tokens.c.hash == _hash(token))
        return await connection.scalar(mine) or ""

    async def access_token(self, connection: AsyncConnection, user_id: str, ttl: int) -> str:
        """An access token without a refresh token. Raises `Reject(not_found)`."""
        user = await lock_user(connection, user_id)
        if user is None:
            raise Reject(Code.NOT_FOUND)
        now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return self._sign(user, now, ttl)

    async def _grant(self, connection: AsyncConnection, user: Row[Any], family: str) -> Grant:
        token = secrets.token_urlsafe(32)
        new = insert(refresh_tokens).values(
            hash=_hash(token),
            family=family,
            user_id=user.id,
            issued_at=func.clock_timestamp(),
            expires_at=func.clock_timestamp() + self._refresh_ttl,
        )
        issued_at = (await connection.execute(new.returning(refresh_tokens.c.issued_at))).scalar_one()
        access = self._sign(user, issued_at, self._access_ttl)
        return Grant(user_id=user.id, access_token=access, refresh_token=token, expires_in=self._access_ttl)

    def _sign(self, user: Row[Any], now: datetime, ttl: int) -> str:
        # A clock that was set back must not make a login look older than the revocation it follows.
        issued_at = max(now, user.revoked_before + _LAST_MOMENT) if user.revoked_before else now
        return self._signer.sign(user.id, user.name, user.roles, issued_at, ttl)


def _require_usable(row: Row[Any]) -> None:
    if row.revoked_at is not None:
        raise Reject(Code.REVOKED_TOKEN, "The refresh token was revoked; log in again.")
    if row.expires_at <= row.now:
        raise Reject(Code.EXPIRED_TOKEN, "The refresh token has expired; log in again.")


def _hash(token: str) -> bytes:
    # The token is 256 random bits, so a plain hash cannot be guessed back.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
