"""A TCP proxy to NATS that a test may cut, so that one process loses its connection and the others do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class NatsProxy:
    """Passes on what it is sent, until it is cut and after it is mended."""

    def __init__(self, nats_url: str) -> None:
        self._target = urlsplit(nats_url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._cut = False
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection and open its other half."""
        try:
            if self._cut:
                raise ConnectionRefusedError
            beyond, there = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        for source, sink in ((reader, there), (beyond, writer)):
            pump = asyncio.create_task(self._pump(source, sink), name="proxy")
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.transport.abort()

    def cut(self) -> None:
        """Lose all connections, and refuse new ones."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Take connections again."""
        self._cut = False

    async def close(self) -> None:
        """End what is left."""
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@asynccontextmanager
async def nats_proxy(nats_url: str) -> AsyncGenerator[NatsProxy]:
    """A proxy to this NATS until the block ends."""
    proxy = NatsProxy(nats_url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    address = urlsplit(nats_url)
    login = f"{address.netloc.rpartition('@')[0]}@" if "@" in address.netloc else ""
    proxy.url = f"nats://{login}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        await proxy.close()
        server.close()
        await server.wait_closed()
