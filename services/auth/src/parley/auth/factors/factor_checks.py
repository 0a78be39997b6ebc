"""Which second factors somebody has, and whether what they show is one of them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.factors import code_guesses, recovery_codes
from parley.auth.factors.authenticator_apps import AuthenticatorApps
from parley.auth.factors.passkey_ceremonies import PresentedCredential
from parley.auth.factors.passkeys import Passkeys
from parley.auth.factors.recovery_codes import MAX_CODE
from parley.auth.factors.tickets import MAX_TICKET, SECONDS
from parley.auth.login_tables import passkeys, totp
from parley.common.errors import Code, Reject

TOTP = "totp"
PASSKEY = "passkey"
RECOVERY_CODE = "recovery_code"

Ticketed = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TICKET)]
# Python's `\d` takes digits of every script, and `$` alone would let a line end through.
AppCode = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}(?!\n)$", description="of an authenticator app")]


class ShownFactor(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody shows for a second factor: exactly one of these, which `FactorChecks.check` sees to."""

    code: AppCode | None = None
    recovery_code: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE)] | None = None
    passkey: PresentedCredential | None = None

    @property
    def number(self) -> int:
        """How many are shown; none means that the user is to be asked."""
        return sum(each is not None for each in (self.code, self.recovery_code, self.passkey))


class FactorChecks:
    """Asks for second factors and takes them. Users' rows are locked by whoever calls."""

    def __init__(self, apps: AuthenticatorApps, keys: Passkeys) -> None:
        self._apps = apps
        self._keys = keys

    async def methods(self, connection: AsyncConnection, user_id: str) -> list[str]:
        """By what somebody may show a second factor; none where no factor is on."""
        app = select(literal(TOTP)).where(totp.c.user_id == user_id, totp.c.confirmed_at.is_not(None))
        key = select(literal(PASSKEY)).where(passkeys.c.user_id == user_id)
        found = sorted(set((await connection.scalars(app.union(key))).all()), reverse=True)
        return [*found, RECOVERY_CODE] if found else []

    async def question(self, connection: AsyncConnection, user_id: str, methods: list[str]) -> dict[str, Any]:
        """Return what a client is told to ask its user for."""
        options = await self._keys.factor_options(connection, user_id) if PASSKEY in methods else None
        return {"methods": methods, "expires_in": SECONDS, **({"passkey": options} if options is not None else {})}

    async def check(
        self, connection: AsyncConnection, user_id: str, shown: ShownFactor, *, known: bool
    ) -> str | Reject:
        """By what the user has shown that it is them; or the refusal, to be raised once the transaction is committed.

        `known` says that they come from a device on which they were let in before. Raises `Reject` where there is
        nothing to commit: nothing was guessed, or no more guesses are taken.
        """
        if shown.number != 1:
            raise Reject(Code.INVALID_PAYLOAD, "Show a code, a recovery code or a passkey, and one of them alone.")
        # A signature over a challenge of ours cannot be guessed, so it is not counted; nor is a recovery code.
        if shown.passkey is not None:
            await self._keys.use(connection, user_id, shown.passkey, alone=False)
            return PASSKEY
        if shown.recovery_code is not None:
            good = await recovery_codes.take(connection, user_id, shown.recovery_code)
            return (
                RECOVERY_CODE if good else Reject(Code.INVALID_CREDENTIALS, "The recovery code is wrong, or was used.")
            )
        await code_guesses.require_left(connection, user_id, known=known)
        if await self._apps.take(connection, user_id, shown.code or ""):
            # What its user mistyped must not add up over days.
            await code_guesses.forget(connection, user_id, known=known)
            return TOTP
        await code_guesses.count(connection, user_id, known=known)
        return Reject(Code.INVALID_CREDENTIALS, "The code is wrong, or was used.")
