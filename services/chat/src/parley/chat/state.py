"""What the controllers, the endpoints and the responders of a running chat service work with."""

from __future__ import annotations

from dataclasses import dataclass

from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.writer import Writer
from parley.common.rate_limiter import RateLimiter
from parley.framework import Bus


@dataclass(frozen=True, slots=True)
class ChatState:
    """Everything the service's lifespan opened."""

    bus: Bus
    reads: Pool
    """For what users and administrators ask. The writer has its own connection, and gateways theirs."""
    writer: Writer
    log: ChatLog
    consumers: ConsumerRunner
    erasures: ErasureRunner
    request_rates: RateLimiter
    """How fast each user may ask over HTTP; the gateways limit what comes over sockets."""
