"""An application of python-socketio on a real port: on its own server, and on the engine in both ways of serving it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import socketio

from parley.engineio import AsyncServer
from tests.support.services.serving import listening

STOCK, PLAIN, OWN = "python-socketio", "drop-in on plain uvicorn", "drop-in with its server options"
KINDS = (STOCK, PLAIN, OWN)


def make_server(kind: str, **options: Any) -> socketio.AsyncServer:
    """The server that an application would make. Pings are too far apart to matter."""
    return (socketio.AsyncServer if kind == STOCK else AsyncServer)(async_mode="asgi", **options)


@asynccontextmanager
async def served(kind: str, sio: socketio.AsyncServer, other_app: Any = None, **options: Any) -> AsyncGenerator[str]:
    """Serve it in this process. Yields its URL."""
    app = socketio.ASGIApp(sio, other_app)
    if isinstance(sio, AsyncServer) and kind == OWN:
        options = {**sio.server_options(), **options}
    async with listening(app, timeout_graceful_shutdown=1, **options) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await sio.shutdown()
