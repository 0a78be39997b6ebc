"""`/auth/login/…`, `/auth/passkeys/login…`: what comes after a password that was right, and logins without one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parley.auth.accounts.sessions.sessions import Grant
from parley.auth.components import Components, Current
from parley.auth.factors.factor_checks import ShownFactor, Ticketed
from parley.auth.factors.login_steps import Entered
from parley.auth.factors.passkey_ceremonies import PresentedCredential
from parley.auth.http.device_cookie import proven_device, remember_device
from parley.auth.http.endpoints import device_of
from parley.auth.password_policy import MAX_PASSWORD, MIN_PASSWORD
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/auth", tags=["auth"])


class SecondFactor(ShownFactor, frozen=True, kw_only=True):
    """The ticket of a login that answered `second_factor_required`, and one factor."""

    ticket: Ticketed


class ChosenPassword(msgspec.Struct, frozen=True):
    """The ticket of a login that answered `password_change_required`, and another password."""

    ticket: Ticketed
    new_password: Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class PasskeyLogin(msgspec.Struct, frozen=True):
    """An answer of `navigator.credentials.get()` to the options for a login."""

    passkey: PresentedCredential


class PasskeyOptions(BaseModel):
    """What a browser asks a passkey."""

    public_key: dict[str, Any] = Field(description="for `PublicKeyCredential.parse…OptionsFromJSON()`")


GivenFactor = Annotated[SecondFactor, body_of(SecondFactor)]
GivenChoice = Annotated[ChosenPassword, body_of(ChosenPassword)]
GivenPasskey = Annotated[PasskeyLogin, body_of(PasskeyLogin)]


@router.post("/login/factor", summary="Log in, second step", openapi_extra=described(SecondFactor))
async def second_factor(body: GivenFactor, request: Request, response: Response, components: Current) -> Grant:
    """Tokens for a ticket and a code, a recovery code or a passkey, each good once.

    `invalid_credentials`, and the ticket is still good; `expired_token` after five minutes, or where the account has
    changed meanwhile; `rate_limited` where too many codes were wrong: passkeys and recovery codes are taken even then.
    """
    entered = await components.login_steps.second_factor(
        body.ticket, body, device_of(request), partial(proven_device, request, components)
    )
    # Behind the login: a mail about codes that were tried and refused would let strangers fill an inbox.
    if body.recovery_code is not None:
        message = "Somebody logged in with a recovery code. Each works once; make new ones before none is left."
        await components.own_address.tell(entered.grant.user_id, message)
    return _let_in(entered, request, response, components)


@router.post("/login/password", summary="Log in with another password", openapi_extra=described(ChosenPassword))
async def new_password(body: GivenChoice, request: Request, response: Response, components: Current) -> Grant:
    """Tokens for a ticket and a password that is not the one there was; all sessions of before end."""
    entered = await components.login_steps.new_password(body.ticket, body.new_password, device_of(request))
    # Their refresh tokens are refused since the commit; connections hold no tokens, so gateways have to be told.
    await components.gateways.end_sessions(entered.grant.user_id, entered.ended)
    return _let_in(entered, request, response, components)


@router.post("/passkeys/login-options", summary="What a passkey is asked for a login")
async def login_options(response: Response, components: Current) -> PasskeyOptions:
    """Good for five minutes and one login, of whoever has a passkey here. `forbidden` where there are none."""
    response.headers["cache-control"] = "no-store"
    return PasskeyOptions(public_key=components.passkeys.login_options())


@router.post("/passkeys/login", summary="Log in by a passkey alone", openapi_extra=described(PasskeyLogin))
async def passkey_login(body: GivenPasskey, request: Request, response: Response, components: Current) -> Grant:
    """Tokens for a passkey that has verified its user, by a PIN or a finger: `invalid_credentials`, `banned`."""
    entered = await components.login_steps.passkey(body.passkey, device_of(request))
    return _let_in(entered, request, response, components)


def _let_in(entered: Entered, request: Request, response: Response, components: Components) -> Grant:
    response.headers["cache-control"] = "no-store"
    # Only who got in all the way: after the password alone, a thief of it would count as a known device.
    remember_device(request, response, components, entered.grant.user_id)
    return entered.grant
