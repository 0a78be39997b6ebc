"""Whether a user is welcome: exists, is not banned, was not revoked; and who they are. Every connection asks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.tables import bans, suspensions
from parley.common.errors import Code, Reject
from parley.common.wire.identity import HeldUser
from parley.common.wire.rights import capped


def stands(table: Table) -> ColumnElement[bool]:
    """The condition under which a row of bans or suspensions counts now: not lifted, and not over."""
    return and_(
        table.c.lifted_at.is_(None), or_(table.c.expires_at.is_(None), table.c.expires_at > func.clock_timestamp())
    )


BAN_STANDS = stands(bans)
"""The condition under which a ban keeps its user out now."""
SUSPENSION_STANDS = stands(suspensions)
"""The condition under which a suspension has its user read only now."""

# A session that is not there any more was ended, or is over; without one there is nothing to end. An API key is the
# session of those who come with it.
_FOUND = """
    known.name, known.roles, owner.roles AS owner_roles, known.revoked_before, ban.reason, ban.expires_at,
    suspension.seconds AS suspended_for, suspension.stands IS NOT NULL AS suspended,
    asked.session <> '' AND NOT EXISTS (
        SELECT FROM auth.sessions AS session WHERE session.id = asked.session AND session.user_id = asked.id
            AND session.revoked_at IS NULL AND session.usable_until > clock_timestamp()
    ) AND NOT EXISTS (
        SELECT FROM auth.api_keys AS key WHERE key.id = asked.session AND key.user_id = asked.id
            AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > clock_timestamp())
    ) AS session_over,
    CASE WHEN starts_with(asked.session, 'pk_') THEN (
        SELECT extract(epoch FROM CASE
            WHEN key.previous_until > clock_timestamp() THEN coalesce(key.previous_since, key.created_at)
            ELSE coalesce(key.secret_since, key.created_at) END)::float8
        FROM auth.api_keys AS key WHERE key.id = asked.session AND key.user_id = asked.id
    ) END AS secret_since,
    CASE WHEN starts_with(asked.session, 'pk_') THEN (
        SELECT extract(epoch FROM key.cut_off_since)::float8
        FROM auth.api_keys AS key WHERE key.id = asked.session AND key.user_id = asked.id
    ) END AS cut_off_since
"""
# Of a bot and its owner whoever is kept out for longer, for both.
_AROUND = """
    LEFT JOIN auth.users AS owner ON owner.id = known.owner_id
    LEFT JOIN LATERAL (
        SELECT one.reason, one.expires_at FROM auth.bans AS one
        WHERE one.user_id = ANY (ARRAY[known.id, known.owner_id]) AND one.lifted_at IS NULL
            AND (one.expires_at IS NULL OR one.expires_at > clock_timestamp())
        ORDER BY one.expires_at DESC NULLS FIRST LIMIT 1
    ) AS ban ON true
    LEFT JOIN LATERAL (
        SELECT true AS stands, extract(epoch FROM one.expires_at - clock_timestamp())::float8 AS seconds
        FROM auth.suspensions AS one
        WHERE one.user_id = ANY (ARRAY[known.id, known.owner_id]) AND one.lifted_at IS NULL
            AND (one.expires_at IS NULL OR one.expires_at > clock_timestamp())
        ORDER BY one.expires_at DESC NULLS FIRST LIMIT 1
    ) AS suspension ON true
