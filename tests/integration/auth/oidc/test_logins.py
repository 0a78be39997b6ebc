"""Logins at a provider of OpenID Connect, step by step."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.oidc import logins
from tests.support.auth.lying_provider import (
    CLIENT,
    KEY,
    OTHER_KEY,
    Lying,
    come_back,
    login,
    me,
    query_of,
    sign_in,
    start,
)
from tests.support.auth.service import PASSWORD, Auth, bearer, code

from .conftest import APP, LOOPBACK

VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


async def test_a_login_ends_with_a_grant_of_an_account_of_ours(auth: Auth, lying: Lying) -> None:
    assert (await auth.get("/auth/providers")).json() == {
        "providers": [{"name": "company", "label": "Company", "start": "/auth/oidc/company/start"}],
        "password_reset": True,
        "passkeys_for": "localhost",
    }
    lying.claims = {"name": "Ada L.", "groups": ["chat-admins", "admin:read", "staff"]}
    asked = await start(auth, lying)
    assert asked["redirect_uri"] == "http://auth/auth/oidc/company/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["scope"] == "openid profile email"
    ended = query_of(await come_back(auth, asked))
    assert set(ended) == {"code"}
    grant = (await auth.post("/auth/oidc/token", {"code": ended["code"]})).json()
    assert set(grant) == {"user_id", "access_token", "refresh_token", "expires_in"}
    assert await me(auth, grant) == {"user_id": grant["user_id"], "name": "Ada L.", "roles": ["admin"]}
    assert grant["user_id"].startswith("u_")
    (form,) = lying.forms
    assert (
        urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        .decode()
        .startswith(asked["code_challenge"])
    )
    assert "client_secret" not in form
    assert form["authorization"].startswith("Basic ")
    again = await sign_in(auth, lying)
    assert again["user_id"] == grant["user_id"]


@pytest.mark.parametrize("field", ["return_to", "code_challenge", "code_challenge_method", "state"])
async def test_nul_in_what_begins_a_login_is_refused(auth: Auth, field: str) -> None:
    fitting = {"return_to": APP, "code_challenge": CHALLENGE, "code_challenge_method": "S256", "state": "x"}
    begun = await auth.get("/auth/oidc/company/start", **(fitting | {field: f"{fitting[field]}\x00"}))
    assert code(begun) == "invalid_payload"


async def test_name_and_roles_follow_the_provider_but_what_was_changed_here_stays(auth: Auth, lying: Lying) -> None:
    lying.claims = {"name": "Ada", "groups": ["chat-admins"]}
    first = await sign_in(auth, lying)
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.users SET roles = '{admin,helper}' WHERE kind = 'external'"))
    lying.claims = {"name": "Ada L.", "groups": []}
    assert await me(auth, await sign_in(auth, lying)) == {
        "user_id": first["user_id"], "name": "Ada L.", "roles": ["helper"],
    }  # fmt: skip
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.users SET name = 'Countess' WHERE kind = 'external'"))
    lying.claims = {"name": "Ada Lovelace"}
    assert (await me(auth, await sign_in(auth, lying)))["name"] == "Countess"


async def test_a_code_works_once_and_only_where_the_login_was_begun(auth: Auth, lying: Lying) -> None:
    ended = await login(auth, lying)
    auth.client.cookies.clear()
    assert code(await auth.post("/auth/oidc/token", {"code": ended["code"]})) == "invalid_credentials"
    ended = await login(auth, lying)
    kept = dict(auth.client.cookies)
    assert (await auth.post("/auth/oidc/token", {"code": ended["code"]})).status_code == 200
    assert code(await auth.post("/auth/oidc/token", {"code": ended["code"]})) == "invalid_credentials"
    ended = await login(auth, lying)
    auth.client.cookies.clear()
    auth.client.cookies.update(dict.fromkeys(kept, "x" * 43))
    assert code(await auth.post("/auth/oidc/token", {"code": ended["code"]})) == "invalid_credentials"


async def test_an_apps_code_works_for_who_knows_its_verifier_alone(auth: Auth, lying: Lying) -> None:
    ended = await login(auth, lying, return_to=APP, code_challenge=CHALLENGE, state="the app's")
    assert ended["state"] == "the app's"
    wrong = {"code": ended["code"], "code_verifier": "w" * 43}
    assert code(await auth.post("/auth/oidc/token", wrong)) == "invalid_credentials"
    for port in ("", ":4711"):
        place = LOOPBACK.replace("127.0.0.1", f"127.0.0.1{port}")
        ended = await login(auth, lying, return_to=place, code_challenge=CHALLENGE)
        auth.client.cookies.clear()
        right = {"code": ended["code"], "code_verifier": VERIFIER}
        assert (await auth.post("/auth/oidc/token", right)).status_code == 200


async def test_the_cookie_of_a_login_is_out_of_reach_of_scripts_and_other_hosts(auth: Auth) -> None:
    response = await auth.get("/auth/oidc/company/start")
    said = response.headers["set-cookie"]
    assert re.fullmatch(r"parley_login=[\w-]{43}; HttpOnly; Max-Age=600; Path=/; SameSite=lax", said)
    over_tls = await auth.client.get("https://auth/auth/oidc/company/start")
    assert over_tls.headers["set-cookie"].startswith("__Host-parley_login=")
    assert "; Secure" in over_tls.headers["set-cookie"]


async def test_a_login_ends_nowhere_but_here_and_where_it_is_configured(auth: Auth) -> None:
    for place in (
        "//evil.example.com",
        "https://evil.example.com/",
        LOOPBACK.replace("/signed", ":80@evil.example.com/signed"),
    ):
        response = await auth.get("/auth/oidc/company/start", return_to=place, code_challenge=CHALLENGE)
        assert (response.status_code, code(response)) == (422, "invalid_payload"), place


async def test_an_app_needs_a_challenge_of_its_own(auth: Auth) -> None:
    for challenge in ("", "short", "x" * 44):
        response = await auth.get("/auth/oidc/company/start", return_to=APP, code_challenge=challenge)
        assert code(response) == "invalid_payload"
    plain = {"return_to": APP, "code_challenge": CHALLENGE, "code_challenge_method": "plain"}
    assert code(await auth.get("/auth/oidc/company/start", **plain)) == "invalid_payload"


async def test_an_answer_is_good_once_and_only_in_the_browser_that_asked(
    auth: Auth, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await start(auth, lying)
    cookies = dict(auth.client.cookies)
    auth.client.cookies.clear()
    assert query_of(await come_back(auth, asked))["error"] == "expired_token"
    auth.client.cookies.update(cookies)
    assert "code" in query_of(await come_back(auth, asked)), "another browser's try does not use it up"
    assert query_of(await come_back(auth, asked))["error"] == "expired_token"
    assert query_of(await come_back(auth, {"state": "made up"}))["error"] == "expired_token"
    monkeypatch.setattr(logins, "LOGIN_SECONDS", -1)
    assert query_of(await come_back(auth, await start(auth, lying)))["error"] == "expired_token"


LIES: dict[str, Callable[[Lying], Any]] = {
    "another nonce": lambda lying: lying.claims.update(nonce="x" * 43),
    "no nonce": lambda lying: lying.claims.update(nonce=None),
    "another issuer": lambda lying: lying.claims.update(iss="https://evil.example.com"),
    "another audience": lambda lying: lying.claims.update(aud="somebody else"),
    "more audiences": lambda lying: lying.claims.update(aud=[CLIENT, "somebody else"]),
    "issued to another": lambda lying: lying.claims.update(azp="somebody else"),
    "issued long ago": lambda lying: lying.claims.update(iat=int(time.time()) - 900),
    "no subject": lambda lying: lying.claims.update(sub=None),
    "a subject that is none": lambda lying: lying.claims.update(sub="a\x00b"),
    "another key": lambda lying: setattr(lying, "key", OTHER_KEY),
    "an unknown key": lambda lying: setattr(lying, "header", {"kid": "two"}),
    "no signature": lambda lying: setattr(lying, "algorithm", None),
    "another algorithm": lambda lying: setattr(lying, "algorithm", "RS512"),
    "a code that is not good": lambda lying: setattr(lying, "token_status", 400),
    "another user's information": lambda lying: (
        lying.metadata.update(userinfo_endpoint=f"{lying.url}/me"),
        lying.user_info.update(sub="eve", name="Eve"),
    ),
}


async def test_a_provider_that_lies_is_refused(auth: Auth, lying: Lying) -> None:
    for lie, tell in LIES.items():
        lying.tell_truth()
        tell(lying)
        ended = await login(auth, lying)
        assert ended.get("error") == "invalid_token", (lie, ended)
        assert "code" not in ended
    lying.tell_truth()
    lying.claims = {"exp": int(time.time()) - 120}
    assert (await login(auth, lying))["error"] == "expired_token"
    lying.tell_truth()
    assert "code" in await login(auth, lying)


async def test_an_answer_of_another_provider_is_refused(auth: Auth, lying: Lying) -> None:
    mixed_up = await come_back(auth, await start(auth, lying), iss="https://evil.example.com")
    assert query_of(mixed_up)["error"] == "invalid_token"
    assert "code" in query_of(await come_back(auth, await start(auth, lying), iss=lying.url))
    lying.metadata = {"authorization_response_iss_parameter_supported": True}
    assert query_of(await come_back(auth, await start(auth, lying)))["error"] == "invalid_token"
    assert len(lying.forms) == 1, "the code of another provider is told nobody"


async def test_a_provider_that_is_not_who_it_should_be_is_unavailable(auth: Auth, lying: Lying) -> None:
    evil = "evil.example.com"
    for wrong in ({"issuer": f"https://{evil}"}, {"token_endpoint": f"http://{evil}/token"}, {"jwks_uri": 7}):
        lying.metadata = wrong
        assert (await start(auth, lying))["error"] == "unavailable", wrong


async def test_a_provider_that_is_away_makes_logins_at_it_unavailable_and_nothing_else(
    auth: Auth, lying: Lying
) -> None:
    grant = await sign_in(auth, lying)
    asked = await start(auth, lying, return_to="/here?a=1#there")
    lying.down = True
    response = await come_back(auth, asked)
    assert query_of(response) | {"error_description": ""} == {
        "a": "1", "error": "unavailable", "error_description": "",
    }  # fmt: skip
    assert response.headers["location"].startswith("http://auth/here?a=1&error=unavailable")
    assert response.headers["location"].endswith("#there")
    assert (await start(auth, lying))["error"] == "unavailable"
    assert (await me(auth, grant))["user_id"] == grant["user_id"]
    assert (await auth.post("/auth/refresh", {"refresh_token": grant["refresh_token"]})).status_code == 200
    assert (await auth.register("bob"))["user_id"]
    lying.down = False
    assert "code" in await login(auth, lying)


async def test_who_refuses_at_the_provider_is_told_so(auth: Auth, lying: Lying) -> None:
    for said, told in (("access_denied", "forbidden"), ("server_error", "unavailable")):
        asked = await start(auth, lying)
        response = await auth.get("/auth/oidc/company/callback", state=asked["state"], error=said)
        assert query_of(response)["error"] == told
    assert lying.forms == []


async def test_the_providers_keys_may_change(auth: Auth, lying: Lying) -> None:
    await sign_in(auth, lying)
    lying.published, lying.key, lying.header = {"two": OTHER_KEY}, OTHER_KEY, {"kid": "two"}
    await sign_in(auth, lying)
    lying.key, lying.header = KEY, {"kid": "one"}
    assert (await login(auth, lying))["error"] == "invalid_token"


@pytest.mark.parametrize("auth", ["""require = {hd = "example.com"}"""], indirect=True)
async def test_who_has_not_the_claims_that_are_required_may_not_log_in(auth: Auth, lying: Lying) -> None:
    for hd, told in ((None, "forbidden"), ("evil.example.com", "forbidden"), (True, "forbidden"), ("example.com", "")):
        lying.claims = {"hd": hd}
        assert (await login(auth, lying)).get("error", "") == told


@pytest.mark.parametrize("auth", ["registration = false"], indirect=True)
async def test_a_provider_may_make_no_accounts(auth: Auth, lying: Lying) -> None:
    assert (await login(auth, lying))["error"] == "forbidden"
    found = (await auth.get("/admin/users", await auth.admin_token())).json()["users"]
    assert [user["username"] for user in found] == ["admin"]


async def test_a_local_user_of_the_same_name_is_somebody_else(auth: Auth, lying: Lying) -> None:
    registered = await auth.register("ada")
    lying.claims = {"preferred_username": "ada", "email": "ada@example.com", "email_verified": True}
    granted = await sign_in(auth, lying)
    assert granted["user_id"] != registered["user_id"]
    assert (await auth.login("ada", PASSWORD)).json()["user_id"] == registered["user_id"]


async def test_a_banned_user_gets_no_grant(auth: Auth, lying: Lying) -> None:
    granted = await sign_in(auth, lying)
    await auth.post(f"/admin/users/{granted['user_id']}/ban", token=await auth.admin_token())
    ended = await login(auth, lying)
    assert code(await auth.post("/auth/oidc/token", {"code": ended["code"]})) == "banned"


async def test_nothing_of_logins_that_were_broken_off_piles_up(
    auth: Auth, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "LOGIN_SECONDS", -1)
    for _ in range(5):
        await start(auth, lying)
    async with auth.components.database.autocommit() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM auth.oidc_logins")) == 1


async def test_one_address_begins_so_many_logins_at_most(
    auth: Auth, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_BEGUN", 2)
    asked = [await start(auth, lying) for _ in range(3)]
    assert [one.get("error", "") for one in asked] == ["", "", "rate_limited"]
    await come_back(auth, asked[0])
    assert "error" not in await start(auth, lying), "what has ended does not count"


async def test_an_unknown_provider_is_not_found(auth: Auth) -> None:
    assert code(await auth.get("/auth/oidc/other/start")) == "not_found"
    assert code(await auth.get("/auth/oidc/other/callback")) == "not_found"
    response = await auth.client.post("/auth/oidc/other/backchannel-logout", headers=bearer(""))
    assert code(response) == "not_found"
