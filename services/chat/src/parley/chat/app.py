"""The chat process as a web app: the service, its REST API and its health checks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from parley.chat.api import files, rest, state_rest
from parley.chat.log import database
from parley.chat.service import service
from parley.chat.settings import ChatSettings
from parley.common.http.api import install_errors
from parley.common.http.api_page import install_api_page
from parley.common.http.cors import install_cors
from parley.common.http.health import health_router
from parley.framework.asyncapi.routes import asyncapi_router

MAX_WAIT = 3.0
"""Seconds that looking up users' rooms may wait for the database before this service reports that it is not ready."""


def create_app(settings: ChatSettings) -> FastAPI:
    """Build the service; it connects when the app starts and drains when it stops."""
    settings.refuse_unsafe()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with service.running(settings) as running:

            async def database_ready() -> str | None:
                if (waits := running.state.log.waits()) > MAX_WAIT:
                    return f"users' rooms have been asked for since {waits:.0f} s"
                return running.state.writer.check() or await database.check(running.state.reads)

            # This is a check of its own: a log that was restored must not serve what had been erased before the backup
            # was taken.
            async def erasures_ready() -> str | None:
                return running.state.erasures.check()

            async def bus_ready() -> str | None:
                return running.check()

            # The endpoints find the parts of the service here (`api.rest`).
            app.state.services = running.state
            app.include_router(
                health_router(
                    {"database": database_ready, "bus": bus_ready, "erasures": erasures_ready},
                    {"consumers": running.state.consumers.note},
                )
            )
            yield

    app = FastAPI(
        title="Parley chat",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        openapi_url="/api/openapi.json",
        redoc_url=None,
    )
    install_errors(
        app, streamed=lambda request: request.method == "PUT" and request.url.path.startswith(files.PARTS_PREFIX)
    )
    install_cors(app, settings)
    install_api_page(app, "/api/docs")
    app.include_router(rest.router)
    app.include_router(state_rest.router)
    app.include_router(files.router)
    app.include_router(asyncapi_router(service, app.version), prefix="/api")
    return app
