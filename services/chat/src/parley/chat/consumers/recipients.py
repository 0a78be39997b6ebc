"""Whom the log is handed to: services, which are sent the events over NATS, or chat itself.

Both are handed events by name, and say how many they take at once (`most`), which events of a page they want (`wanted`)
and how long they may be kept waiting for a quiet moment (`may_wait`, in seconds).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from parley.chat.consumers.pace import MOST
from parley.chat.log.database import DATABASE_ERRORS, fault_of
from parley.chat.log.tail import ALL, WantedEvents
from parley.common.sqlstate import Fault
from parley.common.wire import subjects
from parley.common.wire.consumers import ConsumeEvents, LogEvent
from parley.framework import Bus, Code, Reject, get_logger

log = get_logger(__name__)

TIMEOUT = 35.0
"""Seconds that a consumer may take for a batch. The framework ends its controller before that."""


class ServiceConsumers:
    """The consumers that are services: they want all events of their pattern, at any time."""

    most = MOST
    wanted = ALL
    may_wait = 0.0

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def hand(self, name: str, events: list[LogEvent]) -> None:
        """Have events dealt with. Raises `Reject`."""
        await self._bus.call(subjects.consume(name), ConsumeEvents(name, events), timeout=TIMEOUT)


class OwnConsumer(NamedTuple):
    """A consumer that is chat itself: the events that it wants, and what they are handed to.

    It begins at the beginning of the log, or else with what follows its first start. Where a new version makes
    something else of the events, it has another name; `before` is how the names of all its versions begin, of which
    only the present one is kept.
    """

    events: str
    consume: Callable[[list[LogEvent]], Awaitable[None]]
    before: str = ""
    beginning: bool = True
    wanted: WantedEvents = ALL
    may_wait: float = 0.0
    most: int = MOST

    async def hand(self, name: str, events: list[LogEvent]) -> None:
        """Have events dealt with. Raises `Reject`, and what Postgres raises while it is away."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self.consume(events)
        except Reject:
            raise
        except TimeoutError:
            raise Reject(Code.TIMEOUT) from None
        except Exception as error:
            if isinstance(error, DATABASE_ERRORS) and fault_of(error) is not Fault.STATEMENT:
                raise
            log.exception("a consumer of chat's own fails", consumer=name)
            raise Reject(Code.INTERNAL, f"{type(error).__name__}: {error}") from error