"""

# Who was kicked is in the audit trail alone: guests and deleted users are kicked as well, of whom there is no row. A
# kick that is still to come was written under a clock that was ahead: it would end whoever comes until then.
_CHECK = text(
    f"""
    SELECT asked.id, asked.session, {_FOUND}, kick.ago AS kicked_ago, kick.reason AS kick_reason,
        (SELECT count(*)::int FROM auth.audit AS entry WHERE entry.action = 'user.kick' AND entry.target = asked.id)
            AS kicks
    FROM unnest(CAST(:ids AS text[]), CAST(:sessions AS text[])) AS asked (id, session)
    LEFT JOIN auth.users AS known ON known.id = asked.id {_AROUND}
    LEFT JOIN LATERAL (
        SELECT extract(epoch FROM clock_timestamp() - entry.at)::float8 AS ago, entry.detail->>'reason' AS reason
        FROM auth.audit AS entry WHERE entry.action = 'user.kick' AND entry.target = asked.id
            AND entry.at <= clock_timestamp()
        ORDER BY entry.at DESC LIMIT 1
    ) AS kick ON true
    """
)

UserAndLogin = tuple[str, str]
"""A user, and the session that their token is of, or an empty one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says about a user at one moment. `ban_reason` is None when no ban stands."""

    name: str
    roles: tuple[str, ...]
    revoked_before: datetime | None
    ban_reason: str | None
    banned_until: datetime | None
    session_over: bool = False
    suspended: bool = False
    suspended_for: float = 0.0
    """Seconds until the suspension ends; 0 for none that ends by itself."""
    secret_since: float | None = None
    """Of who comes by an API key: since when there is the oldest of its secrets that is good (Unix seconds)."""
    cut_off_since: float | None = None
    """Since when there was the youngest of its secrets that was replaced without an overlap; None if none was."""

    def refusal(self, issued_at: float, *, later: bool = False) -> Reject | None:
        """Why this user is kept out: `banned`, or `revoked_token` for a token issued at this time (Unix seconds).

        `later` asks whether what they left to be done then is done: a key that was rotated is the same key.
        """
        # A ban first: somebody who is banned is told so, and not to log in again.
        if self.ban_reason is not None:
            return Reject(Code.BANNED, ban_message(self.ban_reason, self.banned_until))
        if self.revoked_before is not None and issued_at <= self.revoked_before.timestamp():
            return _revoked(issued_at, self.revoked_before.timestamp())
        if self.session_over:
            return Reject(Code.REVOKED_TOKEN, "The session of this token has ended; log in again.")
        # An identity by a key is as old as the secret that was shown. The key stays, so its id alone says nothing.
        if later:
            over = self.cut_off_since is not None and issued_at <= self.cut_off_since
        else:
            over = self.secret_since is not None and issued_at < self.secret_since
        if over:
            return Reject(Code.REVOKED_TOKEN, "The API key was rotated, and the secret of before is good no more.")
        return None


@dataclass(frozen=True, slots=True)
class HeldStanding:
    """What the database says about somebody who has been let in. `standing` is None for who is not in it."""

    standing: Standing | None
    kicks: int
    """How often they were kicked. Kicks are counted, not numbered: of two at once the second may be committed first."""
    kicked_ago: float
    """Seconds since the last kick; infinite when there was none."""
    kick_reason: str

    def refusal(self, held: HeldUser, waited: float, *, must_exist: bool) -> Reject | None:
        """Why this user may not stay, or None. The question was asked `waited` seconds before this was looked up."""
        if self.standing is None and must_exist:
            return gone()
        standing = self.standing
        # A ban before a kick: who is told to log in again would only be refused once more.
        if standing is not None and (refusal := standing.refusal(held.issued_at, later=held.later)) is not None:
            return refusal
        # By their age those are found as well who were recovered after a kick that their connection was before. It
        # grows on the way here, so by itself it would miss who was let in just before a kick.
        kicked = 0 <= held.kicks < self.kicks or held.age + waited > self.kicked_ago
        return Reject(Code.KICKED, self.kick_reason or None) if kicked else None


def gone() -> Reject:
    """The refusal of a token whose user was deleted."""
    return Reject(Code.INVALID_TOKEN, "The user of this token does not exist any more.")


def _revoked(issued_at: float, revoked_at: float) -> Reject:
    """The refusal of a token issued before a revocation, or in the same second as far as anybody can tell.

    Most issuers give `iat` in whole seconds. One of the second of the revocation may be older than it, so it is
    refused, and so is what its issuer makes until that second is over: `retry_after` says when to ask for another.
    """
    second = math.floor(revoked_at)
    # By our own clock, which may be off: it is advice when to ask again, and decides nothing.
    wait = second + 1 - time.time()
    if issued_at != second or wait <= 0:
        return Reject(Code.REVOKED_TOKEN)
    message = "The access token was issued in the second of a revocation; get a new one when that is over."
    return Reject(Code.REVOKED_TOKEN, message, data={"retry_after": math.ceil(wait * 1000) / 1000})


def ban_message(reason: str, until: datetime | None) -> str:
    """What a banned user is told: until when, and why."""
    when = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
    return f"You are banned{when}: {reason}" if reason else f"You are banned{when}."


async def check(connection: AsyncConnection, holders: set[UserAndLogin]) -> dict[UserAndLogin, HeldStanding]:
    """What is known now of some users."""
    asked = list(holders)
    # Two arrays and not a condition for each: one statement, prepared once, for one user and for a thousand.
    ids, sessions = [user_id for user_id, _ in asked], [session for _, session in asked]
    rows = await connection.execute(_CHECK, {"ids": ids, "sessions": sessions})
    return {
        (row.id, row.session): HeldStanding(
            None if row.name is None else _standing(row),
            row.kicks,
            math.inf if row.kicked_ago is None else row.kicked_ago,
            row.kick_reason or "",
        )
        for row in rows
    }


def _standing(row: Row[Any]) -> Standing:
    roles = tuple(row.roles) if row.owner_roles is None else capped(row.roles, row.owner_roles)
    return Standing(
        row.name, roles, row.revoked_before, row.reason, row.expires_at,
        session_over=row.session_over, suspended=row.suspended, suspended_for=row.suspended_for or 0.0,
        secret_since=row.secret_since, cut_off_since=row.cut_off_since,
    )  # fmt: skip


async def require_not_banned(connection: AsyncConnection, user_id: str) -> None:
    """Raise `Reject(banned)` if a ban of this user stands."""
    standing = select(bans.c.reason, bans.c.expires_at).where(bans.c.user_id == user_id, BAN_STANDS)
    if (ban := (await connection.execute(standing)).first()) is not None:
        raise Reject(Code.BANNED, ban_message(ban.reason, ban.expires_at))
