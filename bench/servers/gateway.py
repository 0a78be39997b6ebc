"""The gateway as it is, with a watch on its event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import lag
from fastapi import FastAPI

from parley.common import run_process
from parley.gateway.app import SERVER_OPTIONS, create_app
from parley.gateway.settings import GatewaySettings


def create_watched_app(settings: GatewaySettings) -> FastAPI:
    """The gateway's app, with the watch begun when it starts."""
    app = create_app(settings)
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def watched(of: FastAPI) -> AsyncGenerator[Any]:
        async with lifespan(of) as state:
            lag.watch()
            yield state

    app.router.lifespan_context = watched
    return app


if __name__ == "__main__":
    run_process.main("gateway", "The gateway, watched.", GatewaySettings, create_watched_app, **SERVER_OPTIONS)
