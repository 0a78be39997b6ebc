"""What tests on a real NATS need all the time: a connection, names of their own, and refusals."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley.common.errors import Reject
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire.identifiers import uuid7


def fresh(prefix: str) -> str:
    """A name nobody else uses on the shared server."""
    return f"{prefix}-{uuid7().hex}"


@asynccontextmanager
async def running_bus(url: str, service: str = "test", instance: str = "", **settings: Any) -> AsyncGenerator[Bus]:
    """A connection under a name of its own."""
    async with connect(ServiceSettings(nats_url=url, instance=instance or fresh("i"), **settings), service) as bus:
        yield bus


async def rejected(attempt: Any) -> Reject:
    """The rejection an awaitable ends with."""
    with pytest.raises(Reject) as caught:
        await attempt
    return caught.value
