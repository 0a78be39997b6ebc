"""A provider of OpenID Connect that says whatever a test wants, true or not, and logins at it."""

from __future__ import annotations

import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from parley.auth.oidc.provider_tokens import LOGOUT_EVENT
from tests.support.auth.service import Auth

CLIENT = "parley"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


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
    known = (await auth.get("/auth/me", grant["access_token"])).json()
    return {name: known[name] for name in ("user_id", "name", "roles")}
