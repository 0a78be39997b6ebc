"""The chat service: its namespace, and what it opens to serve it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from parley.chat.api import admin
from parley.chat.api.socket import router
from parley.chat.delivery.beacon import run_beacon
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log import database
from parley.chat.log.writer import Writer
from parley.chat.queries.queries import Queries
from parley.chat.settings import Settings
from parley.chat.state import State
from parley.framework import Runtime, Service


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncGenerator[State]:
    """Connect to Postgres, commit and announce until the service ends."""
    settings: Settings = runtime.settings
    rooms = runtime.rooms(NAMESPACE)
    async with database.connect(settings.database_url, settings.chat_pool_size) as pool:
        queries = Queries(pool)
        writer = Writer(Publisher(rooms).publish, settings)
        await writer.connect()
        state = State(runtime.bus, pool, writer, queries, ChatLog(queries))
        runtime.tasks.forever(writer.run(), name="writer")
        runtime.tasks.forever(run_beacon(rooms, queries), name="beacon of heads")
        await admin.start(state)
        try:
            yield state
        finally:
            await state.log.close()


service = Service("chat", router, lifespan=lifespan, settings=Settings)
