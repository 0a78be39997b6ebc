"""What auth answers on NATS: who is this, and are they still welcome."""

from __future__ import annotations

from parley.auth.identity.authenticator import Authenticator
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, CheckWelcome
from parley.framework import Bus


async def start(bus: Bus, authenticator: Authenticator) -> None:
    """Answer gateways, sharing the work with this service's other replicas (queue group `auth`)."""
    await bus.respond(subjects.AUTHENTICATE, Authenticate, authenticator.authenticate, bus.service)
    await bus.respond(subjects.WELCOME, CheckWelcome, authenticator.check_welcome, bus.service)
