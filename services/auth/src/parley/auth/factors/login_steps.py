"""What comes after a password that was right: a second factor, another password, or nothing; and logins by passkey."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.accounts import PASSWORD, require_strong
from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.accounts.sessions.sessions import Device, Grant, Sessions
from parley.auth.database import Database
from parley.auth.factors import spent_tickets
from parley.auth.factors.factor_checks import PASSKEY, FactorChecks, ShownFactor
from parley.auth.factors.passkey_ceremonies import PresentedCredential
from parley.auth.factors.passkeys import Passkeys
from parley.auth.factors.tickets import SECONDS, Ticket, TicketFor, TicketSeal, binding_of
from parley.auth.metrics import LOGINS, outcome
from parley.auth.settings import AttemptRate
from parley.auth.standing import require_not_banned
from parley.auth.tables import sessions as sessions_table
from parley.auth.tables import users
from parley.auth.user_rows import lock_user, revoke_sessions
from parley.common.errors import Code, Reject
from parley.common.http.addresses import address_key

STEPS_PER_ADDRESS = AttemptRate(120, 60)
"""Second steps and logins by passkey from one address: each is a transaction, and none is slowed like a password."""


class Entered(NamedTuple):
    """Somebody who is in, by what, and which of their sessions were ended for it."""

    grant: Grant
    ended: list[str]


class LoginSteps:
    """Takes the steps of logins that are not done by a password alone."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        passwords: Passwords,
        tickets: TicketSeal,
        checks: FactorChecks,
        keys: Passkeys,
        now: Callable[[], float],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._passwords = passwords
        self._tickets = tickets
        self._checks = checks
        self._keys = keys
        self._now = now
        self._steps = AttemptLimit(STEPS_PER_ADDRESS)

    async def demand(self, connection: AsyncConnection, user: Row[Any], password_hash: str) -> Reject | None:
        """Return what is asked of somebody who has shown their password, before they are let in; None for nothing.

        It is asked in the transaction that would begin their session. Raises `Reject(banned)`.
        """
        methods = await self._checks.methods(connection, user.id)
        if not methods and not user.password_change_required:
            return None
        await require_not_banned(connection, user.id)
        if not methods:
            return self._demand_password(user, password_hash, PASSWORD)
        # Its binding is the password that was shown: whoever changes it meanwhile has taken back this half of a login.
        ticket = self._ticket(TicketFor.SECOND_FACTOR, user, password_hash, PASSWORD)
        question = await self._checks.question(connection, user.id, methods)
        return Reject(Code.SECOND_FACTOR_REQUIRED, data={"ticket": ticket, **question})

    async def second_factor(
        self, text: str, shown: ShownFactor, device: Device, proven_device: Callable[[str], str]
    ) -> Entered:
        """Return a grant for a ticket and a second factor. `proven_device` names the device for the user of an id.

        Raises `Reject` with `invalid_credentials`, `expired_token` (begin again), `rate_limited`, `banned` or
        `password_change_required`.
        """
        self._steps.take(address_key(device.address), time.monotonic())
        with outcome(LOGINS):
            ticket = self._tickets.open(TicketFor.SECOND_FACTOR, text, self._now())
            async with self._database.transaction() as connection:
                user = await self._locked(connection, ticket)
                known = bool(proven_device(user.id))
                shown_by = await self._checks.check(connection, user.id, shown, known=known)
                # What is wrong is returned and not raised: the count of wrong codes has to be committed.
                if isinstance(shown_by, str):
                    # Spent by what was right alone. A wrong code leaves the ticket good, or a slip would cost the
                    # password again.
                    await spent_tickets.spend(connection, text, ticket)
                    result = await self._let_in(connection, user, device, f"{ticket.proven_by}+{shown_by}")
                else:
                    result = shown_by
            return _entered(result)

    async def new_password(self, text: str, password: str, device: Device) -> Entered:
        """Return a grant for a ticket and another password; every session of before ends.

        Raises `Reject` with `expired_token`, `invalid_credentials`, `invalid_payload` (weak, or the one there is),
        `rate_limited`, `overloaded` or `banned`.
        """
        self._steps.take(address_key(device.address), time.monotonic())
        with outcome(LOGINS):
            ticket = self._tickets.open(TicketFor.NEW_PASSWORD, text, self._now())
            async with self._database.autocommit() as connection:
                before = (await connection.execute(select(users).where(users.c.id == ticket.user_id))).first()
            before = _require_bound(before, ticket)
            # The cheap refusals first: to compare and to hash a password takes its turn in a queue.
            require_strong(password, before.username)
            # An administrator wanted another password because this one may be known to others.
            if (await self._passwords.verify(before.password_hash, password)).fits:
                raise Reject(Code.INVALID_PAYLOAD, "Choose another password than the one there is.")
            password_hash = await self._passwords.hash(password)
            async with self._database.transaction() as connection:
                user = await self._locked(connection, ticket)
                await spent_tickets.spend(connection, text, ticket)
                changed = update(users).where(users.c.id == user.id)
                await connection.execute(changed.values(password_hash=password_hash, password_change_required=False))
                # Whoever else knew the password of before may be logged in by it.
                ended = await revoke_sessions(connection, sessions_table.c.user_id == user.id)
                grant = await self._sessions.begin(connection, user, device, ticket.proven_by)
            return Entered(grant, ended)

    async def passkey(self, credential: PresentedCredential, device: Device) -> Entered:
        """Return a grant for a passkey alone, which must have verified its user.

        Raises `Reject` with `invalid_credentials`, `expired_token`, `rate_limited`, `banned` or
        `password_change_required`.
        """
        self._keys.party.require()
        self._steps.take(address_key(device.address), time.monotonic())
        with outcome(LOGINS):
            async with self._database.autocommit() as connection:
                # Only to know whose row to lock; what is proven is looked at under the lock.
                user_id = await self._keys.owner_of(connection, credential)
            async with self._database.transaction() as connection:
                # A passkey's counter is compared and stored under this lock, or two copies of it could be used at once.
                user = await lock_user(connection, user_id) if user_id is not None else None
                if user is None:
                    raise Reject(Code.INVALID_CREDENTIALS, "The passkey was not accepted.")
                await self._keys.use(connection, user.id, credential, alone=True)
                result = await self._let_in(connection, user, device, PASSKEY)
            return _entered(result)

    async def _let_in(
        self, connection: AsyncConnection, user: Row[Any], device: Device, proven_by: str
    ) -> Grant | Reject:
        if user.password_change_required:
            await require_not_banned(connection, user.id)
            return self._demand_password(user, user.password_hash, proven_by)
        return await self._sessions.begin(connection, user, device, proven_by)

    def _demand_password(self, user: Row[Any], password_hash: str, proven_by: str) -> Reject:
        ticket = self._ticket(TicketFor.NEW_PASSWORD, user, password_hash, proven_by)
        return Reject(Code.PASSWORD_CHANGE_REQUIRED, data={"ticket": ticket, "expires_in": SECONDS})

    def _ticket(self, purpose: TicketFor, user: Row[Any], password_hash: str, proven_by: str) -> str:
        return self._tickets.make(purpose, user.id, _binding(user, password_hash), self._now(), proven_by)

    @staticmethod
    async def _locked(connection: AsyncConnection, ticket: Ticket) -> Row[Any]:
        return _require_bound(await lock_user(connection, ticket.user_id), ticket)


def _binding(user: Row[Any], password_hash: str) -> bytes:
    return binding_of(password_hash, str(user.revoked_before))


def _require_bound(user: Row[Any] | None, ticket: Ticket) -> Row[Any]:
    """Return the user of a ticket.

    Raises `Reject` for one of before the password changed, or everything was revoked.
    """
    if user is None or ticket.binding != _binding(user, user.password_hash or ""):
        raise Reject(Code.EXPIRED_TOKEN, "The account has changed meanwhile; begin again.")
    return user


def _entered(result: Grant | Reject) -> Entered:
    if isinstance(result, Reject):
        raise result
    return Entered(result, [])
