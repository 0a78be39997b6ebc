"""Whether a user is welcome: exists, is not banned, was not revoked. The query behind every connection.

Thousands of connections may ask within a second after a gateway restarts. Those that ask while a query is under way
are answered together by the next one, so a storm costs few queries; each still sees the state after it asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from parley.auth.database import Database
from parley.auth.tables import bans, users
from parley.common.errors import Code, Reject
from parley.common.tasks import Tasks

MAX_WAITING = 50_000
"""Questions in hand; beyond it the caller is told `overloaded`."""
MAX_BATCH = 1_000
"""Users one query asks for."""

BAN_STANDS = and_(
    bans.c.lifted_at.is_(None), or_(bans.c.expires_at.is_(None), bans.c.expires_at > func.clock_timestamp())
)
"""The condition under which a ban keeps its user out now."""

_QUERY = (
    select(
        users.c.id,
        users.c.name,
        users.c.roles,
        users.c.revoked_before,
        bans.c.reason,
        bans.c.expires_at,
    )
    .select_from(users.outerjoin(bans, and_(bans.c.user_id == users.c.id, BAN_STANDS)))
    .where(users.c.id == func.any(bindparam("ids", type_=ARRAY(Text))))
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says about a user at one moment. `ban_reason` is None when no ban stands."""

    name: str
    roles: tuple[str, ...]
    revoked_before: datetime | None
    ban_reason: str | None
    banned_until: datetime | None

    def require_welcome(self, issued_at: float) -> None:
        """Raise `Reject` with `banned`, or `revoked_token` for a token issued at this time (Unix seconds)."""
        if self.ban_reason is not None:
            raise Reject(Code.BANNED, ban_message(self.ban_reason, self.banned_until))
        if self.revoked_before is not None and issued_at <= self.revoked_before.timestamp():
            raise Reject(Code.REVOKED_TOKEN)


def ban_message(reason: str, until: datetime | None) -> str:
    """What a banned user is told: until when, and why."""
    when = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
    return f"You are banned{when}: {reason}" if reason else f"You are banned{when}."


class Standings:
    """Answers questions about users in batches."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[str, asyncio.Future[Standing | None]]] = []
        self._asking = False
        self._tasks = Tasks()

    async def of(self, user_id: str) -> Standing | None:
        """A user's standing now, or None for one we do not know. Raises `Reject`: `overloaded`, `unavailable`."""
        if len(self._waiting) >= MAX_WAITING:
            raise Reject(Code.OVERLOADED)
        answer: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((user_id, answer))
        if not self._asking:
            self._asking = True
            self._tasks.spawn(self._ask(), name="standings")
        return await answer

    async def close(self) -> None:
        """Stop asking; who still waits is told `unavailable`."""
        await self._tasks.close()
        _fail(self._waiting, Reject(Code.UNAVAILABLE))

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    found = await self._query({user_id for user_id, _ in batch})
                except asyncio.CancelledError:
                    _fail(batch, Reject(Code.UNAVAILABLE))
                    raise
                except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                    _fail(batch, error)
                    continue
                for user_id, answer in batch:
                    if not answer.done():
                        answer.set_result(found.get(user_id))
        finally:
            self._asking = False

    async def _query(self, user_ids: set[str]) -> dict[str, Standing]:
        async with self._database.autocommit() as connection:
            rows = await connection.execute(_QUERY, {"ids": list(user_ids)})
        return {
            row.id: Standing(row.name, tuple(row.roles), row.revoked_before, row.reason, row.expires_at) for row in rows
        }


def _fail(batch: list[tuple[str, asyncio.Future[Standing | None]]], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
