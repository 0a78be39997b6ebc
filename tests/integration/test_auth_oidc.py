"""Logins at a provider of OpenID Connect that says whatever a test wants, true or not."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import text

from parley.auth.oidc import logins, provider
from parley.auth.oidc.claims import LOGOUT_EVENT
from parley.auth.tokens import issuer_keys

from .test_auth_accounts import PASSWORD, Auth, bearer, code, running_auth

CLIENT = "parley"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
APP = "com.example.app:/signed-in"
LOOPBACK = "http://127.0.0.1/signed-in"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Lying:
    """A provider whose every answer a test can change."""

    def __init__(self) -> None:
        self.url = ""
        self.forms: list[dict[str, str]] = []
        self.tell_truth()

    def tell_truth(self) -> None:
        """Forget all that was changed."""
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {"kid": "one"}
        self.key: Any = KEY
        self.algorithm: str | None = "RS256"
        self.published: dict[str, Any] = {"one": KEY}
        self.user_info: dict[str, Any] = {}
        self.token_status = 200
        self.down = False
        self.nonce = ""

    def app(self) -> web.Application:
        @web.middleware
        async def away(request: web.Request, handler: Any) -> web.StreamResponse:
            return web.Response(status=503) if self.down else await handler(request)

        app = web.Application(middlewares=[away])
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_post("/token", self._token)
        app.router.add_get("/me", self._me)
        return app

    def signed(self, **changed: Any) -> str:
        """A token about Ada, as this provider signs it now."""
        now = int(time.time())
        made = {"iss": self.url, "sub": "ada", "aud": CLIENT, "iat": now, "exp": now + 300, **changed}
        kept = {name: value for name, value in made.items() if value is not None}
        key: Any = self.key if self.algorithm else None
        return jwt.encode(kept, key, self.algorithm, headers=self.header)

    def logout_token(self, **changed: Any) -> str:
        """What it sends when somebody has logged out."""
        named = {"jti": uuid.uuid4().hex, "events": {LOGOUT_EVENT: {}}, **changed}
        return self.signed(**named)

    async def _configuration(self, _request: web.Request) -> web.Response:
        endpoints = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        found = {"issuer": self.url, **{name: f"{self.url}{path}" for name, path in endpoints.items()}}
        found["end_session_endpoint"] = f"{self.url}/end"
        return web.json_response({**found, **self.metadata})

    async def _jwks(self, _request: web.Request) -> web.Response:
        keys = [
            {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in self.published.items()
        ]
        return web.json_response({"keys": keys})

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl(await request.text()))
        self.forms.append(form | {"authorization": request.headers.get("authorization", "")})
        if self.token_status != 200:
            return web.json_response({"error": "invalid_grant"}, status=self.token_status)
        token = self.signed(**{"nonce": self.nonce, **self.claims})
        return web.json_response({"id_token": token, "access_token": "opaque", "token_type": "Bearer"})

    async def _me(self, _request: web.Request) -> web.Response:
        return web.json_response(self.user_info)


@pytest.fixture
async def lying() -> AsyncIterator[Lying]:
    issuer = Lying()
    runner = web.AppRunner(issuer.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield issuer
    await runner.cleanup()


Settings = Callable[..., str]


@pytest.fixture
async def auth(database_url: str, nats_url: str, lying: Lying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
               request: pytest.FixtureRequest) -> AsyncIterator[Auth]:  # fmt: skip
    """Auth with two providers, which are one: what is said of the one and what is said of the other is told apart."""
    monkeypatch.setattr(provider, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(provider, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "REFETCH_INTERVAL", 0.0)
    file = tmp_path / "providers.toml"
    more = getattr(request, "param", "")
    file.write_text(f"""
