"""Sessions: one login each, a family of refresh tokens, and the access tokens that these give.

| refresh token | presented | what happens |
|---|---|---|
| unspent | | it is spent: another one, and an access token |
| spent | within the grace period | a sibling of the one it was spent for: an answer was lost, or two tabs have it |
| spent | later | two parties know it: the session ends, `revoked_token` |
| any | after the session's end | `revoked_token` |
| any | after its own lifetime, or the session's | `expired_token` |
| not ours | | `invalid_token` |

Whoever begins, refreshes or ends a session first locks the user's row. A token is therefore issued either before an
end, which then refuses it, or after it. All times are the database's, so that it does not matter what replicas and
clients take the time to be.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.sessions.refresh_seal import SESSION_PREFIX, OpenedToken, RefreshSeal
from parley.auth.database import Database
from parley.auth.settings import AuthSettings
from parley.auth.standing import require_not_banned
from parley.auth.tables import refresh_tokens, sessions
from parley.auth.tokens.secret_hash import secret_hash
from parley.auth.tokens.signing import Signer
from parley.auth.user_rows import lock_user, revoke_sessions
from parley.common.errors import Code, Reject
from parley.common.wire.identifiers import uuid7

MAX_SESSIONS = 100
"""Sessions of one user; one more takes the place of the one that was used least lately."""
MAX_UNSPENT = 16
"""Refresh tokens of a session that may be used; of lost answers older ones are forgotten."""
MAX_TOKENS = 200
"""Refresh tokens of a session with those in their grace period; who asks for more is `rate_limited`."""
SWEEP_SECONDS = 600.0
SWEEP_ROWS = 500
SWEEP_ROUNDS = 40
_LAST_MOMENT = timedelta(microseconds=1)

_SURPLUS = text(
    """
    DELETE FROM auth.sessions WHERE id IN (
        SELECT id FROM auth.sessions WHERE user_id = :user
        ORDER BY revoked_at IS NULL DESC, last_used_at DESC OFFSET :kept
    )
    """
)
_SWEEP = text(
    """
    DELETE FROM auth.sessions WHERE id IN (
        SELECT id FROM auth.sessions WHERE usable_until < clock_timestamp()
        ORDER BY usable_until LIMIT :rows FOR UPDATE SKIP LOCKED
    )
    """
)


class Grant(BaseModel):
    """What a user gets for a password or a refresh token."""

    user_id: str
    access_token: str = Field(description="JWT for `Authorization: Bearer` and Socket.IO's `auth.token`")
    refresh_token: str = Field(description="good for one `POST /auth/refresh`")
    expires_in: int = Field(description="seconds the access token is valid")


class Device(NamedTuple):
    """What a session is used from: the client's address, and in short what its User-Agent says."""

    address: str = ""
    name: str = ""


class SessionDetails(BaseModel):
    """A session, as its user sees it."""

    id: str
    device: str = Field(description="in short what its User-Agent said, where it was used last")
    address: str = Field(description="where it was used last")
    method: str = Field(description="how its user proved who they are, such as `password`")
    created_at: datetime
    last_used_at: datetime = Field(description="when its refresh token was used last, or the login")
    expires_at: datetime = Field(description="when it ends, however often it is refreshed")
    current: bool = Field(description="whether the access token that asks is of this session")


class EndedSession(NamedTuple):
    """A session that was just ended: what gateways are told."""

    user_id: str
    session_id: str


class ReusedToken(Reject):
    """A refresh token was used again after its grace period, and `session` was ended for it."""

    def __init__(self, session: EndedSession) -> None:
        super().__init__(Code.REVOKED_TOKEN, "This refresh token was used before; log in again.")
        self.session = session


