"""What a running auth service consists of, typed, for its endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy import select

from parley.auth.accounts.accounts import Accounts
from parley.auth.accounts.data_export import DataExport
from parley.auth.accounts.deletions import Deletions
from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.guessing.device_proofs import DeviceProofs
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.accounts.own_account import OwnAccount
from parley.auth.accounts.sessions.sessions import Sessions
from parley.auth.clock import DatabaseClock
from parley.auth.database import Database
from parley.auth.factors.login_steps import LoginSteps
from parley.auth.factors.own_factors import OwnFactors
from parley.auth.factors.passkeys import Passkeys
from parley.auth.identity.authenticator import Authenticator
from parley.auth.mail.mailer import Mailer
from parley.auth.mail.own_address import OwnAddress
from parley.auth.mail.password_resets import PasswordResets
from parley.auth.moderation.address_bans import AddressBans
from parley.auth.moderation.kick_records import KickRecords
from parley.auth.moderation.kicks import Gateways
from parley.auth.oidc.logins import OpenIdLogins
from parley.auth.settings import AuthSettings
from parley.auth.tables import users
from parley.auth.tokens.signing import Signer
from parley.auth.user_rows import named
from parley.common.http.api import bearer_token
from parley.common.wire.identity import Authenticate
from parley.framework import Bus, Code, Identity, Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything the lifespan of the app opened."""

    settings: AuthSettings
    bus: Bus
    database: Database
    signer: Signer
    passwords: Passwords
    accounts: Accounts
    sessions: Sessions
    authenticator: Authenticator
    gateways: Gateways
    kicks: KickRecords
    address_bans: AddressBans
    logins: OpenIdLogins
    clock: DatabaseClock
    device_proofs: DeviceProofs
    deletions: Deletions
    own_account: OwnAccount
    data_export: DataExport
    account_changes: AttemptLimit
    mailer: Mailer
    own_address: OwnAddress
    password_resets: PasswordResets
    passkeys: Passkeys
    login_steps: LoginSteps
    own_factors: OwnFactors


def components_of(app: FastAPI) -> Components:
    """Return the components of a started app.

    Of one that was not started there are none, and this raises `AttributeError`.
    """
    return app.state.components


async def current(request: Request) -> Components:
    """Return the components behind a request, for endpoints that take `Current`."""
    return components_of(request.app)


Current = Annotated[Components, Depends(current)]


async def any_bearer(request: Request, components: Current) -> Identity:
    """Return who sends a request, with a token of any kind. Raises `Reject` (401), or `banned`."""
    return await components.authenticator.authenticate(Authenticate(bearer_token(request)))


AnyBearer = Annotated[Identity, Depends(any_bearer)]


async def bearer(identity: AnyBearer) -> Identity:
    """Return the user who sends a request: not a server with an API key, nor whoever sees with their eyes.

    Raises `Reject`.
    """
    # A key that leaks, or an administrator who looks on, must not change a password or delete an account.
    if identity.scopes is not None:
        raise Reject(Code.FORBIDDEN, "This is for the user themselves; an API key or a token to look on is no login.")
    return identity


Bearer = Annotated[Identity, Depends(bearer)]


def public_url(request: Request, components: Components) -> str:
    """Return where people reach this deployment, without a slash at the end."""
    return components.settings.auth_public_url or str(request.base_url).rstrip("/")


def link_url(request: Request, components: Components) -> str:
    """Return what links in mails begin with; empty where that is not configured.

    A Host header is whatever its sender likes, and the mail goes to somebody else: only what is printed has it.
    """
    configured = components.settings.auth_public_url
    return configured or (public_url(request, components) if components.mailer.prints else "")


async def issue_admin_token(app: FastAPI, ttl_seconds: int) -> str:
    """Return an access token of the configured first administrator, for a started app in this process.

    For the one-command stack, which prints it; it cannot be refreshed. Raises `Reject(not_found)` when that user does
    not exist, which `ensure_first_admin` rules out unless the username setting was changed without a password.
    """
    components = components_of(app)
    async with components.database.transaction() as connection:
        known = select(users.c.id).where(named(components.settings.auth_admin_username))
        user_id = await connection.scalar(known)
        return await components.sessions.access_token(connection, user_id or "", ttl_seconds)
