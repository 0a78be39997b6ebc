"""Logouts that a provider tells of (OpenID Connect Back-Channel Logout 1.0): what came from its session ends, too."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, Table, delete, func, or_, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.sessions.sessions import EndedSession
from parley.auth.database import Database
from parley.auth.login_tables import login_codes, provider_accounts, provider_logouts, provider_sessions
from parley.auth.oidc.provider_tokens import LogoutNotice, refused
from parley.auth.tables import sessions
from parley.auth.user_rows import lock_user, revoke_sessions

KEPT = timedelta(hours=1)
"""How long a logout token is remembered: it is refused by its age long before."""


async def end_sessions(database: Database, notice: LogoutNotice) -> list[EndedSession]:
    """End what a logout token names; returns what ended, for whoever tells the gateways.

    Raises `Reject(invalid_token)` for one that was taken before.
    """
    async with database.transaction() as connection:
        await connection.execute(delete(provider_logouts).where(provider_logouts.c.at < func.clock_timestamp() - KEPT))
        taken = insert(provider_logouts).values(
            issuer=notice.issuer, id=notice.id, subject=notice.subject, provider_session=notice.provider_session
        )
        once = taken.on_conflict_do_nothing().returning(provider_logouts.c.id)
        if (await connection.execute(once)).first() is None:
            raise refused("this logout was told before")
        # Whoever exchanges a code takes this lock before looking for logouts, so either of the two sees the other.
        for user_id in await _affected(connection, notice):
            await lock_user(connection, user_id)
        # A login that has come back and is not exchanged yet would begin a session after this logout.
        await connection.execute(delete(login_codes).where(_meant(login_codes, notice)))
        gone = delete(provider_sessions).where(_meant(provider_sessions, notice))
        rows = await connection.execute(gone.returning(provider_sessions.c.user_id, provider_sessions.c.session_id))
        found = [EndedSession(row.user_id, row.session_id) for row in rows]
        # Of those that had ended before gateways were told then.
        ended = set(await revoke_sessions(connection, sessions.c.id.in_([each.session_id for each in found])))
        return [each for each in found if each.session_id in ended]


async def _affected(connection: AsyncConnection, notice: LogoutNotice) -> list[str]:
    """Return whose sessions it may be about, in one order for all who lock more than one."""
    by_session = [select(table.c.user_id).where(_meant(table, notice)) for table in (provider_sessions, login_codes)]
    by_subject = select(provider_accounts.c.user_id).where(
        provider_accounts.c.issuer == notice.issuer, provider_accounts.c.subject == notice.subject
    )
    return sorted((await connection.scalars(union(*by_session, by_subject))).all())


def _meant(table: Table, notice: LogoutNotice) -> ColumnElement[bool]:
    """Return the condition that a row of sessions or codes is of what the notice names.

    A row whose session the provider did not name may be of any session of its user, so it is.
    """
    same_user = table.c.subject == notice.subject
    if not notice.provider_session:
        return (table.c.issuer == notice.issuer) & same_user
    named = table.c.provider_session == notice.provider_session
    if notice.subject:
        named &= same_user
    return (table.c.issuer == notice.issuer) & or_(named, (table.c.provider_session == "") & same_user)
