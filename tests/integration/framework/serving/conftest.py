"""A gateway's side for the services of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.bus import running_bus
from tests.support.framework.calling import Caller


@pytest.fixture
async def caller(nats_url: str, namespace: str) -> AsyncIterator[Caller]:
    async with running_bus(nats_url, "gateway") as bus:
        calling = Caller(bus, namespace)
        await calling.start()
        yield calling
