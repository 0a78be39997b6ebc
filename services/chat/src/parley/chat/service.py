"""The chat service: its namespace, and the parts that its lifespan opens and runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.attachments import cleanup
from parley.chat.attachments.files import Files, open_files
from parley.chat.consumers.recipients import OwnConsumer
from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.domain.batch_state import BatchDecision
from parley.chat.log import database
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.held import Screen
from parley.chat.log.writer import Publish, Writer
from parley.chat.moderation import reported_files
from parley.chat.moderation.screening import AT_ONCE, Screening
from parley.chat.notifications import notifier as notifying
from parley.chat.notifications.notifier import Notifier
from parley.chat.notifications.pusher import Pusher
from parley.chat.notifications.rules import EVENTS
from parley.chat.notifications.web_push import PushSigner
from parley.chat.previews.link_previews import LinkPreviews
from parley.chat.reading.read_cursors import ReadCursors
from parley.chat.reading.thread_cursors import ThreadCursors
from parley.chat.search import term_index
from parley.chat.search.finder import Finder
from parley.chat.search.term_index import TermIndex
from parley.chat.settings import ChatSettings
from parley.chat.signals.room_places import RoomPlaces
from parley.chat.signals.room_signals import RoomSignals
from parley.chat.slash.invocations import Invocations
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
AFTER_A_RUSH = 60.0
"""Seconds that the search index and the deletion of files may wait while many messages come. `search` says that the
index is behind; a file of a deleted message is refused from the deletion on."""
INDEXED_AT_ONCE = 2_000
"""Events that the index takes at once. What is read around a page of the log is the same for a small one."""
SWEEP_INTERVAL = 10.0
"""Seconds between two sweeps of the per-user request rates."""


async def _sweep(*limiters: RateLimiter) -> None:
    """Forget the request rates of users who have not asked for a while, for ever."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL)
        for limiter in limiters:
            limiter.sweep(time.monotonic())


async def _screen(settings: ChatSettings, stack: AsyncExitStack) -> Screen | None:
    """Return what looks at texts, if there is a service that does."""
    if not settings.chat_screen_url:
        return None
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=settings.chat_screen_timeout, limits=limits))
    return Screening(client, settings).screen


def _also(cursors: ReadCursors, thread_cursors: ThreadCursors, publisher: Publisher) -> Publish:
    """Return what the writer does with a committed batch."""

    async def publish(decision: BatchDecision) -> None:
        # Who sends a message has read up to it.
        cursors.sent(decision.appended)
        thread_cursors.sent(decision.appended)
        await publisher.publish(decision)

    return publish


def _own_consumers(reads: Pool, notifier: Notifier, files: Files | None) -> dict[str, OwnConsumer]:
    """Return the consumers of the log that chat has for itself, by their names."""
    own = {
        notifying.NAME: OwnConsumer(EVENTS, notifier.consume, beginning=False, wanted=notifying.WANTED),
        term_index.NAME: OwnConsumer(
            term_index.EVENTS,
            TermIndex(reads).consume,
            term_index.ALL_VERSIONS,
            may_wait=AFTER_A_RUSH,
            most=INDEXED_AT_ONCE,
        ),
    }
    if files is not None:
        own[cleanup.NAME] = OwnConsumer(cleanup.EVENTS, files.cleanup.consume, may_wait=AFTER_A_RUSH)
    return own


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncGenerator[ChatState]:
    """Connect to Postgres, and run the writer, the announcer, the consumers and the erasures until the service ends."""
    settings: ChatSettings = runtime.settings
    rooms = runtime.rooms(NAMESPACE)
    url = settings.database_dsn
    async with (
        # Gateways have connections of their own, so that they can repair rooms however many users wait to read. Each of
        # their queries has an index to use; the planner may ignore it while a table is short, so it may not scan.
        database.connect(url, FOR_GATEWAYS, enable_seqscan="off") as for_gateways,
        # Statements look up many keys, each once: to remember what was found costs a quarter of a list of rooms.
        database.connect(url, settings.chat_pool_size - OWN - FOR_GATEWAYS, enable_memoize="off") as reads,
        AsyncExitStack() as stack,
    ):
        screen = await _screen(settings, stack)
        cursors = ReadCursors(reads, rooms)
        thread_cursors = ThreadCursors(reads, rooms)
        writer = Writer(_also(cursors, thread_cursors, Publisher(rooms)), settings, screen)
        with database.reachable():
            await writer.connect()
        announcer = Announcer(rooms, runtime.bus, url, writer.forget_rooms)
        signals = RoomSignals(rooms, runtime.emitter(NAMESPACE), RoomPlaces(reads))
        notifier = Notifier(reads, rooms, PUSH_AFTER, signals.present.online)
        cursors.on_moved = notifier.cursors_moved
        files = open_files(reads, settings, partial(reported_files.seen, reads, settings.kept_seconds))
        fetcher = PublicFetcher()
        previews = LinkPreviews(reads, fetcher) if settings.chat_previews else None
        consumers = ConsumerRunner(runtime.bus, url, _own_consumers(reads, notifier, files), lambda: writer.committed)
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
        own = OwnParts(
            cursors, notifier, drafts, settings.chat_max_body, signer, thread_cursors,
            Invocations(reads, writer, runtime.bus, rooms, settings.chat_max_body),
        )  # fmt: skip
        state = ChatState(
            runtime.bus, reads, writer, ChatLog(for_gateways, announcer), consumers, erasing, rates, signals, own,
            Finder(reads), files, previews,
        )  # fmt: skip
        running: dict[str, Coroutine[Any, Any, None]] = {
            "writer": writer.run(),
            "announcements": announcer.run(),
            "consumers": consumers.run(),
            "erasures": erasing.run(),
            "read cursors": cursors.run(),
            "thread cursors": thread_cursors.run(),
            "notifications": notifier.run(),
            "drafts": drafts.run(),
            "scheduled messages": scheduler.run(),
            "slash commands": own.invocations.run(),
            "rates of users": _sweep(
                rates, signals.typing_rates, signals.choice_rates, own.invocations.rates, signals.present.rates
            ),
        }
        if previews is not None:
            running["previews"] = previews.run()
        if files is not None:
            running["expired uploads"] = files.cleanup.run()
        if signer is not None:
            running["pushes"] = Pusher(reads, runtime.bus, signer, fetcher).run()
        for name, run in running.items():
            runtime.tasks.forever(run, name=name)
        await admin.start(state)
        try:
            yield state
        finally:
            await signals.close()
            await state.log.close()
            await cursors.flush()
            await thread_cursors.flush()
            await drafts.flush()
            await fetcher.close()


service = Service("chat", router, lifespan=lifespan, settings=ChatSettings)
