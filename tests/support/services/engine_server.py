"""The gateway's engine on a real port, and a client that speaks to it byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.server import http_options
from parley.engineio.websocket.frames import BINARY, CLOSE, TEXT
from parley.engineio.websocket.protocol import WebSocket
from parley.gateway.settings import GatewaySettings
from tests.conformance.server import create_app
from tests.fuzz.mutation import client_frame
from tests.support.services.serving import listening
from tests.support.waiting import until_blocking

TIMEOUT = 10.0
MASK = b"\x8f\x00\x37\xaa"


@contextmanager
def conformance_server(*options: str) -> Generator[int]:
    """`tests.conformance.server` in a process of its own. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "tests.conformance.server", "--port", str(port), *options])
    try:

        def accepts() -> bool:
            assert process.poll() is None, "the server did not start"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until_blocking(accepts, "the server listens")
        yield port
    finally:
        process.terminate()
        process.wait(TIMEOUT)


@asynccontextmanager
async def edge_server(
    *, trusted: str = "127.0.0.1", limits: HttpLimits | None = None, **settings: Any
) -> AsyncGenerator[int]:
    """The same server in this process, with settings of the gateway; they count on `/socket.io/`. Yields its port."""
    app = create_app(GatewaySettings(**settings))
    options: dict[str, Any] = {"ws": WebSocket, **http_options(trusted, limits=limits)}
    async with listening(app, **options) as port:
        yield port


class HttpWire:
    """An HTTP connection that can leave a request unanswered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncGenerator[HttpWire]:
        """Connect."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, target: str, *headers: str, method: str = "GET") -> None:
        """Send a request's head."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: status and body."""
        async with asyncio.timeout(TIMEOUT):
            status, *headers = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(header.lower().split(": ", 1) for header in headers if header)
            return int(status.split()[1]), await self.reader.readexactly(int(fields["content-length"]))


class Wire:
    """A WebSocket of which every byte is written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        port: int,
        target: str = "/engine.io/?EIO=4&transport=websocket",
        headers: dict[str, str] | None = None,
        *,
        sock: socket.socket | None = None,
    ) -> AsyncGenerator[Wire]:
        """Ask for an upgrade; whether it was granted is in `status`."""
        if sock is None:
            wire = cls(*await asyncio.open_connection("127.0.0.1", port))
        else:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            wire = cls(*await asyncio.open_connection(sock=sock, limit=2**16))
        try:
            await wire._upgrade(target, headers or {})
            yield wire
        finally:
            wire.writer.transport.abort()

    async def _upgrade(self, target: str, headers: dict[str, str]) -> None:
        fields = {
            "Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        } | headers  # fmt: skip
        head = f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.writer.write(head.encode() + b"\r\n")
        async with asyncio.timeout(TIMEOUT):
            answer = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(answer[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in answer[1:] if line)}

    async def refusal(self) -> Any:
        """The body of an answer that is no upgrade."""
        async with asyncio.timeout(TIMEOUT):
            return json.loads(await self.reader.readexactly(int(self.headers["content-length"])))

    def send(self, *messages: str | bytes) -> None:
        """Send messages, one frame each."""
        for message in messages:
            opcode, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
            self.writer.write(client_frame(opcode, data, mask=MASK if len(data) < 1000 else bytes(4)))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte without the final bit, and its payload."""
        async with asyncio.timeout(TIMEOUT):
            first, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 0x7F, await self.reader.readexactly(size)

    async def text(self) -> str:
        """The next frame, which is text."""
        opcode, data = await self.frame()
        assert opcode == TEXT, (opcode, data)
        return data.decode()

    async def opened(self) -> dict[str, Any]:
        """The server's greeting."""
        text = await self.text()
        assert text[:1] == "0"
        return json.loads(text[1:])

    async def closed(self) -> int:
        """The code of the CLOSE that comes next, after which nothing comes."""
        opcode, data = await self.frame()
        assert opcode == CLOSE, (opcode, data)
        async with asyncio.timeout(TIMEOUT):
            assert await self.reader.read() == b""
        return int.from_bytes(data[:2], "big")
