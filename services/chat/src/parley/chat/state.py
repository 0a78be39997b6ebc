"""What the controllers, the endpoints and the responders of a running chat service work with."""

from __future__ import annotations

from dataclasses import dataclass

from parley.chat.delivery.room_events import ChatLog
from parley.chat.log.database import Pool
from parley.chat.log.writer import Writer
from parley.chat.queries.queries import Queries
from parley.framework import Bus


@dataclass(frozen=True, slots=True)
class State:
    """Everything the service's lifespan opened."""

    bus: Bus
    pool: Pool
    writer: Writer
    queries: Queries
    log: ChatLog
