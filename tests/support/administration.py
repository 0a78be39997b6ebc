"""Auth, chat and gateways, all of them real, in the process of a test: what administrators do, seen by clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from parley.chat.app import create_app
from parley.chat.service import service
from parley.chat.settings import ChatSettings
from parley.testing.running_gateways import declare, serving
from parley.testing.stock_client import StockClient
from tests.support.auth.service import Auth, bearer, running_auth


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, and clients of it."""

    auth: Auth
    api: httpx.AsyncClient
    urls: list[str]
    open: AsyncExitStack

    async def call(self, method: str, path: str, token: str, body: Any = None) -> httpx.Response:
        """A request to auth or chat, whichever it is for."""
        client = self.api if path.startswith("/api") else self.auth.client
        return await client.request(method, path, json=body, headers=bearer(token))

    async def connected(self, token: str, gateway: int = 0, namespace: str = "/chat", **auth: str) -> StockClient:
        """A stock client that has joined a namespace; `auth` is what it says besides its token."""
        client = StockClient(namespace)
        await client.connect(self.urls[gateway], auth={"token": token, **auth})
        self.open.push_async_callback(client.close)
        return client


@asynccontextmanager
async def stack(
    database_url: str, nats_url: str, directory: Path, *, gateways: int = 1, settings: Mapping[str, Any] | None = None
) -> AsyncGenerator[Stack]:
    """Run it until the block ends."""
    async with AsyncExitStack() as opened:
        auth = await opened.enter_async_context(running_auth(database_url, nats_url))
        app = create_app(ChatSettings(database_url=database_url, nats_url=nats_url, instance="chat1"))
        await opened.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        api = await opened.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://chat"))
        namespaces = declare(directory / "namespaces.toml", [service], {"/chat": {"recovery": 60}})
        names = [f"gateway{number}" for number in range(1, gateways + 1)]
        urls = await opened.enter_async_context(serving(names, namespaces, {"nats_url": nats_url, **(settings or {})}))
        yield Stack(auth, api, urls, opened)
