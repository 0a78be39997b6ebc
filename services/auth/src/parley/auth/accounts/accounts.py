"""Accounts made here: registration and login."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.guessing.login_limits import LoginAttempt, LoginLimits, Rank, Treatment
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.accounts.sessions.sessions import Device, Grant, Sessions
from parley.auth.database import Database
from parley.auth.metrics import LOGINS, outcome
from parley.auth.names import skeletons, username_key
from parley.auth.password_policy import weakness
from parley.auth.settings import AuthSettings, rate
from parley.auth.tables import username_skeletons, users
from parley.auth.user_rows import insert_local_user, lock_user, named
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code, Reject
from parley.common.http.addresses import address_key

PASSWORD = "password"
"""How who logs in here proves who they are, as their sessions say it."""
MAX_IDS = 500
"""Usernames one statement looks up."""
MAX_SLOWED = 500
"""Logins that are being slowed at a time, and as many again of those who are known; further ones are `overloaded`."""

Demand = Callable[[AsyncConnection, Row[Any], str], Awaitable[Reject | None]]
"""What else is asked of a user who has shown the password of this hash, before they are let in; None for nothing."""

TAKEN = "This username is taken, or looks like one that is."


class Accounts:
    """Who has a username and a password here."""

    def __init__(
        self, database: Database, passwords: Passwords, sessions: Sessions, settings: AuthSettings, demand: Demand
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._demand = demand
        self._open = settings.auth_registration
        self._limits = LoginLimits(rate(settings.auth_login_rate_username), rate(settings.auth_login_rate_address))
        self._registrations = AttemptLimit(rate(settings.auth_register_rate_address))
        self._ids = BatchLoader[str, str](self._ids_of, MAX_IDS)
        self._slowed = 0

    async def close(self) -> None:
        """Stop asking the database; who still waits for it is told `unavailable`."""
        await self._ids.close()

    async def register(self, username: str, password: str, device: Device) -> Grant:
        """Make an account and log it in.

        Raises `Reject` with `forbidden` (registration is off), `already_exists` (also for a name that looks like
        somebody's), `invalid_payload` (a weak password), `rate_limited` or `overloaded`.
        """
        if not self._open:
            raise Reject(Code.FORBIDDEN, "Registration is switched off on this server.")
        origin = address_key(device.address)
        self._registrations.take(origin, time.monotonic())
        require_strong(password, username)
        # The turn first: a flood of registrations must not keep the database from who logs in.
        async with self._passwords.first_turn() as turn:
            async with self._database.autocommit() as connection:
                await _require_unlike_others(connection, username)
            password_hash = await self._passwords.hash(password, turn)
        try:
            async with self._database.transaction() as connection:
                user_id = await insert_local_user(connection, username, password_hash)
                user = await lock_user(connection, user_id)
                if user is None:
                    raise RuntimeError("a row just inserted is missing")
                grant = await self._sessions.begin(connection, user, device, PASSWORD)
        except IntegrityError as error:
            # Unique indexes decide, so that of two who ask at once exactly one gets the name.
            raise Reject(Code.ALREADY_EXISTS, TAKEN) from error
        # Whoever had the name before and deleted their account is no better known than a stranger.
        self._limits.forget(username_key(username))
        self._limits.succeeded(LoginAttempt(username_key(username), origin), time.monotonic())
        return grant

    async def login(self, username: str, password: str, device: Device, proven_device: str = "") -> Grant:
        """Tokens for a username and its password. `proven_device` names a device that has logged in as them before.

        Raises `Reject` with `invalid_credentials` (alike for an unknown user, and after the same time),
        `banned` (only to who knows the password), `rate_limited` or `overloaded`; and with what else is asked of who
        has shown the password, such as `second_factor_required`.
        """
        with outcome(LOGINS):
            attempt = LoginAttempt(username_key(username), address_key(device.address), proven_device)
            async with self._attempted(attempt) as rank:
                result = await self._grant(attempt.username, password, device, rank)
            if isinstance(result, Reject):
                raise result
            return result

    def spares(self, device: str) -> bool:
        """Return whether a login is not refused before its user is known, since its device has a genuine proof."""
        return self._limits.spares(device, time.monotonic())

    def refusal(self, address: str) -> Reject | None:
        """Return why a login from an address is refused before it is read, if it is."""
        return _counted(self._limits.refusal(address_key(address), time.monotonic(), self._passwords.admits))

    async def id_of(self, username: str) -> str | None:
        """Return whose username this is, however it is spelled; those who ask at once are looked up together."""
        return await self._ids.load(username_key(username))

    def refusal_of(self, username: str, address: str) -> Reject | None:
        """Return why a login is refused whatever its password is, if it is."""
        attempt = LoginAttempt(username_key(username), address_key(address))
        return _counted(self._limits.refusal_of(attempt, time.monotonic(), self._passwords.admits))

    async def prove(self, user_id: str, password: str, device: Device, proven: Callable[[str], str]) -> Row[Any]:
        """Return the row of somebody who is logged in, and shows that it is them by their password.

        `proven` names the device, if the user of an id has logged in on it before. It counts as a login.
        Raises `Reject` with `forbidden` (they log in elsewhere), `invalid_credentials`, `rate_limited` or `overloaded`.
        """
        async with self._database.autocommit() as connection:
            user = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        if user is None or user.username_key is None:
            raise Reject(Code.FORBIDDEN, "You log in elsewhere; there is no password of yours here.")
        attempt = LoginAttempt(user.username_key, address_key(device.address), proven(user.id))
        async with self._attempted(attempt) as rank, self._passwords.turn(rank) as turn:
            if not (await self._passwords.verify(user.password_hash, password, turn)).fits:
                raise Reject(Code.INVALID_CREDENTIALS, "The password is wrong.")
        return user

    @asynccontextmanager
    async def _attempted(self, attempt: LoginAttempt) -> AsyncGenerator[Rank]:
        """Count what is done in the block as an attempt, slow it down, and tell its rank. Raises `Reject`."""
        # Counted before it is known whether it fails: else a thousand at once would all find that nothing was counted.
        treatment = self._limits.begin(attempt, time.monotonic())
        try:
            await self._slow_down(treatment)
            yield treatment.rank
        except Reject as rejection:
            if rejection.code is not Code.INVALID_CREDENTIALS:
                # Nobody's guess was wrong: an outage must not use up the attempts of who keeps trying.
                self._limits.harmless(treatment, time.monotonic())
            raise
        # Only failures count, or a busy office behind one address would lock itself out.
        self._limits.harmless(treatment, time.monotonic())
        self._limits.succeeded(attempt, time.monotonic())

    async def _slow_down(self, treatment: Treatment) -> None:
        if not self._passwords.admits(treatment.rank):
            raise Reject(Code.OVERLOADED)
        if not treatment.delay:
            return
        if self._slowed >= MAX_SLOWED * (1 if treatment.rank.stranger else 2):
            raise Reject(Code.OVERLOADED)
        self._slowed += 1
        try:
            await asyncio.sleep(treatment.delay)
        finally:
            self._slowed -= 1

    async def _ids_of(self, names: list[str]) -> Mapping[str, str]:
        query = select(users.c.username_key, users.c.id).where(users.c.username_key.in_(names))
        async with self._database.autocommit() as connection:
            return {row.username_key: row.id for row in await connection.execute(query)}

    async def _grant(self, name: str, password: str, device: Device, rank: Rank) -> Grant | Reject:
        known = select(users.c.id, users.c.password_hash).where(named(name))
        async with self._passwords.turn(rank) as turn:
            async with self._database.autocommit() as connection:
                found = (await connection.execute(known)).first()
            # For nobody it is None, against which a password is verified for as long as for anybody.
            password_hash = found.password_hash if found is not None else None
            verdict = await self._passwords.verify(password_hash, password, turn)
        if not verdict.fits or found is None:
            raise Reject(Code.INVALID_CREDENTIALS)
        # Here alone the password itself is at hand.
        new_hash = await self._passwords.hash(password) if verdict.outdated else None
        async with self._database.transaction() as connection:
            user = await lock_user(connection, found.id)
            if user is None or user.password_hash != password_hash:
                # Changed while the old one was being verified.
                raise Reject(Code.INVALID_CREDENTIALS)
            if new_hash is not None:
                await connection.execute(update(users).where(users.c.id == user.id).values(password_hash=new_hash))
            # In the same transaction as the session: a factor that is switched on meanwhile waits for this lock, or
            # this sees it.
            asked = await self._demand(connection, user, new_hash or user.password_hash)
            return asked or await self._sessions.begin(connection, user, device, PASSWORD)


def _counted(refusal: Reject | None) -> Reject | None:
    if refusal is not None:
        LOGINS.labels(str(refusal.code)).inc()
    return refusal


def require_strong(password: str, username: str) -> None:
    """Raise `Reject(invalid_payload)` for a password that nobody of this name may choose."""
    if (why := weakness(password, username)) is not None:
        raise Reject(Code.INVALID_PAYLOAD, f"{why[0].upper()}{why[1:]}.")


async def _require_unlike_others(connection: AsyncConnection, username: str) -> None:
    """Refuse a taken name before it costs a hash; the indexes decide in the end."""
    alike = select(username_skeletons.c.user_id).where(username_skeletons.c.skeleton.in_(skeletons(username)))
    taken = select(users.c.id).where(named(username))
    if await connection.scalar(taken) is not None or await connection.scalar(alike) is not None:
        raise Reject(Code.ALREADY_EXISTS, TAKEN)