[oidc.company]
issuer = "{lying.url}"
client_id = "{CLIENT}"
client_secret = "a secret with / and : in it"
roles_claim = "groups"
roles = {{chat-admins = ["admin"]}}
{more}
""")
    options = {"auth_providers_file": file, "auth_redirect_uris": [APP, LOOPBACK]}
    async with running_auth(database_url, nats_url, **options) as running:
        yield running


def query_of(response: httpx.Response) -> dict[str, str]:
    """What the browser carries to where it is sent."""
    assert response.status_code == 303, response.text
    assert response.headers["cache-control"] == "no-store"
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


async def start(auth: Auth, lying: Lying, **query: str) -> dict[str, str]:
    """Begin a login, and have the provider remember its nonce."""
    asked = query_of(await auth.get("/auth/oidc/company/start", **query))
    lying.nonce = asked.get("nonce", "")
    return asked


async def come_back(auth: Auth, asked: dict[str, str], **changed: str) -> httpx.Response:
    return await auth.get("/auth/oidc/company/callback", **{"state": asked["state"], "code": "given", **changed})


async def login(auth: Auth, lying: Lying, **query: str) -> dict[str, str]:
    """What a login ends with in the browser."""
    return query_of(await come_back(auth, await start(auth, lying, **query)))


async def sign_in(auth: Auth, lying: Lying) -> dict[str, Any]:
    """The grant of a login that goes well."""
    ended = await login(auth, lying)
    response = await auth.post("/auth/oidc/token", {"code": ended["code"]})
    assert response.status_code == 200, response.text
    return response.json()


async def send_logout(auth: Auth, token: str) -> httpx.Response:
    return await auth.client.post("/auth/oidc/company/backchannel-logout", data={"logout_token": token})


async def me(auth: Auth, grant: dict[str, Any]) -> dict[str, Any]:
    return (await auth.get("/auth/me", grant["access_token"])).json()


async def test_a_login_ends_with_a_grant_of_an_account_of_ours(auth: Auth, lying: Lying) -> None:
    assert (await auth.get("/auth/providers")).json() == {
        "providers": [{"name": "company", "label": "Company", "start": "/auth/oidc/company/start"}]
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


NOWHERE = [
    "//evil.example.com", "/\\evil.example.com", "https://evil.example.com/", "http://auth.evil.example.com/",
    "http://127.0.0.1@evil.example.com/signed-in", "http://127.0.0.1:80@evil.example.com/signed-in",
    "http://127.0.0.1:x/signed-in", "http://127.0.0.1/other", "https://127.0.0.1/signed-in", "com.example.app:/other",
    "javascript:alert(1)", "", "/a\tb", "/\t/evil.example.com", f"/{'x' * 3000}", "/a\nb", " /", "evil.example.com",
]  # fmt: skip


async def test_a_login_ends_nowhere_but_here_and_where_it_is_configured(auth: Auth) -> None:
    for place in NOWHERE:
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


SECOND = """
link_by_email = {company}

[oidc.second]
issuer = "http://localhost:1/"
client_id = "parley"
link_by_email = {second}
"""


async def had_before(auth: Auth, address: str) -> None:
    """Somebody has logged in at the second provider, which named this address as verified."""
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("INSERT INTO auth.users (id, name, kind) VALUES ('u_before', 'B', 'external')"))
        await connection.execute(
            text(
                "INSERT INTO auth.identities (issuer, subject, user_id, name, address, roles) "
                "VALUES ('http://localhost:1/', 'b', 'u_before', 'B', :address, '{}')"
            ),
            {"address": address},
        )


@pytest.mark.parametrize(
    ("auth", "claims", "linked"),
    [
        (SECOND.format(company="true", second="true"), {"email_verified": True}, True),
        (SECOND.format(company="true", second="true"), {"email_verified": True, "email": "ADA@example.com"}, True),
        (SECOND.format(company="true", second="true"), {"email_verified": False}, False),
        (SECOND.format(company="true", second="true"), {}, False),
        (SECOND.format(company="true", second="true"), {"email_verified": True, "email": "eve@example.com"}, False),
        (SECOND.format(company="false", second="true"), {"email_verified": True}, False),
        (SECOND.format(company="true", second="false"), {"email_verified": True}, False),
    ],
    indirect=["auth"],
    ids=["verified", "in another case", "unverified", "not said", "another", "of who is not believed", "with another"],
)
async def test_an_account_is_linked_by_a_verified_address_of_providers_that_are_believed(
    auth: Auth, lying: Lying, claims: dict[str, Any], linked: bool
) -> None:
    await had_before(auth, "ada@example.com")
    lying.claims = {"email": "ada@example.com", **claims}
    first = await sign_in(auth, lying)
    assert (first["user_id"] == "u_before") is linked
    assert (await sign_in(auth, lying))["user_id"] == first["user_id"]


async def test_first_logins_of_one_person_at_once_make_one_account(auth: Auth, lying: Lying) -> None:
    asked = [await start(auth, lying) for _ in range(5)]
    lying.claims = {"nonce": None}

    async def answer(one: dict[str, str]) -> str:
        async with auth.components.database.transaction() as connection:
            await connection.execute(text("UPDATE auth.oidc_logins SET nonce = 'same'"))
        lying.claims = {"nonce": "same"}
        return query_of(await come_back(auth, one))["code"]

    codes = await asyncio.gather(*map(answer, asked))
    grants = [(await auth.post("/auth/oidc/token", {"code": code})).json() for code in codes]
    assert len({grant["user_id"] for grant in grants}) == 1


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
    assert answer.json() == {"ok": True, "logout_url": ""}


async def test_nothing_of_logins_that_were_broken_off_piles_up(
    auth: Auth, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "LOGIN_SECONDS", -1)
    for _ in range(5):
        await start(auth, lying)
    async with auth.components.database.autocommit() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM auth.oidc_logins")) == 1


async def test_an_unknown_provider_is_not_found(auth: Auth) -> None:
    assert code(await auth.get("/auth/oidc/other/start")) == "not_found"
    assert code(await auth.get("/auth/oidc/other/callback")) == "not_found"
    response = await auth.client.post("/auth/oidc/other/backchannel-logout", headers=bearer(""))
    assert code(response) == "not_found"
