"""Every endpoint of auth and chat, asked by every kind of caller.

The endpoints come from the apps' own tables of routes: a new one is held to the rule of its path, or has to be named
below as open to everybody.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import jwt
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from parley.auth.http import endpoints
from parley.auth.http.admin.rights import RIGHTS
from parley.chat.api.own_state import OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from parley.chat.app import create_app
from parley.chat.settings import ChatSettings
from parley.common.wire.rights import RIGHT_OF_ROLE, Right
from tests.support.auth.service import bearer, running_auth

SECRET = "a secret that the adopter's own server signs with"
OPEN = {
    ("GET", "/api/files/{ticket}/{what}"),
    ("POST", "/auth/register"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("GET", "/auth/.well-known/jwks.json"),
    ("GET", "/auth/providers"),
    ("GET", "/auth/oidc/{name}/start"),
    ("GET", "/auth/oidc/{name}/callback"),
    ("POST", "/auth/oidc/token"),
    ("POST", "/auth/oidc/{name}/backchannel-logout"),
    ("POST", "/auth/login/factor"),
    ("POST", "/auth/login/password"),
    ("POST", "/auth/passkeys/login-options"),
    ("POST", "/auth/passkeys/login"),
    ("POST", "/auth/password-reset"),
    ("POST", "/auth/password-reset/confirm"),
    ("GET", "/auth/docs"),
    ("GET", "/auth/openapi.json"),
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/asyncapi"),
    ("GET", "/api/asyncapi.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}
"""What asks for no token. The last three reach nobody outside: nginx passes on what is below `/auth` and `/api`."""


class Endpoint(NamedTuple):
    """A method and a path as in a table of routes."""

    method: str
    path: str
    asks: frozenset[str] = frozenset()
    """The names of the functions that it depends on, which is where it asks who calls."""

    @property
    def is_open(self) -> bool:
        """Whether it asks for no token."""
        return (self.method, self.path) in OPEN

    @property
    def for_administrators(self) -> bool:
        """Whether a user may not use it."""
        return self.path.startswith("/admin")

    @property
    def concrete(self) -> str:
        """The path with something of the right form in place of each parameter."""
        path = re.sub(r"{\w+:(?:int|number)}|{part}", "1", self.path).replace(
            "{upload}", "00000000-0000-0000-0000-000000000000"
        )
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: "u_" + "0" * 32 if "user" in found[1] else "r_" + "0" * 22, path)


def endpoints_of(routes: Iterable[Any], prefix: str = "") -> Iterator[Endpoint]:
    """The endpoints of an app, those of included routers among them. Raises `AttributeError` for what is neither."""
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from endpoints_of(included.routes, prefix + route.include_context.prefix)
            continue
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield Endpoint(method, prefix + route.path, frozenset(_depended_on(getattr(route, "dependant", None))))


def _depended_on(dependant: Any) -> Iterator[str]:
    for inner in dependant.dependencies if dependant is not None else ():
        yield inner.call.__name__
        yield from _depended_on(inner)


class World(NamedTuple):
    """Auth and chat as they run, and a token of each kind of caller."""

    apps: dict[str, FastAPI]
    http: httpx.AsyncClient
    tokens: dict[str, str]

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint of both."""
        return [endpoint for app in self.apps.values() for endpoint in endpoints_of(app.routes)]

    async def ask(self, endpoint: Endpoint, token: str) -> tuple[int, str]:
        """The status and the code that a caller is answered."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        body: dict[str, Any] = {} if endpoint.method == "GET" else {"json": {}}
        answer = await self.http.request(endpoint.method, endpoint.concrete, headers=headers, **body)
        if answer.status_code < 400:
            return answer.status_code, ""
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        told = answer.json()
        assert told["status"] == answer.status_code
        assert told["type"].endswith(f":{told['error']['code']}")
        return answer.status_code, told["error"]["code"]


class _Both(httpx.AsyncBaseTransport):
    """Each path to the app that owns it, as nginx does."""

    def __init__(self, apps: dict[str, FastAPI]) -> None:
        self._transports = {name: httpx.ASGITransport(app, raise_app_exceptions=False) for name, app in apps.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        owner = "chat" if request.url.path.startswith("/api") else "auth"
        return await self._transports[owner].handle_async_request(request)


@pytest.fixture
async def world(database_url: str, own_nats: Any) -> AsyncIterator[World]:
    """Both services, and somebody of every kind."""
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(
            running_auth(database_url, own_nats.url, auth_hs256_secret=SECRET, auth_register_rate_address="1000/minute")
        )
        chat = create_app(ChatSettings(database_url=database_url, nats_url=own_nats.url, instance="chat1"))
        await stack.enter_async_context(chat.router.lifespan_context(chat))
        apps = {"auth": auth.app, "chat": chat}
        http = await stack.enter_async_context(httpx.AsyncClient(transport=_Both(apps), base_url="http://parley"))
        banned, admin = await auth.register("banned"), await auth.admin_token()
        await auth.post(f"/admin/users/{banned['user_id']}/ban", {"reason": "spam"}, admin)
        claims = {"sub": "late", "exp": int(time.time()) - 3600}
        suspended, user = await auth.register("suspended"), await auth.register("user")
        await auth.post(f"/admin/users/{suspended['user_id']}/suspension", {"reason": "spam"}, admin)
        bot = (await auth.post("/auth/bots", {"name": "Robbie"}, user["access_token"])).json()["id"]
        key = {"name": "key", "scopes": ["chat:read", "chat:write"]}
        administrators: dict[str, str] = {}
        for right in Right:
            held = await auth.register(f"may-{right.name.lower()}")
            role = next(role for role, given in RIGHT_OF_ROLE.items() if given is right)
            path = f"/admin/users/{held['user_id']}/roles"
            await auth.client.put(path, json={"roles": [role]}, headers=bearer(admin))
            administrators[right.name] = held["access_token"]
        tokens = {
            **administrators,
            "suspended": suspended["access_token"],
            "key": (await auth.post(f"/auth/bots/{bot}/keys", key, user["access_token"])).json()["key"],
            "nobody": "",
            "garbage": "no.token.atall",
            "expired": jwt.encode(claims, SECRET, "HS256"),
            "forged": jwt.encode({"sub": "eve", "roles": ["admin"], "exp": int(time.time()) + 60}, "x" * 32, "HS256"),
            "banned": banned["access_token"],
            "user": user["access_token"],
        }
        yield World(apps, http, tokens)


IDENTIFY = {"any_bearer", "bearer", "administrator", "_identified"}
"""What asks who calls."""


REFUSED = {
    "nobody": (401, "missing_token"),
    "garbage": (401, "invalid_token"),
    "expired": (401, "expired_token"),
    "forged": (401, "invalid_token"),
    "banned": (403, "banned"),
}


async def test_who_has_no_valid_token_is_refused_by_every_endpoint_that_is_not_named_as_open(world: World):
    """Whatever else is wrong with what they send."""
    wrong: dict[tuple[Endpoint, str], tuple[int, str]] = {}
    for endpoint in world.endpoints():
        for caller, expected in REFUSED.items():
            got = await world.ask(endpoint, world.tokens[caller])
            if not endpoint.is_open and got != expected:
                wrong[endpoint, caller] = got
            if endpoint.is_open and got[0] in {401, 500}:
                wrong[endpoint, caller] = got
    assert not wrong


async def test_what_is_for_administrators_is_for_nobody_else_nor_for_who_may_less(world: World):
    wrong: dict[tuple[Endpoint, str], tuple[int, str]] = {}
    rights: dict[str, Right | None] = {**{right.name: right for right in Right}, "user": None, "key": None}
    for endpoint in world.endpoints():
        if not endpoint.for_administrators:
            continue
        needed = RIGHTS[endpoint.method, endpoint.path]
        for caller, right in rights.items():
            got = await world.ask(endpoint, world.tokens[caller])
            if (got == (403, "forbidden")) != (right is None or right < needed) or got[0] in {401, 500}:
                wrong[endpoint, caller] = got
    assert not wrong


async def test_an_api_key_opens_what_is_for_programs_and_nothing_of_an_account(world: World):
    wrong: dict[Endpoint, tuple[int, str]] = {}
    for endpoint in world.endpoints():
        if endpoint.is_open or endpoint.for_administrators:
            continue
        got = await world.ask(endpoint, world.tokens["key"])
        # Of all rooms, without naming one, only administrators are told reports.
        forbidden = "bearer" in endpoint.asks or endpoint.path == "/api/reports"
        if (got == (403, "forbidden")) != forbidden or got[0] in {401, 500}:
            wrong[endpoint] = got
    assert not wrong


async def test_who_is_suspended_reads_and_minds_their_account_and_writes_nothing(world: World):
    marks = {f"/api{row.path}" for row in (*OWN_ROUTES, *PEOPLE_ROUTES) if row.own and not row.writes}
    protects = {
        "/api/me/blocks",
        "/api/me/blocks/remove",
        "/api/me/scheduled/{id}/cancel",
        "/api/rooms/{room}/draft",
        "/api/rooms/{room}/reports",
    }
    wrong: dict[Endpoint, tuple[int, str]] = {}
    for endpoint in world.endpoints():
        if endpoint.is_open or endpoint.for_administrators:
            continue
        got = await world.ask(endpoint, world.tokens["suspended"])
        # An upload that says nothing of itself is refused for that first.
        writes = (endpoint.method, endpoint.path) == ("PUT", "/auth/me") or (
            endpoint.method != "GET"
            and endpoint.path.startswith(("/api", "/auth/bots"))
            and endpoint.path not in {"/api/sync", "/api/files", "/api/previews", "/api/uploads", *marks, *protects}
        )
        if (got == (403, "suspended")) != writes or got[0] in {401, 500}:
            wrong[endpoint] = got
    assert not wrong


async def test_the_open_endpoints_are_there_and_a_new_one_is_not_open_by_itself(world: World):
    assert {(one.method, one.path) for one in world.endpoints() if one.is_open} == OPEN

    async def forgotten() -> None:
        """An endpoint whose author forgot who may use it."""

    world.apps["auth"].router.routes.append(APIRoute("/auth/forgotten", forgotten))
    assert endpoints.router.prefix == "/auth"
    added = Endpoint("GET", "/auth/forgotten")
    assert added in world.endpoints()
    assert not added.asks & IDENTIFY
    assert not added.is_open
    assert await world.ask(added, "") == (200, "")


async def test_pages_of_other_origins_may_use_every_endpoint_that_the_setting_lets_them(world: World):
    """In development that is all of them, and a token is never a cookie."""
    for endpoint in world.endpoints():
        asked = {"origin": "https://friend.example", "access-control-request-method": endpoint.method}
        answer = await world.http.options(endpoint.concrete, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "*", endpoint
        assert "access-control-allow-credentials" not in answer.headers, endpoint


async def test_the_pages_of_the_apis_load_nothing_from_elsewhere(world: World):
    for path in ("/auth/docs", "/api/docs"):
        page = await world.http.get(path)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "<script" not in page.text
        assert not re.search(r"(src|href)=.?.?\w+://", page.text)
