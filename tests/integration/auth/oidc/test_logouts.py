"""Logouts that a provider tells of, and those here."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import jwt

from parley.auth.oidc.provider_tokens import LOGOUT_EVENT
from tests.support.auth.lying_provider import (
    OTHER_KEY,
    Lying,
    come_back,
    login,
    query_of,
    send_logout,
    sign_in,
    start,
)
from tests.support.auth.service import Auth, code


async def test_a_logout_at_the_provider_ends_its_session_here_and_no_other(auth: Auth, lying: Lying) -> None:
    lying.claims = {"sid": "s1"}
    first = await sign_in(auth, lying)
    lying.claims = {"sid": "s2"}
    second = await sign_in(auth, lying)
    response = await send_logout(auth, lying.logout_token(sid="s1"))
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert code(await auth.post("/auth/refresh", {"refresh_token": first["refresh_token"]})) == "revoked_token"
    refreshed = await auth.post("/auth/refresh", {"refresh_token": second["refresh_token"]})
    assert refreshed.status_code == 200
    assert (await send_logout(auth, lying.logout_token())).status_code == 200
    again = {"refresh_token": refreshed.json()["refresh_token"]}
    assert code(await auth.post("/auth/refresh", again)) == "revoked_token"


async def test_a_login_under_way_does_not_outlive_the_logout_at_its_provider(auth: Auth, lying: Lying) -> None:
    """Told before the provider's answer was taken, and after it; of a session with and without its user, and of all."""
    for number, names in enumerate((("sid", "sub"), ("sid",), ("sub",))):
        known = {"sid": f"early {number}", "sub": "ada"}
        lying.claims = {"sid": known["sid"]}
        asked = await start(auth, lying)
        told = {"sid": None, "sub": None} | {name: known[name] for name in names}
        assert (await send_logout(auth, lying.logout_token(**told))).status_code == 200
        early = query_of(await come_back(auth, asked))["code"]
        assert code(await auth.post("/auth/oidc/token", {"code": early})) == "revoked_token", names
        known["sid"] = f"late {number}"
        lying.claims = {"sid": known["sid"]}
        late = await login(auth, lying)
        told = {"sid": None, "sub": None} | {name: known[name] for name in names}
        assert (await send_logout(auth, lying.logout_token(**told))).status_code == 200
        assert code(await auth.post("/auth/oidc/token", {"code": late["code"]})) == "invalid_credentials", names
        lying.claims = {"sid": f"next {number}"}
        await sign_in(auth, lying)


BAD_LOGOUTS: dict[str, Callable[[Lying], str]] = {
    "nothing": lambda _: "",
    "an id token": lambda lying: lying.signed(nonce="n", jti="1"),
    "with a nonce": lambda lying: lying.logout_token(nonce="n"),
    "without events": lambda lying: lying.logout_token(events=None),
    "with other events": lambda lying: lying.logout_token(events={"other": {}}),
    "with an event that is none": lambda lying: lying.logout_token(events={LOGOUT_EVENT: True}),
    "without an id": lambda lying: lying.logout_token(jti=None),
    "of nobody": lambda lying: lying.logout_token(sub=None),
    "of another issuer": lambda lying: lying.logout_token(iss="https://evil.example.com"),
    "for another": lambda lying: lying.logout_token(aud="somebody else"),
    "of long ago": lambda lying: lying.logout_token(iat=int(time.time()) - 900),
    "expired": lambda lying: lying.logout_token(exp=int(time.time()) - 120),
    "unsigned": lambda lying: (setattr(lying, "algorithm", None), lying.logout_token())[1],
    "of another key": lambda lying: (setattr(lying, "key", OTHER_KEY), lying.logout_token())[1],
}


async def test_a_logout_that_is_not_the_providers_ends_nothing(auth: Auth, lying: Lying) -> None:
    grant = await sign_in(auth, lying)
    for bad, made in BAD_LOGOUTS.items():
        lying.tell_truth()
        response = await send_logout(auth, made(lying))
        assert (response.status_code, response.headers["cache-control"]) == (400, "no-store"), bad
    assert (await auth.post("/auth/refresh", {"refresh_token": grant["refresh_token"]})).status_code == 200


async def test_a_logout_is_told_once(auth: Auth, lying: Lying) -> None:
    token = lying.logout_token()
    assert (await send_logout(auth, token)).status_code == 200
    grant = await sign_in(auth, lying)
    assert (await send_logout(auth, token)).status_code == 400
    assert (await auth.post("/auth/refresh", {"refresh_token": grant["refresh_token"]})).status_code == 200


async def test_who_logs_out_here_is_told_where_to_log_out_at_the_provider(auth: Auth, lying: Lying) -> None:
    grant = await sign_in(auth, lying)
    answer = (await auth.post("/auth/logout", {"refresh_token": grant["refresh_token"]})).json()
    url = urlsplit(answer["logout_url"])
    assert url._replace(query="").geturl() == f"{lying.url}/end"
    query = parse_qs(url.query)
    assert query["post_logout_redirect_uri"] == ["http://auth/"]
    assert jwt.decode(query["id_token_hint"][0], options={"verify_signature": False})["sub"] == "ada"
    local = await auth.register("bob")
    answer = await auth.post("/auth/logout", {"refresh_token": local["refresh_token"]})
    assert answer.json() == {"ok": True}
