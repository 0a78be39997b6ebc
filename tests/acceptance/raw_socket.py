"""A WebSocket that speaks Engine.IO by hand, for what a stock client would never send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

TIMEOUT = 10.0


class RawSocket:
    """One Engine.IO session over WebSocket; heartbeats are answered unless told otherwise."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncGenerator[RawSocket]:
        """Connect the transport."""
        address = f"{url}/socket.io/?EIO=4&transport=websocket"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            yield cls(socket)

    async def handshake(self) -> dict[str, Any]:
        """The server's OPEN packet."""
        text = await self.text()
        assert text.startswith("0")
        return json.loads(text[1:])

    async def join(self, namespace: str, auth: Any) -> str:
        """Ask for a namespace and return what the server says."""
        await self.send(f"40{namespace},{json.dumps(auth)}")
        return await self.text()

    async def send(self, packet: str | bytes) -> None:
        """Send one frame."""
        if isinstance(packet, bytes):
            await self._socket.send_bytes(packet)
        else:
            await self._socket.send_str(packet)

    async def text(self) -> str:
        """The next packet that is no heartbeat."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                message = await self._socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, message
                if message.data != "2":
                    return message.data
                await self.send("3")

    async def close_code(self) -> int | None:
        """Wait until the server has closed the transport, and return the code it gave."""
        await self.closed()
        return self._socket.close_code

    async def closed(self) -> None:
        """Wait until the server has closed the transport; what it says before is ignored."""
        async with asyncio.timeout(TIMEOUT):
            async for _ in self._socket:
                pass
