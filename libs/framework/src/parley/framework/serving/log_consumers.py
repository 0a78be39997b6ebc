"""Consumers: functions of a service that are handed the events of chat's log, in order and without loss.

    @service.consumer("billing", events="message.*")
    async def bill(events: list[LogEvent]) -> None: ...

Chat remembers how far each consumer is, and sends the next batch when the function has returned. If it raises, or does
not return in time, the same events come again, so a consumer has to recognise by `event_id` what it has dealt with.
`Service` makes the `Consumers`; each function runs on the service's loop, for one batch at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.consumers import ConsumeEvents, LogEvent, RegisterConsumer

log = get_logger(__name__)

Consume = Callable[[list[LogEvent]], Awaitable[None]]
REGISTER_AGAIN = 60.0
"""Seconds after which a consumer is registered again: chat may have been restored to before the first registration."""
RETRY = 1.0
"""Seconds between two attempts to register while chat cannot be reached."""


class Consumer(NamedTuple):
    """A consumer's function, and the events that it is handed: a pattern such as `message.*`, or types and commas."""

    name: str
    events: str
    beginning: bool
    consume: Consume


class Consumers:
    """The consumers of a running service."""

    def __init__(self, bus: Bus, consumers: list[Consumer], tasks: Tasks) -> None:
        self._bus = bus
        self._consumers = consumers
        self._tasks = tasks

    async def start(self) -> None:
        """Begin to take events. A batch goes to one replica of the service."""
        for consumer in self._consumers:
            # The whole batch is one request: chat takes its answer as the sign that all of its events are dealt with.
            handle = partial(_consume, consumer)
            await self._bus.respond(subjects.consume(consumer.name), ConsumeEvents, handle, queue=self._bus.service)
            self._tasks.forever(self._register(consumer), name=f"consumer {consumer.name}")

    async def _register(self, consumer: Consumer) -> None:
        """Register a consumer with chat again and again, for ever."""
        question = RegisterConsumer(consumer.name, consumer.events, consumer.beginning)
        failing = False
        while True:
            try:
                await self._bus.call(subjects.REGISTER_CONSUMER, question)
            except Reject as rejection:
                if not failing:
                    log.warning(
                        "no events yet, trying again", consumer=consumer.name, code=str(rejection.code),
                        error=rejection.message,
                    )  # fmt: skip
                failing = True
                await asyncio.sleep(RETRY)
            else:
                failing = False
                await asyncio.sleep(REGISTER_AGAIN)


async def _consume(consumer: Consumer, batch: ConsumeEvents) -> None:
    await consumer.consume(batch.events)
