"""The chat service: its namespace, and what it opens to serve it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log import database
from parley.chat.log.erasure_ledger import Ledger
from parley.chat.log.erasure_runner import ErasureRunner
from parley.chat.log.writer import Writer
from parley.chat.settings import Settings
from parley.chat.state import ChatState
from parley.common.rate_limiter import RateLimiter
from parley.framework import Runtime, Service

FOR_GATEWAYS = 2
"""Connections for what gateways ask."""
OWN = 3
"""Connections that have one user each: the writer, who announces, and who hands over to consumers."""
SWEEP_INTERVAL = 10.0


async def _sweep(rates: RateLimiter) -> None:
    """Forget users who have not asked for a while, for ever."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL)
        rates.sweep(time.monotonic())


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncGenerator[ChatState]:
    """Connect to Postgres, commit and announce until the service ends."""
    settings: Settings = runtime.settings
    rooms = runtime.rooms(NAMESPACE)
    url = settings.database_dsn
    async with (
        # However many wait to read, what is to be committed and what gateways need to repair do not wait with them.
        # All that is asked here has an index, of which the planner may think little while a table is short.
        database.connect(url, FOR_GATEWAYS, enable_seqscan="off") as for_gateways,
        database.connect(url, settings.chat_pool_size - OWN - FOR_GATEWAYS) as reads,
    ):
        writer = Writer(Publisher(rooms).publish, settings)
        with database.reachable():
            await writer.connect()
        announcer = Announcer(rooms, runtime.bus, url, writer.forget_rooms)
        consumers = ConsumerRunner(runtime.bus, url)
        rates = RateLimiter(settings.chat_user_requests_per_second, settings.chat_user_requests_burst)
        ledger = Ledger(settings.chat_erasure_ledger) if settings.chat_erasure_ledger else None
        erasing = ErasureRunner(url, reads, ledger, settings.chat_keep_days)
        # Before anything is answered: of a log that was restored, what had been erased is hidden first.
        with database.reachable():
            await erasing.look()
        state = ChatState(runtime.bus, reads, writer, ChatLog(for_gateways, announcer), consumers, erasing, rates)
        runtime.tasks.forever(writer.run(), name="writer")
        runtime.tasks.forever(announcer.run(), name="announcements")
        runtime.tasks.forever(consumers.run(), name="consumers")
        runtime.tasks.forever(erasing.run(), name="erasures")
        runtime.tasks.forever(_sweep(rates), name="rates of users")
        await admin.start(state)
        try:
            yield state
        finally:
            await state.log.close()


service = Service("chat", router, lifespan=lifespan, settings=Settings)
