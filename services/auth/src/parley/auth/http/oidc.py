"""`/auth/providers`, `/auth/oidc`: logins at OpenID Connect providers."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from parley.auth.accounts.sessions.sessions import Grant
from parley.auth.components import Current, public_url
from parley.auth.http.admin.parameters import NO_NUL
from parley.auth.http.endpoints import device_of
from parley.auth.oidc.logins import LOGIN_SECONDS, MAX_APP_STATE
from parley.auth.oidc.logouts import end_sessions
from parley.auth.oidc.redirects import MAX_RETURN, with_query
from parley.common.errors import Code, Reject
from parley.common.http.bodies import body_of, described
from parley.common.http.problems import problem_response

router = APIRouter(prefix="/auth", tags=["sign-in elsewhere"])

COOKIE = "parley_login"
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"logout_token": {"type": "string"}},
                    "required": ["logout_token"],
                }
            }
        },
    }
}
MAX_ANSWER = 4096
"""Characters of what a provider may give back in a URL."""


class ProviderInfo(BaseModel):
    """Where one may log in, besides here."""

    name: str
    label: str = Field(description="what a button says")
    start: str = Field(description="path that begins a login; `return_to` says where it ends")


class ProvidersInfo(BaseModel):
    """All providers, in the order of the configuration."""

    providers: list[ProviderInfo]
    password_reset: bool = Field(description="whether a forgotten password can be reset by mail")
    passkeys_for: str = Field(description="the domain that passkeys are for; empty: there are none")


class LoginCode(msgspec.Struct, frozen=True):
    """What a login ended with, and for an app the verifier of its `code_challenge`."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    code_verifier: Annotated[str, msgspec.Meta(max_length=128)] = ""


GivenCode = Annotated[LoginCode, body_of(LoginCode)]


@router.get("/providers", summary="Where to log in besides here")
async def providers(components: Current) -> ProvidersInfo:
    """The configured OpenID Connect providers."""
    return ProvidersInfo(
        providers=[
            ProviderInfo(name=name, label=provider.settings.label, start=f"/auth/oidc/{name}/start")
            for name, provider in components.logins.providers.items()
        ],
        password_reset=components.mailer.on,
        passkeys_for=components.passkeys.party.id,
    )


@router.get("/oidc/{name}/start", summary="Begin a login at a provider", status_code=303, response_class=Response)
async def start(
    name: str,
    request: Request,
    components: Current,
    return_to: Annotated[str, Query(max_length=MAX_RETURN)] = "/",
    code_challenge: Annotated[str, Query(max_length=128)] = "",
    code_challenge_method: Annotated[str, Query(max_length=16)] = "S256",
    state: Annotated[str, Query(max_length=MAX_APP_STATE, pattern=NO_NUL)] = "",
) -> Response:
    """Send the browser to the provider. It ends at `return_to` with `code` and `state`, or with `error`."""
    if code_challenge_method != "S256":
        raise Reject(Code.INVALID_PAYLOAD, "The only code_challenge_method is S256.")
    url = public_url(request, components)
    begun = await components.logins.begin(
        components.logins.provider(name), url, return_to, challenge=code_challenge, app_state=state,
        browser=_browser(request, url), address=device_of(request).address,
    )  # fmt: skip
    response = _sent_to(begun.location)
    response.set_cookie(
        _cookie(url), begun.browser, max_age=LOGIN_SECONDS, path="/", secure=url.startswith("https://"), httponly=True,
        # Lax and not strict: the browser comes back from another site, and has to bring it.
        samesite="lax",
    )  # fmt: skip
    return response


@router.get("/oidc/{name}/callback", summary="Come back from a provider", status_code=303, response_class=Response)
async def callback(name: str, request: Request, components: Current) -> Response:
    """Where providers send browsers back to. Each answer is good once, in the browser that began the login."""
    url = public_url(request, components)
    provider = components.logins.provider(name)
    # What is too long is left out, as if it had not come: a provider has no use for it, an attacker may.
    answer = {key: value for key, value in request.query_params.items() if len(value) <= MAX_ANSWER}
    try:
        return _sent_to(await components.logins.come_back(provider, answer, _browser(request, url)))
    except Reject as rejection:
        # Nobody knows where this login was to end; the page tells people what became of it.
        error = {"error": str(rejection.code), "error_description": rejection.message}
        return _sent_to(with_query(f"{url}/", error))


@router.post("/oidc/token", summary="Exchange a login's code for tokens", openapi_extra=described(LoginCode))
async def token(body: GivenCode, request: Request, components: Current, response: Response) -> Grant:
    """Each code works once, within a minute, where its login was begun: `invalid_credentials`, `revoked_token`."""
    response.headers["cache-control"] = "no-store"
    url = public_url(request, components)
    return await components.logins.exchange(body.code, body.code_verifier, _browser(request, url), device_of(request))


@router.post("/oidc/{name}/backchannel-logout", summary="Hear of a logout at a provider", openapi_extra=_FORM)
async def backchannel_logout(name: str, request: Request, components: Current) -> Response:
    """End the sessions that a provider's `logout_token` names (OpenID Connect Back-Channel Logout 1.0)."""
    provider = components.logins.provider(name)
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    try:
        notice = await provider.logout_notice(form.get("logout_token", ""))
        ended = await end_sessions(components.database, notice)
    except Reject as rejection:
        # Section 2.8: 400 for what is wrong with the request.
        response = problem_response(rejection, None if rejection.retryable else 400)
    else:
        # A token without a session of the provider's ends all of a user's, and one is told of a user at a time.
        for user_id, sessions in groupby(sorted(ended), key=attrgetter("user_id")):
            await components.gateways.end_sessions(user_id, [session.session_id for session in sessions])
        response = Response()
    response.headers["cache-control"] = "no-store"
    return response


def _browser(request: Request, url: str) -> str:
    return request.cookies.get(_cookie(url), "")


def _cookie(url: str) -> str:
    # With this prefix no other host of the domain can set it.
    return f"__Host-{COOKIE}" if url.startswith("https://") else COOKIE


def _sent_to(location: str) -> Response:
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(location, status_code=303, headers=headers)
