"""The composition root of the chat service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from parley.chat import database, rest
from parley.chat.controllers import Controllers, chat_router
from parley.chat.publisher import Publisher
from parley.chat.queries import Queries
from parley.chat.responders import Responders
from parley.chat.settings import Settings
from parley.chat.writer import Writer
from parley.common import bus
from parley.common.health import health_router
from parley.common.http import install_errors
from parley.common.service import Service
from parley.common.tasks import Tasks


def create_app(settings: Settings) -> FastAPI:
    """Build the service; it connects when the app starts and drains when it stops."""
    settings.check()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with (
            database.connect(settings.database_url, settings.chat_pool_size) as pool,
            bus.connect(settings, "chat") as connection,
            Tasks() as tasks,
        ):
            queries = Queries(pool)
            writer = Writer(pool, Publisher(connection).publish, settings)
            service = Service(connection, chat_router(Controllers(writer, queries)))
            responders = Responders(connection, pool, queries, writer)

            async def database_ready() -> str | None:
                return await database.check(pool)

            async def bus_ready() -> str | None:
                return connection.check()

            app.state.services = rest.ChatServices(connection, writer, queries)
            app.include_router(health_router({"database": database_ready, "bus": bus_ready}))
            tasks.forever(writer.run(), name="writer")
            tasks.forever(responders.run_beacon(), name="beacon of heads")
            await service.start()
            await responders.start()
            try:
                yield
            finally:
                await service.close()
                await responders.close()

    app = FastAPI(
        title="Parley chat", version="0.1.0", lifespan=lifespan, docs_url="/api/docs", openapi_url="/api/openapi.json"
    )
    install_errors(app)
    app.include_router(rest.router)
    return app
