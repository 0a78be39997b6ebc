"""Whether a user is welcome: exists, is not banned, was not revoked. The query behind every connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from parley.auth.tables import bans, users
from parley.common.errors import Code, Reject

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

    def refusal(self, issued_at: float) -> Reject | None:
        """Why this user is kept out: `banned`, or `revoked_token` for a token issued at this time (Unix seconds)."""
        if self.ban_reason is not None:
            return Reject(Code.BANNED, ban_message(self.ban_reason, self.banned_until))
        if self.revoked_before is not None and issued_at <= self.revoked_before.timestamp():
            return Reject(Code.REVOKED_TOKEN)
        return None


def ban_message(reason: str, until: datetime | None) -> str:
    """What a banned user is told: until when, and why."""
    when = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
    return f"You are banned{when}: {reason}" if reason else f"You are banned{when}."


async def standings(connection: AsyncConnection, user_ids: set[str]) -> dict[str, Standing]:
    """The standings now of those among some users whom we know."""
    rows = await connection.execute(_QUERY, {"ids": list(user_ids)})
    return {
        row.id: Standing(row.name, tuple(row.roles), row.revoked_before, row.reason, row.expires_at) for row in rows
    }
