"""An ASGI application on a real port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.support.waiting import until


@asynccontextmanager
async def listening(app: Any, bound: socket.socket | None = None, **options: Any) -> AsyncGenerator[int]:
    """Serve it by uvicorn in this process, on a socket of IPv4's loopback or that one. Yields its port."""
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", **options))
    with bound or socket.create_server(("127.0.0.1", 0)) as accepting:
        serving = asyncio.ensure_future(server.serve(sockets=[accepting]))
        try:
            await until(lambda: server.started or serving.done(), "the server listens")
            assert not serving.done()
            yield accepting.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
