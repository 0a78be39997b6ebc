"""Users with connected clients, and the stacks that they may be clients of."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from typing import Any, Protocol

import jwt
import pytest

from tests.support.clients.stock_clients import HAS_JS_CLIENT, JsClient, PythonClient
from tests.support.stack.stack import SECRET, RemoteStack, Stack

KINDS = [
    pytest.param("python", id="python-socketio"),
    pytest.param(
        "js",
        id="socket.io-client",
        marks=pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client"),
    ),
]


AnyClient = PythonClient | JsClient


AnyStack = Stack | RemoteStack


class HasUrl(Protocol):
    """Something that clients can connect to."""

    @property
    def url(self) -> str:
        """Where it answers."""
        ...


class People:
    """Makes users with connected clients, and stops the clients in the end."""

    def __init__(self, stack: AnyStack, *, registered: bool = True) -> None:
        self._stack = stack
        self._registered = registered
        """Else they are an adopter's own, which takes less time."""
        self._numbers = itertools.count(1)
        self._run = uuid.uuid4().hex[:6]
        self._clients: list[AnyClient] = []

    async def account(self, name: str = "user") -> dict[str, Any]:
        """A fresh account: `{user_id, access_token, ..., username}`."""
        username = f"{name}_{self._run}_{next(self._numbers)}"
        if not self._registered:
            claims = {"sub": username, "name": username, "exp": time.time() + 600}
            token = jwt.encode(claims, SECRET, "HS256")
            return {"user_id": username, "access_token": token, "username": username}
        return {**await self._stack.account(username), "username": username}

    async def attempt(
        self, auth: Any, *, gateway: HasUrl | None = None, kind: str = "python", namespace: str = "/chat",
        transports: list[str] | None = None, **options: Any,
    ) -> AnyClient:  # fmt: skip
        """A client that tries to connect."""
        client: AnyClient = PythonClient() if kind == "python" else JsClient(2 if kind == "old" else 4)
        self._clients.append(client)
        url = (gateway or self._stack.gateways[0]).url
        await client.start(url, namespace, auth, transports or ["websocket"], **options)
        return client

    async def join(self, name: str = "user", **options: Any) -> tuple[AnyClient, dict[str, Any]]:
        """A new user with a connected client."""
        account = await self.account(name)
        client = await self.attempt({"token": account["access_token"]}, **options)
        await client.connected()
        return client, account

    async def stop(self) -> None:
        """Disconnect everybody."""
        await asyncio.gather(*(client.stop() for client in self._clients))
