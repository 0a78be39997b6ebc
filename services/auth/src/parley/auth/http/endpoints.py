"""`/auth`: accounts and tokens over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parley.auth.accounts.sessions.device_names import device_name
from parley.auth.accounts.sessions.refresh_seal import MAX_REFRESH_TOKEN
from parley.auth.accounts.sessions.sessions import Device, Grant, ReusedToken
from parley.auth.components import Current, public_url
from parley.auth.http.device_cookie import device_for, remember_device
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/auth", tags=["auth"])

JWKS_MAX_AGE = 300
"""Seconds a verifier may keep our public keys."""


class Credentials(msgspec.Struct, frozen=True):
    """A username (letters, digits, `_`, `.`, `-`; case does not matter) and a password."""

    # Python's `$` alone would let a line end through.
    username: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{3,32}(?!\n)$")]
    password: Annotated[str, msgspec.Meta(min_length=8, max_length=256)]


class RefreshToken(msgspec.Struct, frozen=True):
    """A refresh token, as it was given; another spelling of it is none."""

    refresh_token: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REFRESH_TOKEN)]


GivenCredentials = Annotated[Credentials, body_of(Credentials)]
GivenToken = Annotated[RefreshToken, body_of(RefreshToken)]


class Ok(BaseModel):
    """Success with nothing to tell."""

    ok: bool = True


class LoggedOut(Ok):
    """A session has ended."""

    logout_url: str | None = Field(
        default=None, description="where a browser goes to log out at the provider that it logged in at, if it did"
    )


def device_of(request: Request) -> Device:
    """Return what a request comes from: the address that trusted proxies say, and in short its User-Agent."""
    address = request.client.host if request.client else "unknown"
    return Device(address, device_name(request.headers.get("user-agent", "")))


@router.post("/register", summary="Make an account", openapi_extra=described(Credentials))
async def register(body: GivenCredentials, request: Request, response: Response, components: Current) -> Grant:
    """Make an account and log it in: `already_exists` if the name is taken, `forbidden` if registration is off."""
    grant = await components.accounts.register(body.username, body.password, device_of(request))
    remember_device(request, response, components, grant.user_id)
    return grant


@router.post("/login", summary="Log in", openapi_extra=described(Credentials))
async def login(body: GivenCredentials, request: Request, response: Response, components: Current) -> Grant:
    """Tokens for a username and password: `invalid_credentials`, `banned`, or `rate_limited` with Retry-After.

    Where more is asked of who knows the password, `second_factor_required` and `password_change_required` say in `data`
    what, and have a ticket for the next step.

    Sets a cookie by which this device is not slowed down by what others guess.
    """
    proven = await device_for(request, components, body.username)
    grant = await components.accounts.login(body.username, body.password, device_of(request), proven)
    remember_device(request, response, components, grant.user_id)
    return grant


@router.post("/refresh", summary="Spend a refresh token for new tokens", openapi_extra=described(RefreshToken))
async def refresh(body: GivenToken, request: Request, components: Current) -> Grant:
    """Each refresh token works once. For some seconds more it gives a sibling, for whom an answer was lost.

    Used again after these it ends its session, with its connections: `revoked_token`.
    """
    try:
        return await components.sessions.rotate(body.refresh_token, device_of(request))
    # Committed already; the connections of whoever has the other copy end as well.
    except ReusedToken as reused:
        await components.gateways.end_sessions(reused.session.user_id, [reused.session.session_id])
        raise


@router.post(
    "/logout", summary="End a session", openapi_extra=described(RefreshToken), response_model_exclude_none=True
)
async def logout(body: GivenToken, request: Request, components: Current) -> LoggedOut:
    """End the session of a refresh token: its refresh and access tokens are refused, its connections end."""
    if (ended := await components.sessions.end_by_token(body.refresh_token)) is None:
        return LoggedOut()
    # Before the provider is asked anything: a logout here does not wait for one elsewhere.
    await components.gateways.end_sessions(ended.user_id, [ended.session_id])
    url = await components.logins.logout_url(ended.session_id, public_url(request, components))
    return LoggedOut(logout_url=url or None)


@router.get("/.well-known/jwks.json", summary="The public keys of access tokens")
async def jwks(components: Current, response: Response) -> dict[str, list[dict[str, str]]]:
    """A JSON Web Key Set (RFC 7517), for services that verify tokens themselves."""
    response.headers["cache-control"] = f"public, max-age={JWKS_MAX_AGE}"
    return components.signer.jwks
