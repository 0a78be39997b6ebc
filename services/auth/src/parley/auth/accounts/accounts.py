"""Accounts made here: registration and login."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from parley.auth.accounts.attempt_throttle import AttemptThrottle, address_key
from parley.auth.accounts.passwords import Passwords
from parley.auth.accounts.sessions import Device, Grant, Sessions
from parley.auth.database import Database
from parley.auth.metrics import LOGINS, outcome
from parley.auth.settings import Settings, rate
from parley.auth.tables import users
from parley.auth.user_rows import lock_user, named, new_user_id
from parley.common.errors import Code, Reject

PASSWORD = "password"
"""How who logs in here proves who they are, as their sessions say it."""


class Accounts:
    """Who has a username and a password here."""

    def __init__(self, database: Database, passwords: Passwords, sessions: Sessions, settings: Settings) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._open = settings.auth_registration
        self._by_username = AttemptThrottle("login user", rate(settings.auth_login_rate_username))
        self._by_address = AttemptThrottle("login address", rate(settings.auth_login_rate_address))
        self._registrations = AttemptThrottle("register address", rate(settings.auth_register_rate_address))

    async def register(self, username: str, password: str, device: Device) -> Grant:
        """Make an account and log it in.

        Raises `Reject` with `forbidden` (registration is off), `already_exists`, `rate_limited` or `overloaded`.
        """
        if not self._open:
            raise Reject(Code.FORBIDDEN, "Registration is switched off on this server.")
        await self._registrations.take(address_key(device.address))
        password_hash = await self._passwords.hash(password)
        try:
            async with self._database.transaction() as connection:
                user_id = new_user_id()
                await connection.execute(
                    insert(users).values(
                        id=user_id, username=username, name=username, password_hash=password_hash, kind="local"
                    )
                )
                user = await lock_user(connection, user_id)
                if user is None:
                    raise RuntimeError("a row just inserted is missing")
                return await self._sessions.begin(connection, user, device, PASSWORD)
        except IntegrityError as error:
            # The unique index decides, so that of two who ask at once exactly one gets the name.
            raise Reject(Code.ALREADY_EXISTS, "This username is taken.") from error

    async def login(self, username: str, password: str, device: Device) -> Grant:
        """Tokens for a username and its password.

        Raises `Reject` with `invalid_credentials` (alike for an unknown user, and after the same time),
        `banned` (only to who knows the password), `rate_limited` or `overloaded`.
        """
        with outcome(LOGINS):
            origin, name = address_key(device.address), username.lower()
            await self._by_address.take(origin)
            await self._by_username.take(name)
            try:
                grant = await self._grant(name, password, device)
            except Reject as rejection:
                if rejection.retryable:
                    # Nobody's guess was wrong: an outage must not use up the attempts of who keeps trying.
                    await self._give_back(origin, name)
                raise
            # Only failures count, or a busy office behind one address would lock itself out.
            await self._give_back(origin, name)
            return grant

    async def _grant(self, name: str, password: str, device: Device) -> Grant:
        async with self._database.autocommit() as connection:
            known = select(users.c.id, users.c.password_hash).where(named(name))
            found = (await connection.execute(known)).first()
        password_hash = found.password_hash if found is not None else None
        if not await self._passwords.verify(password_hash, password) or found is None:
            raise Reject(Code.INVALID_CREDENTIALS)
        async with self._database.transaction() as connection:
            user = await lock_user(connection, found.id)
            if user is None or user.password_hash != password_hash:
                # Changed while the old one was being verified.
                raise Reject(Code.INVALID_CREDENTIALS)
            return await self._sessions.begin(connection, user, device, PASSWORD)

    async def _give_back(self, origin: str, name: str) -> None:
        await self._by_address.give_back(origin)
        await self._by_username.give_back(name)
