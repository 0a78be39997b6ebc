"""A gateway's connection to the broker, and a service behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from parley.common.nats.bus import Bus
from tests.support.bus import running_bus
from tests.support.gateway.backend import Backend


@pytest.fixture
async def gateway_bus(nats_url: str) -> AsyncIterator[Bus]:
    async with running_bus(nats_url, "gateway") as bus:
        yield bus


@pytest.fixture
async def backend(nats_url: str) -> AsyncIterator[Backend]:
    async with running_bus(nats_url, "service") as bus:
        yield Backend(bus)


@pytest.fixture
async def answering(backend: Backend, namespace: str) -> Backend:
    """The service behind the test's namespace, which accepts everything at once."""
    backend.answering = True
    await backend.serve(namespace)
    return backend
