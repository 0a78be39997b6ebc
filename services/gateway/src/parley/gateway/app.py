"""The composition root of the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from fastapi import FastAPI

from parley.common import bus
from parley.common.health import health_router
from parley.common.http import install_errors
from parley.gateway import namespaces
from parley.gateway.gateway import Gateway
from parley.gateway.page import Page
from parley.gateway.settings import MAX_MESSAGE, Settings

SERVER_OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": MAX_MESSAGE,
    # Compression costs memory and CPU per connection that chat-sized messages do not repay.
    "ws_per_message_deflate": False,
    "backlog": 4096,
}
"""How uvicorn must serve a gateway."""


def create_app(settings: Settings) -> FastAPI:
    """Build the gateway; it connects when the app starts and ends its connections when it stops."""
    configured = namespaces.load(settings.namespaces_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with bus.connect(settings, "gateway") as connection:
            gateway = Gateway(connection, configured, settings)

            async def bus_ready() -> str | None:
                return connection.check()

            app.include_router(health_router({"bus": bus_ready}))
            engine = socketio.ASGIApp(gateway.edge, socketio_path="socket.io")
            app.mount("/socket.io", engine)
            if settings.web_dir is not None:
                app.mount("/", Page(directory=settings.web_dir, html=True))
            await gateway.start()
            try:
                yield
            finally:
                await gateway.close()

    app = FastAPI(title="Parley gateway", version="0.1.0", lifespan=lifespan, docs_url=None, openapi_url=None)
    # This also guards polling, whose library reads a whole body before it looks at its size.
    install_errors(app, settings.gateway_max_message)
    return app
