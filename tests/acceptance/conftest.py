"""A running stack and stock clients for the acceptance tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from parley.cli.stack import embedded
from tests.support.clients import chromium
from tests.support.clients.people import AnyStack, People
from tests.support.clients.visitor import Visitor
from tests.support.services.tiny_service import TinyService
from tests.support.stack.one_command import OneCommand
from tests.support.stack.running import running_stack
from tests.support.stack.stack import RemoteStack, Stack


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture
async def people(stack: AnyStack) -> AsyncIterator[People]:
    """Users of the shared stack."""
    everybody = People(stack)
    yield everybody
    await everybody.stop()


@pytest.fixture(scope="package")
def one_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneCommand]:
    """`parley up` as a user runs it: everything behind one port."""
    running = OneCommand(tmp_path_factory.mktemp("up") / "data").wait_until_ready()
    yield running
    assert running.stop() == 0, running.printed


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium. Each visitor has a context of their own in it."""
    async with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
async def signed_up(browser: Browser, stack_url: str) -> tuple[Visitor, Visitor]:
    """Two people who have just signed up."""
    return await Visitor.two(browser, stack_url)


@pytest.fixture
async def two_visitors(signed_up: tuple[Visitor, Visitor]) -> tuple[Visitor, Visitor]:
    """The two in a room of their own, which the first owns."""
    room = f"room {uuid.uuid4().hex[:8]}"
    ada, grace = signed_up
    for visitor in signed_up:
        await visitor.tidy()
    await ada.create_room(room)
    await grace.join_room(room)
    return signed_up
