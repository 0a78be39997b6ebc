"""The first administrator, made when the service starts."""

from __future__ import annotations

import secrets
import sys

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.database import STARTUP_LOCK, Database
from parley.auth.login_tables import emails, mail_tokens, passkeys, provider_accounts, recovery_codes, totp
from parley.auth.settings import AuthSettings
from parley.auth.tables import users
from parley.auth.user_rows import insert_local_user, lock_user, named, revoke_all
from parley.common.process.logs import get_logger
from parley.common.wire.rights import ADMIN_ROLE

log = get_logger(__name__)


async def ensure_first_admin(database: Database, passwords: Passwords, settings: AuthSettings) -> None:
    """See to it that somebody can administrate.

    With a configured password, the configured user exists, is an administrator and has that password; a changed one
    revokes what was issued for the old. Whoever had the name before and is no administrator loses every way in.
    Without one, and if there is no administrator yet, one is made with a
    generated password, which is written to standard output once and can never be read again.
    """
    username, password = settings.auth_admin_username, settings.auth_admin_password.get_secret_value()
    async with database.transaction() as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(STARTUP_LOCK)))
        if password:
            await _install(connection, passwords, username, password)
            return
        # Not by the name: who administrates today may have another one than the setting says.
        any_admin = select(users.c.id).where(users.c.roles.contains([ADMIN_ROLE]), users.c.kind == "local").limit(1)
        if await connection.scalar(any_admin) is not None:
            return
        password = secrets.token_urlsafe(18)
        await _install(connection, passwords, username, password)
    # Not through the log, which is kept and shipped to places where a password has no business.
    sys.stdout.write(f"\nThe first administrator is {username!r} with password {password!r}. Shown only now.\n\n")
    sys.stdout.flush()


async def _install(connection: AsyncConnection, passwords: Passwords, username: str, password: str) -> None:
    found = (await connection.execute(select(users).where(named(username)))).first()
    if found is None:
        password_hash = await passwords.hash(password)
        await insert_local_user(connection, username, password_hash, [ADMIN_ROLE])
        log.info("first administrator made", username=username)
        return
    await lock_user(connection, found.id)
    mine = update(users).where(users.c.id == found.id)
    fits = (await passwords.verify(found.password_hash, password)).fits
    if ADMIN_ROLE not in found.roles:
        if not fits:
            await _forget_ways_in(connection, found.id)
        await connection.execute(mine.values(roles=func.array_append(users.c.roles, literal(ADMIN_ROLE))))
    if not fits:
        await connection.execute(mine.values(password_hash=await passwords.hash(password)))
        await revoke_all(connection, found.id)
        log.info("the administrator's password follows the setting", username=username)


async def _forget_ways_in(connection: AsyncConnection, user_id: str) -> None:
    """Forget by what else somebody gets into an account that is to administrate: they have registered its name.

    A passkey lets in by itself, and so does a provider; a password is reset by who reads the address's mail.
    """
    log.warning("somebody else had the administrator's username; their ways in are forgotten", user=user_id)
    for table in (passkeys, totp, recovery_codes, emails, mail_tokens, provider_accounts):
        await connection.execute(delete(table).where(table.c.user_id == user_id))
