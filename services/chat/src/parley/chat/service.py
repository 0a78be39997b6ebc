"""The chat service: its namespace, and the parts that its lifespan opens and runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log import database
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.held import Screen
from parley.chat.log.writer import Writer
from parley.chat.moderation.screening import AT_ONCE, Screening
from parley.chat.settings import Settings
from parley.chat.signals.room_places import RoomPlaces
from parley.chat.signals.room_signals import RoomSignals
from parley.chat.state import ChatState
from parley.common.rate_limiter import RateLimiter
from parley.framework import Runtime, Service

FOR_GATEWAYS = 2
"""Connections to Postgres that only the requests of gateways use."""
OWN = 3
"""Connections that one part has for itself: the writer, the announcer, and the runner of consumers."""
SWEEP_INTERVAL = 10.0
"""Seconds between two sweeps of the per-user request rates."""


async def _sweep(rates: RateLimiter) -> None:
    """Forget the request rates of users who have not asked for a while, for ever."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL)
        rates.sweep(time.monotonic())


async def _screen(settings: Settings, stack: AsyncExitStack) -> Screen | None:
    """Return what looks at texts, if there is a service that does."""
    if not settings.chat_screen_url:
        return None
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=settings.chat_screen_timeout, limits=limits))
    return Screening(client, settings).screen


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncGenerator[ChatState]:
    """Connect to Postgres, and run the writer, the announcer, the consumers and the erasures until the service ends."""
    settings: Settings = runtime.settings
    rooms = runtime.rooms(NAMESPACE)
    url = settings.database_dsn
    async with (
        # Gateways have connections of their own, so that they can repair rooms however many users wait to read. Each of
        # their queries has an index to use; the planner may ignore it while a table is short, so it may not scan.
        database.connect(url, FOR_GATEWAYS, enable_seqscan="off") as for_gateways,
        database.connect(url, settings.chat_pool_size - OWN - FOR_GATEWAYS) as reads,
        AsyncExitStack() as stack,
    ):
        screen = await _screen(settings, stack)
        writer = Writer(Publisher(rooms).publish, settings, screen)
        with database.reachable():
            await writer.connect()
        announcer = Announcer(rooms, runtime.bus, url, writer.forget_rooms)
        consumers = ConsumerRunner(runtime.bus, url)
        rates = RateLimiter(settings.chat_user_requests_per_second, settings.chat_user_requests_burst)
        ledger = Ledger(settings.chat_erasure_ledger) if settings.chat_erasure_ledger else None
        erasing = ErasureRunner(url, reads, ledger, settings.chat_keep_days)
        with database.reachable():
            # This comes before anything is answered: after a restore, what had been erased has to be hidden first.
            await erasing.look()
        places = RoomPlaces(reads)
        signals = RoomSignals(rooms, places)
        log = ChatLog(for_gateways, announcer)
        state = ChatState(runtime.bus, reads, writer, log, consumers, erasing, rates, signals)
        runtime.tasks.forever(writer.run(), name="writer")
        runtime.tasks.forever(announcer.run(), name="announcements")
        runtime.tasks.forever(consumers.run(), name="consumers")
        runtime.tasks.forever(erasing.run(), name="erasures")
        for each in (rates, signals.typing_rates, signals.choice_rates):
            runtime.tasks.forever(_sweep(each), name="rates of users")
        await admin.start(state)
        try:
            yield state
        finally:
            await places.close()
            await state.log.close()


service = Service("chat", router, lifespan=lifespan, settings=Settings)
