"""Sessions of the auth service, as tests look at them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import jwt

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.operations import Kick, Selection, decode_operation


def session_of(granted: dict[str, Any]) -> str:
    """The session of an access token."""
    return jwt.decode(granted["access_token"], options={"verify_signature": False})["sid"]


@asynccontextmanager
async def kicks_heard(bus: Bus) -> AsyncGenerator[list[Selection]]:
    """What gateways are told to end."""
    heard: list[Selection] = []

    def hear(data: bytes) -> None:
        if isinstance(operation := decode_operation(data), Kick):
            heard.append(operation.selection)

    listener = bus.listen(subjects.GATEWAYS, hear)
    await bus.flush()
    yield heard
    listener.close()
