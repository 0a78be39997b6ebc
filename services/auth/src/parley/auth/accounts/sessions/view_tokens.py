"""Seeing what somebody sees: a short token that reads in their place and never writes, as a session that they see."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.sessions.refresh_seal import SESSION_PREFIX
from parley.auth.tables import sessions
from parley.auth.tokens.signing import Signer
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import READ_EVERYTHING, Identity

VIEW_SECONDS = 600
METHOD = "view"
"""How the session says that it is somebody else's look, in place of how its user logged in."""


class ViewToken(NamedTuple):
    """A token, its session, and until when it is good."""

    token: str
    session_id: str
    expires_at: datetime


async def issue(connection: AsyncConnection, signer: Signer, user: Row[Any], admin: Identity) -> ViewToken:
    """Return a token to read what a user can read, whose row is locked."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    # A token as old as a revocation is refused, also where the clock was set back since.
    issued_at = max(now, user.revoked_before + timedelta(microseconds=1)) if user.revoked_before else now
    ends, session_id = issued_at + timedelta(seconds=VIEW_SECONDS), f"{SESSION_PREFIX}{uuid7().hex}"
    await connection.execute(
        insert(sessions).values(
            id=session_id, user_id=user.id, last_used_at=now, expires_at=ends, usable_until=ends,
            # A row like any login: the user sees that somebody looks, who it is, and ends it.
            device=f"seen by {admin.name}"[:128], address="", method=METHOD,
        )
    )  # fmt: skip
    token = signer.sign(
        user.id, user.name, user.roles, issued_at, VIEW_SECONDS, session_id,
        scopes=(READ_EVERYTHING,), actor=admin.user_id,
    )  # fmt: skip
    return ViewToken(token, session_id, ends)
