"""The gateway process as an ASGI app, whose lifespan connects to NATS and runs one `Gateway`.

This is the only place where parts of the process meet the web server. Requests below `/socket.io` never reach the app
itself: `EnginePaths` takes them, and WebSockets have a protocol class of their own (`SERVER_OPTIONS`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from parley.common.http.api import install_errors
from parley.common.http.connection.server import http_options
from parley.common.http.health import health_router
from parley.common.nats import bus
from parley.engineio.polling import EnginePaths
from parley.engineio.server import STATE_KEY
from parley.engineio.websocket.protocol import WebSocket
from parley.gateway import namespaces
from parley.gateway.gateway import Gateway
from parley.gateway.process.web_page import WebPage
from parley.gateway.settings import GatewaySettings

PATH = "/socket.io"
"""The path at which stock clients look for a Socket.IO server."""

WRITE_INTERVAL = 0.002
"""Seconds that commands are gathered when there are many; docs/adr/0023-the-path-of-a-message.md says why."""
SERVER_OPTIONS: dict[str, Any] = {"ws": WebSocket, "backlog": 4096, **http_options()}
"""The options with which uvicorn has to serve a gateway."""


def create_app(settings: GatewaySettings) -> FastAPI:
    """Build the web app. The gateway connects when the app starts and ends its connections when it stops."""
    configured = namespaces.load(settings.namespaces_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with bus.connect(settings, "gateway", write_interval=WRITE_INTERVAL) as connection:
            gateway = Gateway(connection, configured, settings)

            async def bus_ready() -> str | None:
                return "stopping" if gateway.server.engine.draining else connection.check()

            async def standing_ready() -> str | None:
                return gateway.check()

            app.include_router(health_router({"bus": bus_ready, "standing": standing_ready}))
            if settings.web_dir is not None:
                app.mount("/", WebPage(directory=settings.web_dir, html=True))
            await gateway.start()
            app.state.drain = gateway.drain
            try:
                yield {STATE_KEY: {PATH.encode(): gateway.server.engine}}
            finally:
                await gateway.close()

    app = FastAPI(title="Parley gateway", version="0.1.0", lifespan=lifespan, docs_url=None, openapi_url=None)
    install_errors(app)
    app.add_middleware(EnginePaths)
    return app
