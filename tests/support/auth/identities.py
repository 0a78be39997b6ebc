"""Whom tokens identify, as gateways ask auth."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, Identity

SECRET = "the adopter's secret, longer than 32 bytes"


def external(sub: str = "bob@example.com", **changed: Any) -> str:
    now = int(time.time())
    return jwt.encode({"sub": sub, "name": "Bob", "iat": now, "exp": now + 60, **changed}, SECRET, "HS256")


async def identify(bus: Bus, token: str, *, guest: bool = False) -> Identity:
    return await bus.request(subjects.AUTHENTICATE, Authenticate(token, guest), Identity)


async def refusal(bus: Bus, token: str) -> Reject:
    with pytest.raises(Reject) as rejection:
        await identify(bus, token)
    return rejection.value
