"""What a running auth service consists of, typed, for its endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from parley.auth.accounts import Accounts
from parley.auth.database import Database
from parley.auth.gateways import Gateways
from parley.auth.identities import Identities
from parley.auth.refresh_tokens import RefreshTokens
from parley.auth.settings import Settings
from parley.auth.signing import Signer
from parley.common.http.api import bearer_token
from parley.common.wire.identity import Authenticate
from parley.framework import Bus, Code, Identity, Reject


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the lifespan of the app opened."""

    settings: Settings
    bus: Bus
    database: Database
    signer: Signer
    accounts: Accounts
    refresh_tokens: RefreshTokens
    identities: Identities
    gateways: Gateways


def services_of(app: FastAPI) -> Services:
    """The services of a started app."""
    return app.state.services


async def current(request: Request) -> Services:
    """The services behind a request."""
    return services_of(request.app)


Current = Annotated[Services, Depends(current)]


async def bearer(request: Request, services: Current) -> Identity:
    """Who sends a request. Raises `Reject` (401), or `banned`."""
    return await services.identities.authenticate(Authenticate(bearer_token(request)))


Bearer = Annotated[Identity, Depends(bearer)]


async def administrator(identity: Bearer) -> Identity:
    """The administrator who sends a request. Raises `Reject` (401 without a token, 403 without the role)."""
    if not identity.is_admin:
        raise Reject(Code.FORBIDDEN, "Only administrators may do this.")
    return identity


Admin = Annotated[Identity, Depends(administrator)]
