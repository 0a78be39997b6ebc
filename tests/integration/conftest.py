"""Parts of the services on real Postgres and NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from parley.chat.log import database
from parley.common.nats.bus import Bus
from tests.support.bus import fresh, running_bus
from tests.support.gateway.rooms import Gateway, Log, running_gateway, running_log


@pytest.fixture
def one_nats(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test starts with the kit uses the shared NATS; not where two of a kind would answer for each other."""
    monkeypatch.setenv("TEST_NATS_URL", nats_url)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[database.Pool]:
    """Connections to the test's database."""
    async with database.connect(database_url, 4) as opened:
        yield opened


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection to the shared NATS."""
    async with running_bus(nats_url) as connected:
        yield connected


@pytest.fixture
async def other(nats_url: str) -> AsyncIterator[Bus]:
    """Another process."""
    async with running_bus(nats_url) as connected:
        yield connected


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return fresh("/n")


@pytest.fixture
async def log(nats_url: str, namespace: str) -> AsyncIterator[Log]:
    """The service that the rooms of the namespace are fed from."""
    async with running_log(nats_url, namespace) as running:
        yield running


@pytest.fixture
async def gateway(nats_url: str, namespace: str) -> AsyncIterator[Gateway]:
    """A fanout with its sockets."""
    async with running_bus(nats_url, "gateway") as bus, running_gateway(bus, namespace) as running:
        yield running
