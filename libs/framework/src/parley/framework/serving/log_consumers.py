"""Consumers: functions of a service that are handed the events of chat's log, in order and without loss.

@service.consumer("billing", events="message.*")
async def bill(events: list[LogEvent]) -> None: ...

Chat remembers how far each consumer is and goes on when the function has returned. If it raises, or does not return in
time, the events come again: a consumer recognises what it has dealt with by `event_id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
"""Seconds between two times of asking chat for events, which may have been restored from before the first."""
RETRY = 1.0


class Consumer(NamedTuple):
    """A function, and which events it is handed: `message.*`, or types with commas between them."""

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
        """Begin to take events; replicas of the service share them."""
        for consumer in self._consumers:
            await self._bus.respond(
                subjects.consume(consumer.name), ConsumeEvents, _handler(consumer), queue=self._bus.service
            )
            self._tasks.forever(self._register(consumer), name=f"consumer {consumer.name}")

    async def _register(self, consumer: Consumer) -> None:
        """Ask chat for the events, for ever."""
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


def _handler(consumer: Consumer) -> Callable[[ConsumeEvents], Awaitable[None]]:
    async def handle(batch: ConsumeEvents) -> None:
        await consumer.consume(batch.events)

    return handle
