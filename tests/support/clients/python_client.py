"""python-socketio's own client, connected for as long as a test needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio


class WholeResponse(aiohttp.ClientResponse):
    """Read to its end at once, since python-engineio drops those that say no unread, with their connection."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        await super().start(connection)
        if self.status != 101:
            await self.read()
        return self


@asynccontextmanager
async def python_client(
    url: str, transport: str = "websocket", *, on: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Any]:
    """Connect to `/` or to `namespaces`, with the handlers `on`."""
    # python-engineio leaves a session of its own making open when it is refused.
    async with aiohttp.ClientSession(response_class=WholeResponse) as http:
        client: Any = socketio.AsyncClient(http_session=http, reconnection=False)
        for event, handler in (on or {}).items():
            client.on(event, handler, namespace=options.get("namespaces", ["/"])[0])
        try:
            await client.connect(url, transports=[transport], wait_timeout=10, **options)
            yield client
            # It does not say that it leaves while something else that it says is on its way.
            if client.connected:
                async with asyncio.timeout(5):
                    await client.eio.queue.join()
        finally:
            await client.disconnect()
