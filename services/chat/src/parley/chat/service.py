"""The chat service: its namespace, and the parts that its lifespan opens and runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.consumers.runner import ConsumerRunner, OwnConsumer
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.domain.batch import BatchDecision
from parley.chat.log import database
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Publish, Writer
from parley.chat.notifications import notifier as notifying
from parley.chat.notifications.notifier import Notifier
from parley.chat.notifications.pusher import Pusher
from parley.chat.notifications.rules import EVENTS
from parley.chat.notifications.web_push import PushSigner
from parley.chat.reading.read_cursors import ReadCursors
from parley.chat.settings import Settings
from parley.chat.state import ChatState, OwnParts
from parley.chat.unsent.drafts import DraftKeeper
from parley.chat.unsent.scheduler import Scheduler
from parley.common.http.guarded_fetch import PublicFetcher
from parley.common.rate_limiter import RateLimiter
from parley.framework import Runtime, Service

FOR_GATEWAYS = 2
"""Connections to Postgres that only the requests of gateways use."""
OWN = 3
"""Connections that one part has for itself: the writer, the announcer, and the runner of consumers."""
PUSH_AFTER = 3.0
"""Seconds that a notification may be read on another device before it is pushed."""
SWEEP_INTERVAL = 10.0
"""Seconds between two sweeps of the per-user request rates."""


async def _sweep(rates: RateLimiter) -> None:
    """Forget the request rates of users who have not asked for a while, for ever."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL)
        rates.sweep(time.monotonic())


def _also(cursors: ReadCursors, publisher: Publisher) -> Publish:
    """Return what the writer does with a committed batch."""

    async def publish(plan: BatchDecision) -> None:
        # Who sends a message has read up to it.
        cursors.sent(plan.appended)
        await publisher.publish(plan)

    return publish


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
        cursors = ReadCursors(reads, rooms)
        writer = Writer(_also(cursors, Publisher(rooms)), settings)
        with database.reachable():
            await writer.connect()
        announcer = Announcer(rooms, runtime.bus, url, writer.forget_rooms)
        notifier = Notifier(reads, rooms, PUSH_AFTER)
        cursors.on_moved = notifier.cursors_moved
        followers = {
            notifying.NAME: OwnConsumer(EVENTS, notifier.consume, beginning=False, wanted=notifying.WANTED),
        }
        consumers = ConsumerRunner(runtime.bus, url, followers)
        rates = RateLimiter(settings.chat_user_requests_per_second, settings.chat_user_requests_burst)
        ledger = Ledger(settings.chat_erasure_ledger) if settings.chat_erasure_ledger else None
        erasing = ErasureRunner(url, reads, ledger, settings.chat_keep_days)
        with database.reachable():
            # This comes before anything is answered: after a restore, what had been erased has to be hidden first.
            await erasing.look()
        drafts = DraftKeeper(reads, rooms, settings.chat_max_body)
        key = settings.chat_push_key.get_secret_value()
        signer = PushSigner(key, settings.chat_push_contact) if key else None
        scheduler = Scheduler(reads, writer, runtime.bus, rooms)
        own = OwnParts(cursors, notifier, drafts, settings.chat_max_body, signer)
        state = ChatState(runtime.bus, reads, writer, ChatLog(for_gateways, announcer), consumers, erasing, rates, own)
        runtime.tasks.forever(writer.run(), name="writer")
        runtime.tasks.forever(announcer.run(), name="announcements")
        runtime.tasks.forever(consumers.run(), name="consumers")
        runtime.tasks.forever(erasing.run(), name="erasures")
        runtime.tasks.forever(_sweep(rates), name="rates of users")
        runtime.tasks.forever(cursors.run(), name="read cursors")
        runtime.tasks.forever(notifier.run(), name="notifications")
        runtime.tasks.forever(drafts.run(), name="drafts")
        runtime.tasks.forever(scheduler.run(), name="scheduled messages")
        # Nothing is opened before somebody is pushed to.
        fetcher = PublicFetcher()
        if signer is not None:
            runtime.tasks.forever(Pusher(reads, signer, fetcher).run(), name="pushes")
        await admin.start(state)
        try:
            yield state
        finally:
            await state.log.close()
            await cursors.flush()
            await drafts.flush()
            await fetcher.close()


service = Service("chat", router, lifespan=lifespan, settings=Settings)
