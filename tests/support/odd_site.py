"""A site on this machine that stands for one of the public internet, whose answers are whatever a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore

from parley.common.http.guarded_fetch import PublicBackend, PublicFetcher, plain_backend

PUBLIC = "93.184.215.14"
"""The address under which the site is known to be public."""


class LeadingHome(httpcore.AsyncNetworkBackend):
    """Connects to the test's own site instead of any address, and keeps which addresses were asked for."""

    def __init__(self, port: int) -> None:
        self._real = plain_backend()
        self._port = port
        self.connected: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        return await self._real.connect_tcp("127.0.0.1", self._port, timeout)


class OddSite:
    """The site. `answers` has the bytes of an answer by path, `names` the addresses of names, one list per look-up."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[bytes] = []
        self.home: LeadingHome
        self.fetcher: PublicFetcher

    def page(self, path: str, body: str, kind: str = "text/html; charset=utf-8", head: str = "") -> None:
        """Answer a path with a page."""
        data = body.encode()
        self.answers[path] = (
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{head}\r\n".encode() + data
        )

    def redirect(self, path: str, url: str) -> None:
        """Answer a path with a redirect."""
        self.answers[path] = f"HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n".encode()

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name: those of this look-up, and from the last one on always the same."""
        found = self.names.get(host, [[host if host[0].isdigit() or ":" in host else PUBLIC]])
        return found.pop(0) if len(found) > 1 else found[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, or say nothing at all to a path that has no answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            if (answer := self.answers.get(head.split()[1].decode())) is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_site() -> AsyncGenerator[OddSite]:
    site = OddSite()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.home = LeadingHome(server.sockets[0].getsockname()[1])
    site.fetcher = PublicFetcher(PublicBackend(site.home, site.resolve))
    try:
        yield site
    finally:
        await site.fetcher.close()
        server.close()
