"""A running stack and stock clients for the acceptance tests."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import jwt
import pytest

from parley.cli.stack import embedded
from tests.conftest import run_sql, with_database
from tests.support.clients.stock_clients import HAS_JS_CLIENT, JsClient, PythonClient
from tests.support.services.tiny_service import TinyService
from tests.support.stack.one_command import OneCommand
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


@pytest.fixture(scope="session")
async def stack(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AnyStack]:
    """Two gateways, two chats and one auth, shared by the tests that only use them.

    With TEST_STACK_URL it is the stack behind that address, with TEST_STACK_ADMIN_PASSWORD.
    """
    if url := os.environ.get("TEST_STACK_URL"):
        remote = RemoteStack(url, os.environ["TEST_STACK_ADMIN_PASSWORD"])
        yield remote
        await remote.http.aclose()
        return
    async with running_stack(postgres_url, template_database, tmp_path_factory.mktemp("stack")) as running:
        yield running


@asynccontextmanager
async def running_stack(
    postgres_url: str, template_database: str, directory: Path, **settings: str
) -> AsyncGenerator[Stack]:
    """A stack with a database of its own, for as long as the tests of a module or all take."""
    name = f"stack_{uuid.uuid4().hex[:8]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    # A NATS of its own: services of another test on the same one would answer each other's requests.
    with embedded.nats(directory / "nats") as nats_url:
        running = Stack(with_database(postgres_url, name), nats_url, directory, **settings)
        await running.start()
        yield running
        await running.stop()


NAMESPACES = """
[namespaces."/chat"]
service = "chat"
recovery = 60

[namespaces."/tiny"]
service = "tiny"

[namespaces."/brief"]
service = "tiny"
recovery = 1
"""


@pytest.fixture(scope="session")
async def edge_stack(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack that recovers connections, serves older clients and has more namespaces; its gateways may be restarted.

    Behind `/tiny` and `/brief` is the service `tiny`, which runs here.
    """
    directory = tmp_path_factory.mktemp("edge")
    (directory / "namespaces.toml").write_text(NAMESPACES)
    settings = {
        "PARLEY_NAMESPACES_FILE": str(directory / "namespaces.toml"),
        "PARLEY_GATEWAY_ALLOW_EIO3": "true",
        "PARLEY_GATEWAY_DRAIN_SECONDS": "1.5",
    }
    async with running_stack(postgres_url, template_database, directory, **settings) as running:
        yield running


@pytest.fixture(scope="session")
async def tiny(edge_stack: Stack) -> AsyncIterator[TinyService]:
    """The service behind `/tiny` and `/brief`."""
    async with TinyService.running(edge_stack.nats_url) as running:
        yield running


@pytest.fixture
async def edge_people(edge_stack: Stack) -> AsyncIterator[People]:
    """Users of that stack."""
    everybody = People(edge_stack, registered=False)
    yield everybody
    await everybody.stop()


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


@pytest.fixture
async def people(stack: AnyStack) -> AsyncIterator[People]:
    """Users of the shared stack."""
    everybody = People(stack)
    yield everybody
    await everybody.stop()


@pytest.fixture(scope="session")
def one_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneCommand]:
    """`parley up` as a user runs it: everything behind one port."""
    running = OneCommand(tmp_path_factory.mktemp("up") / "data").wait_until_ready()
    yield running
    assert running.stop() == 0, running.printed


@pytest.fixture(scope="session")
def stack_url(one_command: OneCommand) -> str:
    """Where the one-command stack answers."""
    return one_command.url


@pytest.fixture
async def own_stack(database_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Stack]]]:
    """Makes a stack that the test may break, with a database and a NATS of its own."""
    made: list[Stack] = []
    with embedded.nats(tmp_path / "own_nats") as own_nats_url:

        async def make(*, database: str = database_url, nats: str = own_nats_url, **settings: str) -> Stack:
            running = Stack(database, nats, tmp_path, **settings)
            made.append(running)
            await running.start()
            return running

        yield make
        for running in made:
            await running.stop()
