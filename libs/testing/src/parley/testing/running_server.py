"""Services as they run in production: real NATS, real gateways, and stock clients.

    async with running(service) as server:
        ann = await server.connect("/dice", user="ann")
        assert (await ann.emit("roll", 6))["ok"]

NATS is a process of its own; gateways and services run in the test's loop. Auth is played by `tokens`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Authenticate, CheckWelcome
from parley.framework.remote.emitter import Emitter
from parley.framework.service import Service
from parley.testing.running_gateways import declare, serving
from parley.testing.stock_client import StockClient
from parley.testing.tokens import authenticate, check_welcome, token_for


class RunningServer:
    """The gateways and services that run, for tests to connect to. `running` yields it."""

    def __init__(self, bus: Bus, nats_url: str, urls: Sequence[str]) -> None:
        self.nats_url = nats_url
        self.urls = tuple(urls)
        """The URL of each gateway."""
        self._bus = bus
        self._emitter = Emitter(bus, "/")
        self._clients: list[StockClient] = []

    @property
    def url(self) -> str:
        """The URL of the first gateway."""
        return self.urls[0]

    def emitter(self, namespace: str) -> Emitter:
        """Return the emitter of a namespace, for connections on any gateway."""
        return self._emitter.of(namespace)

    async def connect(
        self,
        namespace: str,
        user: str | None = None,
        roles: tuple[str, ...] = (),
        name: str | None = None,
        auth: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        gateway: int = 0,
        transports: list[str] | None = None,
    ) -> StockClient:
        """Return a stock client that has joined a namespace: as this user, or without one with `auth` alone.

        `gateway` is the number of the gateway, from 0. Raises `ConnectError` when the client was not let in.
        """
        token = {} if user is None else {"token": token_for(user, name, roles)}
        client = StockClient(namespace)
        await client.connect(
            self.urls[gateway], auth={**token, **(auth or {})}, query=query, headers=headers, transports=transports
        )
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close all clients."""
        await asyncio.gather(*(client.close() for client in self._clients))


@asynccontextmanager
async def running(
    *services: Service[Any],
    namespaces: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    gateways: int = 1,
) -> AsyncGenerator[RunningServer]:
    """Run services behind gateways until the block ends.

    `namespaces` adds to the gateways' declarations of the services' namespaces, as in `{"/dice": {"auth": "guest"}}`.
    `settings` are given to services and gateways alike. NATS is started, unless `TEST_NATS_URL` or the setting
    `nats_url` names one. There is no auth service: a client is the user that its token names.
    """
    given = dict(settings or {})
    async with AsyncExitStack() as stack:
        # Instances have names of their own: tests that share a NATS must not take each other's.
        given["nats_url"] = url = given.get("nats_url") or await stack.enter_async_context(_nats())
        bus = await stack.enter_async_context(connect(ServiceSettings(nats_url=url, instance=_fresh("test")), "test"))
        await bus.respond(subjects.AUTHENTICATE, Authenticate, authenticate, queue="auth")
        await bus.respond(subjects.WELCOME, CheckWelcome, check_welcome, queue="auth")
        # NATS must know of these two before a gateway asks.
        await bus.flush()
        for service in services:
            own: dict[str, Any] = {"instance": _fresh(service.name)}
            await stack.enter_async_context(service.running(service.settings(**(own | given))))
        # Gateways read their namespaces from a file alone, as in production.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-test-")))
        declared = declare(directory / "namespaces.toml", services, namespaces or {})
        names = [_fresh(f"gateway{number}") for number in range(1, gateways + 1)]
        urls = await stack.enter_async_context(serving(names, declared, given))
        server = RunningServer(bus, url, urls)
        # Last, and so closed first: clients that outlived their gateways would try to come back.
        stack.push_async_callback(server.close)
        yield server


@asynccontextmanager
async def _nats() -> AsyncGenerator[str]:
    if url := os.environ.get("TEST_NATS_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="parley-test-") as directory, embedded.nats(Path(directory)) as url:
        yield url


def _fresh(name: str) -> str:
    """Return a name that no other process has, whatever else uses the same NATS."""
    return f"{name}-{uuid7().hex}"
