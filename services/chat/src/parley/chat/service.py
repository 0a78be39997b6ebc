"""The chat service: its namespace, and the parts that its lifespan opens and runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.attachments import cleanup
from parley.chat.attachments.files import open_files
from parley.chat.consumers.runner import ConsumerRunner, OwnConsumer
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log import database
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.previews.link_previews import LinkPreviews
from parley.chat.search import term_index
from parley.chat.search.finder import Finder
from parley.chat.search.term_index import TermIndex
from parley.chat.settings import Settings
from parley.chat.state import ChatState
from parley.common.http.guarded_fetch import PublicFetcher
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
    ):
        writer = Writer(Publisher(rooms).publish, settings)
        with database.reachable():
            await writer.connect()
        announcer = Announcer(rooms, runtime.bus, url, writer.forget_rooms)
        files = open_files(reads, settings)
        previews = LinkPreviews(reads, PublicFetcher()) if settings.chat_previews else None
        if previews is not None:
            runtime.tasks.forever(previews.run(), name="previews")
        own = {term_index.NAME: OwnConsumer(term_index.EVENTS, TermIndex(reads).consume, term_index.ALL_VERSIONS)}
        if files is not None:
            own[cleanup.NAME] = OwnConsumer(cleanup.EVENTS, files.cleanup.consume)
            runtime.tasks.forever(files.cleanup.run(), name="expired uploads")
        consumers = ConsumerRunner(runtime.bus, url, own)
        rates = RateLimiter(settings.chat_user_requests_per_second, settings.chat_user_requests_burst)
        ledger = Ledger(settings.chat_erasure_ledger) if settings.chat_erasure_ledger else None
        erasing = ErasureRunner(url, reads, ledger, settings.chat_keep_days)
        with database.reachable():
            # This comes before anything is answered: after a restore, what had been erased has to be hidden first.
            await erasing.look()
        state = ChatState(
            runtime.bus, reads, writer, ChatLog(for_gateways, announcer), consumers, erasing, rates, Finder(reads),
            files,
            previews,
        )  # fmt: skip
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