class Sessions:
    """Begins, refreshes, lists and ends sessions. Gateways are told of an end by the caller, once it is committed."""

    def __init__(self, database: Database, signer: Signer, settings: AuthSettings) -> None:
        self._database = database
        self._signer = signer
        self._seal = RefreshSeal(signer.derived_keys(b"refresh tokens"))
        self._access_ttl = settings.auth_access_ttl
        self._refresh_ttl = timedelta(seconds=settings.auth_refresh_ttl)
        self._lifetime = timedelta(seconds=settings.auth_session_ttl)
        self._grace = timedelta(seconds=settings.auth_refresh_grace)

    async def begin(self, connection: AsyncConnection, user: Row[Any], device: Device, method: str) -> Grant:
        """Return a new session of a user whose row `lock_user` returned in this transaction. Raises `Reject(banned)`.

        `method` says how they proved who they are, in a word.
        """
        await require_not_banned(connection, user.id)
        # Before the new one, so that the bound holds; the sessions that ended are the first to go, then the longest
        # unused.
        await connection.execute(_SURPLUS, {"user": user.id, "kept": MAX_SESSIONS - 1})
        now = func.clock_timestamp()
        new = insert(sessions).values(
            id=f"{SESSION_PREFIX}{uuid7().hex}",
            user_id=user.id,
            last_used_at=now,
            expires_at=now + self._lifetime,
            usable_until=now,
            device=device.name,
            address=device.address,
            method=method,
        )
        session = (await connection.execute(new.returning(sessions, now.label("now")))).one()
        return await self._grant(connection, user, session, device)

    async def rotate(self, token: str, device: Device) -> Grant:
        """Spend a refresh token for a new grant.

        Raises `Reject` as the table of the module says, `banned`, and for a reused one `ReusedToken`.
        """
        mine, opened = refresh_tokens.c.hash == secret_hash(token), self._seal.open(token)
        async with self._database.transaction() as connection:
            # The session is found by the seal, also for a token without a row any more: only so is a reuse of long ago
            # told from a token that nobody made.
            found = await self._locked(connection, mine, opened)
            if found is None:
                raise Reject(Code.INVALID_TOKEN, "The refresh token is not valid.")
            user, session = found
            row = (await connection.execute(select(refresh_tokens).where(mine))).first()
            if session.revoked_at is not None:
                raise Reject(Code.REVOKED_TOKEN, "The session has ended; log in again.")
            expires_at = row.expires_at if row is not None else opened.expires_at if opened is not None else session.now
            if min(session.expires_at, expires_at) <= session.now:
                raise Reject(Code.EXPIRED_TOKEN, "The refresh token has expired; log in again.")
            # A row that was spent a moment ago means a lost answer or a second tab. Without a row the token is good by
            # its seal alone, so it was spent longer ago than rows are kept.
            if row is not None and (row.used_at is None or session.now - row.used_at <= self._grace):
                return await self._refresh(connection, user, session, row, device)
            # The thief and the owner cannot be told apart, so neither of them goes on (RFC 9700, section 4.14.2).
            await revoke_sessions(connection, sessions.c.id == session.id)
        # Behind the transaction: what is raised within it would undo the end of the session.
        raise ReusedToken(EndedSession(session.user_id, session.id))

    async def end_by_token(self, token: str) -> EndedSession | None:
        """End the session of a refresh token, spent or not. One that is nobody's says nothing of itself: None."""
        mine, opened = refresh_tokens.c.hash == secret_hash(token), self._seal.open(token)
        async with self._database.transaction() as connection:
            found = await self._locked(connection, mine, opened)
            if found is None:
                return None
            _, session = found
            await revoke_sessions(connection, sessions.c.id == session.id)
            return EndedSession(session.user_id, session.id)

    async def of_user(self, user_id: str, current: str) -> list[SessionDetails]:
        """Return a user's sessions that stand, those used last first; `current` is the id of the one that asks."""
        async with self._database.autocommit() as connection:
            rows = await connection.execute(
                select(sessions)
                .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
                .where(sessions.c.usable_until > func.clock_timestamp())
                .order_by(sessions.c.last_used_at.desc(), sessions.c.id.desc())
            )
            return [SessionDetails.model_validate({**row, "current": row["id"] == current}) for row in rows.mappings()]

    async def end(self, user_id: str, which: ColumnElement[bool]) -> list[str]:
        """End those of a user's sessions that a condition names and that stand yet; returns their ids."""
        async with self._database.transaction() as connection:
            await lock_user(connection, user_id)
            return await revoke_sessions(connection, (sessions.c.user_id == user_id) & which)

    async def access_token(self, connection: AsyncConnection, user_id: str, ttl: int) -> str:
        """Return an access token of no session. Raises `Reject(not_found)`."""
        user = await lock_user(connection, user_id)
        if user is None:
            raise Reject(Code.NOT_FOUND)
        now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return self._signer.sign(user.id, user.name, user.roles, _issued_at(user, now), ttl)

    async def run_sweep(self) -> None:
        """Delete, for ever, sessions of which no token is any good any more."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - replicas not all at once
            try:
                await self.sweep()
            except Reject:
                continue  # the database says so itself; next time, then

    async def sweep(self) -> int:
        """Delete what is over, hundreds at a time and ten thousands at most; returns how many. Raises `Reject`."""
        deleted = 0
        for _ in range(SWEEP_ROUNDS):
            async with self._database.autocommit() as connection:
                count = (await connection.execute(_SWEEP, {"rows": SWEEP_ROWS})).rowcount
            deleted += count
            # Not even a full portion was left. Another replica may hold the rest.
            if count < SWEEP_ROWS:
                break
        return deleted

    @staticmethod
    async def _locked(
        connection: AsyncConnection, token: ColumnElement[bool], opened: OpenedToken | None
    ) -> tuple[Row[Any], Row[Any]] | None:
        """Return the user, whose row is locked, and the session of a refresh token; None if there is none.

        A token without our seal is of before there was one, and names its session by its row.
        """
        session_id = (
            opened.session_id
            if opened is not None
            else await connection.scalar(select(refresh_tokens.c.session_id).where(token))
        )
        which = sessions.c.id == session_id
        user_id = await connection.scalar(select(sessions.c.user_id).where(which))
        # The user's row is locked before the session is read, in the order of all who change sessions.
        user = await lock_user(connection, user_id) if user_id is not None else None
        timed = select(sessions, func.clock_timestamp().label("now")).where(which)
        session = (await connection.execute(timed)).first() if user is not None else None
        return None if user is None or session is None else (user, session)

    async def _refresh(
        self, connection: AsyncConnection, user: Row[Any], session: Row[Any], row: Row[Any], device: Device
    ) -> Grant:
        await require_not_banned(connection, user.id)
        mine = refresh_tokens.c.session_id == session.id
        # Within its grace a token gives as many siblings as it is asked for. Without a bound one lost laptop fills the
        # table.
        number = await connection.scalar(select(func.count()).select_from(refresh_tokens).where(mine))
        if (number or 0) >= MAX_TOKENS:
            raise Reject(Code.RATE_LIMITED)
        if row.used_at is None:
            spent = update(refresh_tokens).where(refresh_tokens.c.hash == row.hash)
            await connection.execute(spent.values(used_at=session.now))
        # Each lost answer leaves a token behind that nobody has. Of them the newest may yet be in somebody's hands.
        unspent = select(refresh_tokens.c.hash).where(mine, refresh_tokens.c.used_at.is_(None))
        forgotten = unspent.order_by(refresh_tokens.c.issued_at.desc()).offset(MAX_UNSPENT - 1)
        await connection.execute(
            delete(refresh_tokens).where(
                mine,
                or_(
                    refresh_tokens.c.expires_at <= session.now,
                    refresh_tokens.c.used_at < session.now - self._grace,
                    refresh_tokens.c.hash.in_(forgotten),
                ),
            )
        )
        return await self._grant(connection, user, session, device)

    async def _grant(self, connection: AsyncConnection, user: Row[Any], session: Row[Any], device: Device) -> Grant:
        now: datetime = session.now
        expires_at = min(now + self._refresh_ttl, session.expires_at)
        # Only its hash is stored: who reads the database cannot log in by it.
        token = self._seal.make(session.id, expires_at)
        await connection.execute(
            insert(refresh_tokens).values(
                hash=secret_hash(token), session_id=session.id, issued_at=now, expires_at=expires_at
            )
        )
        # Of two refreshes at once the one that waited for the other's lock may have looked at the clock before it.
        issued_at = _issued_at(user, now)
        # No access token outlives its session: gateways would hold its connection until it expires.
        left = (session.expires_at - issued_at).total_seconds()
        ttl = max(1, min(self._access_ttl, int(left)))
        usable_until = max(expires_at, issued_at + timedelta(seconds=ttl))
        used = {"last_used_at": now, "usable_until": func.greatest(sessions.c.usable_until, usable_until)}
        await connection.execute(
            update(sessions)
            .where(sessions.c.id == session.id)
            .values(**used, address=device.address, device=device.name or session.device)
        )
        access = self._signer.sign(user.id, user.name, user.roles, issued_at, ttl, session.id)
        return Grant(user_id=user.id, access_token=access, refresh_token=token, expires_in=ttl)


def _issued_at(user: Row[Any], now: datetime) -> datetime:
    """When a token counts as issued: a clock that was set back must not make it look older than a revocation before."""
    return max(now, user.revoked_before + _LAST_MOMENT) if user.revoked_before else now
