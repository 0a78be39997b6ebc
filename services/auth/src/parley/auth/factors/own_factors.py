"""What somebody who is logged in does with their own factors: each change asks for a proof of some minutes before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.accounts import Accounts
from parley.auth.accounts.own_account import Proof, lock_proved
from parley.auth.database import Database
from parley.auth.factors import passkeys, recovery_codes, totp_codes
from parley.auth.factors.authenticator_apps import AuthenticatorApps
from parley.auth.factors.factor_checks import FactorChecks, ShownFactor
from parley.auth.factors.passkey_ceremonies import NewCredential
from parley.auth.factors.passkeys import PasskeyDetails, Passkeys
from parley.auth.factors.tickets import TicketFor, TicketSeal, binding_of
from parley.auth.login_tables import code_guesses, totp
from parley.auth.login_tables import passkeys as passkeys_table
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

ISSUER = "Parley"


class FactorsOverview(BaseModel):
    """Which second factors a user has, as they and administrators see it: no secret is in it."""

    totp_since: datetime | None = Field(description="since when an authenticator app is in use; null: none is")
    recovery_codes_left: int
    passkeys: list[PasskeyDetails] = Field(description="newest first")


class OwnFactors:
    """Switches factors on and off for their users."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        tickets: TicketSeal,
        apps: AuthenticatorApps,
        keys: Passkeys,
        checks: FactorChecks,
        now: Callable[[], float],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._tickets = tickets
        self._apps = apps
        self._keys = keys
        self._checks = checks
        self._now = now

    async def overview(self, user_id: str) -> FactorsOverview:
        """Return what a user has switched on; nothing is proven by asking. Raises `Reject` in an outage."""
        async with self._database.autocommit() as connection:
            return FactorsOverview(
                totp_since=await connection.scalar(select(totp.c.confirmed_at).where(totp.c.user_id == user_id)),
                recovery_codes_left=await recovery_codes.left(connection, user_id),
                passkeys=await passkeys.listed(connection, user_id),
            )

    async def prove(self, identity: Identity, proof: Proof, shown: ShownFactor) -> str:
        """Return a ticket for the password and, where a factor is on, for one of those.

        Raises `Reject` as `Accounts.prove` does, and with `second_factor_required` where one is missing.
        """
        proved = await self._accounts.prove(identity.user_id, proof.password, proof.device, proof.proven)
        async with self._database.transaction() as connection:
            # The password may have been changed while it was being verified.
            user = await lock_proved(connection, proved)
            methods = await self._checks.methods(connection, user.id)
            shown_by: str | Reject = ""
            if methods and not shown.number:
                question = await self._checks.question(connection, user.id, methods)
                shown_by = Reject(Code.SECOND_FACTOR_REQUIRED, data=question)
            elif methods:
                known = bool(proof.proven(user.id))
                shown_by = await self._checks.check(connection, user.id, shown, known=known)
        # Raised here, once the count of wrong codes is committed.
        if isinstance(shown_by, Reject):
            raise shown_by
        binding = binding_of(identity.login, user.password_hash)
        return self._tickets.make(TicketFor.PROOF, user.id, binding, self._now(), shown_by)

    async def begin_app(self, identity: Identity, proof: str) -> tuple[str, str]:
        """Return a new secret for an authenticator app, and the same as a link. It counts once a code of it was shown.

        Raises `Reject` for a proof that is none, and with `already_exists`.
        """
        async with self._database.transaction() as connection:
            user = await self._proved(connection, identity, proof)
            secret = await self._apps.begin(connection, user.id)
        return secret, totp_codes.provisioning_uri(secret, user.username, ISSUER)

    async def confirm_app(self, identity: Identity, code: str) -> list[str]:
        """Have an app in use from now on; returns recovery codes if it is the first factor.

        Raises `Reject` with `not_found` where none was begun, or `invalid_credentials`.
        """
        async with self._database.transaction() as connection:
            user = await _locked(connection, identity)
            # Looked at before this one counts: recovery codes come with the first factor.
            first = not await self._checks.methods(connection, user.id)
            if not await self._apps.confirm(connection, user.id, code):
                raise Reject(Code.INVALID_CREDENTIALS, "The code is wrong. Is the clock of the device right?")
            return await recovery_codes.make(connection, user.id) if first else []

    async def remove_app(self, identity: Identity, proof: str) -> None:
        """Switch an authenticator app off. Raises `Reject`, also with `not_found`."""
        async with self._database.transaction() as connection:
            user = await self._proved(connection, identity, proof)
            if not await self._apps.remove(connection, user.id):
                raise Reject(Code.NOT_FOUND, "No authenticator app is in use.")
            await self._tidy(connection, user.id)

    async def new_recovery_codes(self, identity: Identity, proof: str) -> list[str]:
        """Other recovery codes in place of all before. Raises `Reject`, with `not_found` where no factor is on."""
        async with self._database.transaction() as connection:
            user = await self._proved(connection, identity, proof)
            if not await self._checks.methods(connection, user.id):
                raise Reject(Code.NOT_FOUND, "There is no second factor to recover.")
            return await recovery_codes.make(connection, user.id)

    async def passkey_options(self, identity: Identity, proof: str) -> dict[str, Any]:
        """Return what a browser is asked to make a passkey. Raises `Reject`."""
        async with self._database.transaction() as connection:
            user = await self._proved(connection, identity, proof)
            return await self._keys.registration_options(connection, user, identity.login)

    async def register_passkey(
        self, identity: Identity, credential: NewCredential, name: str
    ) -> tuple[PasskeyDetails, list[str]]:
        """Keep a new passkey; with recovery codes if it is the first factor. Raises `Reject`."""
        async with self._database.transaction() as connection:
            user = await _locked(connection, identity)
            first = not await self._checks.methods(connection, user.id)
            details = await self._keys.register(connection, user, identity.login, credential, name)
            return details, await recovery_codes.make(connection, user.id) if first else []

    async def rename_passkey(self, identity: Identity, passkey_id: str, name: str) -> PasskeyDetails:
        """Give a passkey another name. Raises `Reject(not_found)`."""
        async with self._database.transaction() as connection:
            return await passkeys.rename(connection, identity.user_id, passkey_id, name)

    async def remove_passkey(self, identity: Identity, passkey_id: str, proof: str) -> None:
        """Forget a passkey. Raises `Reject`, also with `not_found`."""
        async with self._database.transaction() as connection:
            user = await self._proved(connection, identity, proof)
            mine = (passkeys_table.c.user_id == user.id) & (passkeys_table.c.id == passkey_id)
            if not await passkeys.remove(connection, mine):
                raise Reject(Code.NOT_FOUND, "You have no such passkey.")
            await self._tidy(connection, user.id)

    async def reset(self, connection: AsyncConnection, user_id: str) -> list[str]:
        """Forget all factors of a user whose row is locked, for an administrator; returns which there were."""
        # For the audit log; afterwards there is nothing left to tell.
        methods = await self._checks.methods(connection, user_id)
        await self._apps.remove(connection, user_id)
        await passkeys.remove(connection, passkeys_table.c.user_id == user_id)
        await connection.execute(delete(code_guesses).where(code_guesses.c.user_id == user_id))
        await recovery_codes.remove(connection, user_id)
        return methods

    async def _proved(self, connection: AsyncConnection, identity: Identity, proof: str) -> Row[Any]:
        """Return the locked row of somebody who shows a proof of this session."""
        ticket = self._tickets.open(TicketFor.PROOF, proof, self._now())
        user = await _locked(connection, identity)
        if ticket.user_id != user.id or ticket.binding != binding_of(identity.login, user.password_hash):
            raise Reject(Code.INVALID_CREDENTIALS, "This proof is not yours, or not of this session.")
        if not ticket.proven_by and (methods := await self._checks.methods(connection, user.id)):
            # Made before there was a factor to show.
            question = await self._checks.question(connection, user.id, methods)
            raise Reject(Code.SECOND_FACTOR_REQUIRED, data=question)
        return user

    async def _tidy(self, connection: AsyncConnection, user_id: str) -> None:
        """Forget recovery codes that stand in for nothing any more."""
        if not await self._checks.methods(connection, user_id):
            await recovery_codes.remove(connection, user_id)


async def _locked(connection: AsyncConnection, identity: Identity) -> Row[Any]:
    user = await lock_user(connection, identity.user_id)
    if user is None or user.username is None:
        raise Reject(Code.FORBIDDEN, "You log in elsewhere, and so do your factors.")
    return user
