"""A load balancer in front of gateways, as far as the tests need one: sticky by sid, else the first that accepts."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

_SID = re.compile(rb"[?&]sid=([^.&]+)\.")


class Gateway(Protocol):
    """Something that a sid can name, on a port of this machine."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...


class Balancer:
    """Takes new connections for as long as it lasts; what it carries can be made to die unnoticed."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._gateways = {gateway.name.encode(): gateway for gateway in gateways}
        self._order = deque(gateways)
        self._carried: set[asyncio.Task[None]] = set()
        self._frozen = False
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def running(cls, gateways: Sequence[Gateway]) -> AsyncGenerator[Balancer]:
        """Balance until the block ends."""
        balancer = cls(gateways)
        server = await asyncio.start_server(balancer._accept, "127.0.0.1", 0)
        balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield balancer
        finally:
            server.close()
            for task in balancer._carried:
                task.cancel()
            await asyncio.gather(*balancer._carried, return_exceptions=True)

    def freeze(self) -> None:
        """Carry nothing any more, and tell neither side when the other goes."""
        self._frozen = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" not in head.lower():
            # One request each, since the next may be for another gateway.
            head = re.sub(rb"(?i)connection: keep-alive\r\n", b"", head)
            head = head[:-2] + b"connection: close\r\n\r\n"
        up_reader, up_writer = await self._gateway(head)
        up_writer.write(head)
        try:
            pipes = {
                asyncio.create_task(self._pipe(reader, up_writer)),
                asyncio.create_task(self._pipe(up_reader, writer)),
            }
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)
        finally:
            up_writer.close()

    async def _gateway(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        named = _SID.search(head.split(b"\r\n", 1)[0])
        if not named:
            self._order.rotate()
        for gateway in [self._gateways[named[1]]] if named else list(self._order):
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", gateway.port)
        raise ConnectionRefusedError

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self._frozen:
                writer.write(data)
                await writer.drain()
        if self._frozen:
            await asyncio.Event().wait()
