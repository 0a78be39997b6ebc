"""A TCP proxy to NATS that a test may cut, so that one process loses its connection and the others do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class NatsProxy:
    """Passes on what it is sent, until it is cut and after it is mended."""

    def __init__(self, nats_url: str) -> None:
        self.target = urlsplit(nats_url)
        self.halves: set[_Half] = set()
        self.is_cut = False
        self.url = ""
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    def connect(self, near: _Half) -> None:
        """A client is here: connect it with NATS."""
        task = asyncio.create_task(self._connect(near), name="proxy")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, near: _Half) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(
                lambda: _Half(self), self.target.hostname or "", self.target.port or 0
            )
        except OSError:
            near.abort()
            return
        near.join(far)

    async def listen(self, port: int = 0) -> int:
        """Take connections, and return on which port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Half(self, accepted=True), "127.0.0.1", port)
        return self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Lose all connections, and refuse new ones."""
        self.is_cut = True
        if self._server is not None:
            self._server.close()
        for half in list(self.halves):
            half.abort()

    async def mend(self) -> None:
        """Take connections again."""
        self.is_cut = False
        await self.listen(urlsplit(self.url).port or 0)


class _Half(asyncio.Protocol):
    """One end of a connection through the proxy."""

    def __init__(self, proxy: NatsProxy, *, accepted: bool = False) -> None:
        self._proxy = proxy
        self.accepted = accepted
        self._other: _Half | None = None
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._proxy.halves.add(self)
        if self._proxy.is_cut:
            transport.abort()
        elif self.accepted:
            self._proxy.connect(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.halves.discard(self)
        if self._other is not None:
            self._other.abort()

    def join(self, other: _Half) -> None:
        self._other, other._other = other, self
        for half, beyond in ((self, other), (other, self)):
            for data in half._early:
                beyond.write(data)
            half._early.clear()
            if self._proxy.is_cut or half not in self._proxy.halves:
                half.abort()
                beyond.abort()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def nats_proxy(nats_url: str) -> AsyncGenerator[NatsProxy]:
    """A proxy to this NATS until the block ends."""
    proxy = NatsProxy(nats_url)
    address = urlsplit(nats_url)
    login = f"{address.netloc.rpartition('@')[0]}@" if "@" in address.netloc else ""
    proxy.url = f"nats://{login}127.0.0.1:{await proxy.listen()}"
    try:
        yield proxy
    finally:
        proxy.cut()
