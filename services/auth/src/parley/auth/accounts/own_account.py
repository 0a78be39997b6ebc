"""What somebody who is logged in does with their own account: its password, its names, its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Row, exists, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.accounts import Accounts, require_strong
from parley.auth.accounts.deletions import Deletions
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.accounts.sessions.sessions import Device
from parley.auth.database import Database
from parley.auth.full_admins import require_another_full_admin
from parley.auth.login_tables import provider_accounts, provider_sessions
from parley.auth.names import check_display_name
from parley.auth.password_policy import normal
from parley.auth.tables import api_keys, bans, sessions, suspensions, users
from parley.auth.user_rows import lock_user, require_unlike_others, revoke_sessions
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

T = TypeVar("T")

FRESH_SECONDS = 600
"""How old a login at a provider may be to stand for a password, which who has none cannot be asked for."""


class Proof(NamedTuple):
    """By what somebody shows again that an account is theirs: the password, and what they come from."""

    password: str
    device: Device
    proven: Callable[[str], str]
    """What names the device, if the user of an id has logged in on it before; else empty."""


class OwnAccount:
    """Changes and deletes accounts for their owners."""

    def __init__(self, database: Database, passwords: Passwords, accounts: Accounts, deletions: Deletions) -> None:
        self._database = database
        self._passwords = passwords
        self._accounts = accounts
        self._deletions = deletions

    async def read(self, user_id: str) -> Row[Any] | None:
        """Return the row of a user; None for who logs in elsewhere and is not known yet."""
        async with self._database.autocommit() as connection:
            return (await connection.execute(select(users).where(users.c.id == user_id))).first()

    async def kept(self, user_id: str) -> dict[str, list[dict[str, Any]]]:
        """What else is kept of somebody, the oldest first: logins elsewhere, bots and their keys, bans, suspensions."""
        mine = users.alias("mine")
        their_bots = select(mine.c.id).where(mine.c.owner_id == user_id)
        queries = {
            "identity": select(
                provider_accounts.c.issuer, provider_accounts.c.subject, provider_accounts.c.name,
                provider_accounts.c.address, provider_accounts.c.created_at, provider_accounts.c.last_login_at,
            ).where(provider_accounts.c.user_id == user_id).order_by(provider_accounts.c.created_at),
            "bot": select(users.c.id, users.c.name, users.c.roles, users.c.created_at)
            .where(users.c.owner_id == user_id).order_by(users.c.created_at),
            "api_key": select(
                api_keys.c.id, api_keys.c.user_id, api_keys.c.name, api_keys.c.scopes, api_keys.c.created_at,
                api_keys.c.expires_at, api_keys.c.last_used_at, api_keys.c.revoked_at,
            ).where(api_keys.c.user_id.in_(their_bots)).order_by(api_keys.c.created_at),
            "ban": select(bans.c.reason, bans.c.created_at, bans.c.expires_at, bans.c.lifted_at)
            .where(bans.c.user_id == user_id).order_by(bans.c.created_at),
            "suspension": select(
                suspensions.c.reason, suspensions.c.created_at, suspensions.c.expires_at, suspensions.c.lifted_at
            ).where(suspensions.c.user_id == user_id).order_by(suspensions.c.created_at),
        }  # fmt: skip
        async with self._database.autocommit() as connection:
            return {
                kind: [dict(row) for row in (await connection.execute(query)).mappings()]
                for kind, query in queries.items()
            }

    async def change_password(self, identity: Identity, proof: Proof, password: str, *, end_others: bool) -> list[str]:
        """Give an account another password; returns the ids of the other sessions, if they are to end.

        Raises `Reject` as `Accounts.prove` does, and with `invalid_payload` for a weak one, or the same
        where an administrator wants another.
        """
        proved = await self._accounts.prove(identity.user_id, proof.password, proof.device, proof.proven)
        require_strong(password, proved.username)
        if proved.password_change_required and normal(password) == normal(proof.password):
            raise Reject(Code.INVALID_PAYLOAD, "Choose another password than the one there is.")
        # Before the transaction: a hash takes a tenth of a second, for which no row is to be locked.
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            await lock_proved(connection, proved)
            changed = update(users).where(users.c.id == proved.id)
            await connection.execute(changed.values(password_hash=password_hash, password_change_required=False))
            if not end_others:
                return []
            # A token without a session, such as that of a one-command stack, has no session to keep.
            others: ColumnElement[bool] = sessions.c.id != identity.login if identity.login else true()
            return await revoke_sessions(connection, (sessions.c.user_id == proved.id) & others)

    async def update(self, user_id: str, changes: dict[str, str | None]) -> None:
        """Change a display name or an avatar.

        Raises `Reject` with `forbidden` for who logs in elsewhere, `invalid_payload`, or `already_exists` for a name
        that looks like somebody else's username.
        """
        async with self._database.transaction() as connection:
            user = await lock_user(connection, user_id)
            if user is None or user.kind != "local":
                raise Reject(Code.FORBIDDEN, "Your name and avatar are those of where you log in.")
            if (name := changes.get("name")) is not None:
                check_display_name(name)
                await require_unlike_others(connection, name, own=user_id)
            if changes:
                await connection.execute(update(users).where(users.c.id == user_id).values(**changes))

    async def delete(
        self, identity: Identity, proof: Proof | None, also: Callable[[AsyncConnection, list[str]], Awaitable[T]]
    ) -> T:
        """Delete an account; chat is asked to erase what was written, until it has.

        Without a proof it takes a login at a provider of a short while ago. `also` is done in the same transaction,
        with the ids of all who are gone; this returns what it does. Raises `Reject` as `Accounts.prove` and
        `lock_fresh` do, and with `forbidden` for the last administrator.
        """
        proved = None
        if proof is not None:
            proved = await self._accounts.prove(identity.user_id, proof.password, proof.device, proof.proven)
        async with self._database.transaction() as connection:
            # A password was verified before the lock, which is not held for as long as that takes. What was proven is
            # compared again under it.
            user = await (lock_fresh(connection, identity) if proved is None else lock_proved(connection, proved))
            await require_another_full_admin(connection, user)
            return await also(connection, await self._deletions.begin(connection, user.id))


async def lock_proved(connection: AsyncConnection, proved: Row[Any]) -> Row[Any]:
    """Return the locked row of somebody whom `Accounts.prove` returned.

    Raises `Reject` if the password changed meanwhile.
    """
    user = await lock_user(connection, proved.id)
    if user is None or user.password_hash != proved.password_hash:
        raise Reject(Code.INVALID_CREDENTIALS)
    return user


async def lock_fresh(connection: AsyncConnection, identity: Identity) -> Row[Any]:
    """Return the locked row of somebody without a password, who has just logged in at a provider.

    Tokens are refreshed for months and are stolen; a session cannot be begun but at the provider, so its age says
    when its user was seen last. Raises `Reject` with `fresh_login_required`, `invalid_payload` for who has a password
    to show, and `forbidden` for users whose tokens others issue: there is no login of theirs to look at.
    """
    user = await lock_user(connection, identity.user_id)
    if user is not None and user.password_hash is not None:
        raise Reject(Code.INVALID_PAYLOAD, "Your account has a password; show it.")
    age: Any = func.extract("epoch", func.clock_timestamp() - sessions.c.created_at)
    session = select(age).where(sessions.c.id == identity.login, sessions.c.user_id == identity.user_id)
    at_provider = provider_sessions.c.session_id == sessions.c.id
    seconds = await connection.scalar(session.where(sessions.c.revoked_at.is_(None), exists().where(at_provider)))
    if user is None or seconds is None:
        raise Reject(Code.FORBIDDEN, "You log in elsewhere; whoever lets you in there can have your account deleted.")
    if seconds > FRESH_SECONDS:
        raise Reject(Code.FRESH_LOGIN_REQUIRED, data={"max_age": FRESH_SECONDS})
    return user
