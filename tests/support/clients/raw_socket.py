"""Clients that speak Engine.IO by hand, for what a stock client would never send."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx

TIMEOUT = 10.0


class RawSocket:
    """One Engine.IO session over WebSocket; heartbeats are answered unless told otherwise."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, revision: int = 4) -> AsyncGenerator[RawSocket]:
        """Connect the transport."""
        address = f"{url}/socket.io/?EIO={revision}&transport=websocket"
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


class Polling:
    """An Engine.IO session over HTTP, by hand."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self.url = f"{url}/socket.io/?EIO=4&transport=polling"

    async def open(self, **headers: str) -> httpx.Response:
        """Begin a session."""
        answer = await self._http.get(self.url, headers=headers)
        if answer.status_code == 200:
            self.sid: str = json.loads(answer.text[1:])["sid"]
            self.url += f"&sid={self.sid}"
        return answer

    async def join(self, auth: Any) -> None:
        """Join the namespace."""
        assert (await self.post(f"40/chat,{json.dumps(auth)}")).status_code == 200
        assert (await self.poll()).text.startswith("40/chat,{")

    async def post(self, body: str) -> httpx.Response:
        """Send packets."""
        return await self._http.post(self.url, content=body)

    async def poll(self) -> httpx.Response:
        """Receive packets."""
        return await self._http.get(self.url)


async def joined(socket: RawSocket, auth: Any) -> None:
    """Join the namespace by hand."""
    await socket.handshake()
    assert (await socket.join("/chat", auth)).startswith("40/chat,{")


def codes(packets: list[str]) -> list[str]:
    """The codes in ack packets."""
    return [json.loads(re.sub(r"^43/chat,\d+", "", packet))[0]["error"]["code"] for packet in packets]
