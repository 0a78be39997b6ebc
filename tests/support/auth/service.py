"""The auth service with a client of its HTTP API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from argon2.profiles import CHEAPEST
from fastapi import FastAPI

from parley.auth.accounts.guessing import passwords
from parley.auth.app import create_app
from parley.auth.components import Components, components_of
from parley.auth.settings import AuthSettings

PASSWORD = "correct horse battery"


ADMIN_PASSWORD = "the administrator's own"


@dataclass(frozen=True, slots=True)
class Auth:
    """A running auth service and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def components(self) -> Components:
        return components_of(self.app)

    async def post(self, path: str, body: Any = None, token: str = "") -> httpx.Response:
        return await self.client.post(path, json=body or {}, headers=bearer(token))

    async def get(self, path: str, token: str = "", **query: Any) -> httpx.Response:
        return await self.client.get(path, headers=bearer(token), params=query)

    async def register(self, username: str = "alice") -> dict[str, Any]:
        response = await self.post("/auth/register", {"username": username, "password": PASSWORD})
        assert response.status_code == 200, response.text
        return response.json()

    async def login(self, username: str = "alice", password: str = PASSWORD) -> httpx.Response:
        return await self.post("/auth/login", {"username": username, "password": password})

    async def admin_token(self) -> str:
        return (await self.login("admin", ADMIN_PASSWORD)).json()["access_token"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def code(response: httpx.Response) -> str:
    body = response.json()
    assert body["ok"] is False
    assert set(body["error"]) == {"code", "message", "retryable"}
    return body["error"]["code"]


_cheap = 0
"""Services that are starting with cheap hashes. They may start together, and the last one puts the real ones back."""
_REAL = passwords.PARAMETERS


@contextmanager
def _cheap_hashes() -> Generator[None]:
    global _cheap  # noqa: PLW0603 - one for the module that it patches
    _cheap += 1
    passwords.PARAMETERS = CHEAPEST
    try:
        yield
    finally:
        _cheap -= 1
        if not _cheap:
            passwords.PARAMETERS = _REAL


@asynccontextmanager
async def running_auth(database_url: str, nats_url: str, **changed: Any) -> AsyncGenerator[Auth]:
    """An auth service on this database, with an administrator of known password.

    Its hashes are of the real kind, but take a thousandth of the time.
    """
    settings: dict[str, Any] = {
        "auth_admin_password": ADMIN_PASSWORD,
        "auth_register_rate_address": "1000/minute",
        "instance": "auth1",
        **changed,
    }
    app = create_app(AuthSettings(database_url=database_url, nats_url=nats_url, **settings))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with AsyncExitStack() as stack:
        with _cheap_hashes():
            await stack.enter_async_context(app.router.lifespan_context(app))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://auth"))
        yield Auth(app, client)
