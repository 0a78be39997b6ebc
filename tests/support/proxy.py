"""A proxy between one process and NATS, or any other server: cut, refused, frozen, held back or late in a direction.

It knows no subjects. Where a test must act at a certain moment, it can name bytes to wait for.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tests.support.waiting import until

Direction = Literal["up", "down"]
"""Up: from the process to the server. Down: from the server to the process."""

CHUNK = 65_536
REMEMBERED = 1_000_000
POSTGRES_SOCKET = ".s.PGSQL.5432"
GREETED = b"PING\r\n"
"""What ends a client's first words, after which the server knows it."""


class _Way:
    """One direction of everything that the proxy carries."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay = 0.0
        self._seen: deque[bytes] = deque()
        self._seen_bytes = 0
        self.hold_from: bytes | None = None
        self.changed = asyncio.Event()

    def note(self, data: bytes) -> None:
        """Look at what is about to be carried."""
        self._seen.append(data)
        self._seen_bytes += len(data)
        while self._seen_bytes > REMEMBERED:
            self._seen_bytes -= len(self._seen.popleft())
        if self.hold_from is not None and self.hold_from in data:
            self.hold_from = None
            self.open.clear()
        self.changed.set()
        self.changed = asyncio.Event()

    def saw(self, marker: bytes) -> bool:
        """Whether these bytes came by since `forget`."""
        return marker in b"".join(self._seen)

    def forget(self) -> None:
        """Look only at what comes from now on."""
        self._seen.clear()
        self._seen_bytes = 0


class _Link:
    """One connection of the process, and the one to the server that belongs to it."""

    def __init__(self, writer: asyncio.StreamWriter, up_writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.up_writer = up_writer
        self.greeting = b""
        self.detached = False
        self.swallowed = False
        self.kept: list[bytes] = []
        self.waiting: dict[Direction, asyncio.Queue[tuple[float, bytes]]] = {
            "up": asyncio.Queue(),
            "down": asyncio.Queue(),
        }

    def abort(self) -> None:
        """Let both sides see that it is gone."""
        self.writer.transport.abort()
        self.up_writer.transport.abort()


class Proxy:
    """Carries what one process says to a server and hears from it, until told otherwise."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._socket = Path(parse_qs(self._server.query).get("host", [""])[0]) / POSTGRES_SOCKET
        self._ways: dict[Direction, _Way] = {"up": _Way(), "down": _Way()}
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._path: Path | None = None
        self._port = 0
        self._listener: asyncio.Server | None = None
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def running(cls, url: str, *, tcp: bool = False) -> AsyncGenerator[Proxy]:
        """Carry until the block ends, for who uses `url` of the proxy instead.

        A Postgres is on a Unix socket, and the proxy before it as well unless it is asked to take TCP.
        """
        proxy = cls(url)
        parts = proxy._server
        with tempfile.TemporaryDirectory(prefix="parley-proxy-") as directory:
            if parts.scheme == "postgresql" and tcp:
                await proxy._listen()
                credentials = f"{parts.netloc.rpartition('@')[0]}@".removeprefix("@")
                proxy.url = urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{proxy._port}", query=""))
            elif parts.scheme == "postgresql":
                proxy._path = Path(directory) / POSTGRES_SOCKET
                await proxy._listen()
                proxy.url = urlunsplit(parts._replace(query=f"host={directory}"))
            else:
                await proxy._listen()
                credentials = f"{parts.netloc.rpartition('@')[0]}@".removeprefix("@")
                proxy.url = urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{proxy._port}"))
            try:
                yield proxy
            finally:
                proxy.cut()
                for task in proxy._tasks:
                    task.cancel()
                await asyncio.gather(*proxy._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens, if not on a Unix socket."""
        return self._port

    def cut(self) -> None:
        """End all connections, and refuse new ones until `mend`: nobody listens, as where a server is gone."""
        self._refusing = True
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links):
            link.abort()

    def flap(self) -> None:
        """End all connections; new ones are taken at once."""
        for link in list(self._links):
            link.abort()

    def mend(self) -> None:
        """Carry everything again, at once, and first what was held back."""
        if self._refusing:
            self._refusing = False
            self._spawn(self._listen())
        for way in self._ways.values():
            way.delay, way.hold_from = 0.0, None
            way.open.set()

    def freeze(self) -> None:
        """Carry nothing in either direction; nobody is told."""
        self.hold("up")
        self.hold("down")

    def swallow(self) -> int:
        """Lose whatever the connections of now say, for ever, and tell nobody; new ones are carried. How many it were.

        So it is after a failover, or when something on the way has forgotten a connection.
        """
        for link in self._links:
            link.swallowed = True
        return len(self._links)

    def hold(self, direction: Direction) -> None:
        """Keep back what comes from now on in this direction, until `release` or `mend`."""
        self._ways[direction].open.clear()

    def hold_from(self, direction: Direction, marker: bytes) -> None:
        """Hold this direction as soon as these bytes are to be carried, and with them."""
        self._ways[direction].hold_from = marker

    def release(self, direction: Direction) -> None:
        """Carry what was kept back, and what follows."""
        self._ways[direction].open.set()

    def delay(self, direction: Direction, seconds: float) -> None:
        """Carry everything so much later, in order."""
        self._ways[direction].delay = seconds

    def inject(self, direction: Direction, data: bytes) -> None:
        """Carry these bytes on every connection as well, as if the other side had said them."""
        for link in self._links:
            link.waiting[direction].put_nowait((time.monotonic(), data))

    def held(self, direction: Direction) -> bool:
        """Whether this direction is kept back right now."""
        return not self._ways[direction].open.is_set()

    async def passed(self, direction: Direction) -> None:
        """Wait until all that was kept back or late is on its way."""
        await until(
            lambda: not any(link.waiting[direction].qsize() for link in self._links),
            "everything was passed on",
            seconds=60,
        )

    def forget(self) -> None:
        """What has been carried so far is of no interest any more."""
        for way in self._ways.values():
            way.forget()

    async def carries(self, direction: Direction, marker: bytes, timeout: float = 10.0) -> None:
        """Wait until these bytes came by since `forget`, be they held back or not."""
        way = self._ways[direction]
        async with asyncio.timeout(timeout):
            while not way.saw(marker):
                await way.changed.wait()

    def detach(self) -> None:
        """Let NATS see the connections end, the process not: what it says from now on is kept for `deliver`."""
        for link in self._links:
            link.detached = True
            link.up_writer.transport.abort()

    async def deliver(self) -> None:
        """Send what was kept, as if it had been late, and then let the process see that the connection is gone."""
        for way in self._ways.values():
            way.open.set()
        for link in [link for link in self._links if link.detached]:
            await until(lambda waiting=link.waiting["up"]: not waiting.qsize(), "everything was passed on", seconds=60)
            reader, writer = await self._connect()
            writer.write(link.greeting + b"".join(link.kept) + GREETED)
            for _ in range(2):
                await reader.readuntil(b"PONG\r\n")
            writer.close()
            link.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server.scheme == "postgresql":
            return await asyncio.open_unix_connection(self._socket)
        return await asyncio.open_connection(self._server.hostname, self._server.port)

    async def _listen(self) -> None:
        if self._path is not None:
            listener = await asyncio.start_unix_server(self._accept, self._path)
        else:
            listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = listener.sockets[0].getsockname()[1]
        if self._refusing:
            listener.close()  # cut again meanwhile
        else:
            self._listener = listener

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._serve(reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, up_writer)
        self._links.add(link)
        reading = asyncio.create_task(self._read("up", reader, link))
        writing = asyncio.create_task(self._write("up", link))
        jobs = [
            reading,
            writing,
            asyncio.create_task(self._read("down", up_reader, link)),
            asyncio.create_task(self._write("down", link)),
        ]
        try:
            await asyncio.wait([reading])
            if not self.held("up"):
                await asyncio.wait([writing], timeout=1)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            link.abort()
            self._links.discard(link)

    async def _read(self, direction: Direction, reader: asyncio.StreamReader, link: _Link) -> None:
        way = self._ways[direction]
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                way.note(data)
                if not link.swallowed:
                    link.waiting[direction].put_nowait((time.monotonic() + way.delay, data))
        if link.swallowed:
            return
        if way.open.is_set() and not way.delay:
            # What was said before the end comes before it.
            link.waiting[direction].put_nowait((0.0, b""))
        else:
            # Whatever is held back: a connection that is gone is gone.
            self._end(direction, link)

    @staticmethod
    def _end(direction: Direction, link: _Link) -> None:
        if direction == "up":
            link.up_writer.close()
        elif not link.detached:
            link.writer.close()

    async def _write(self, direction: Direction, link: _Link) -> None:
        way = self._ways[direction]
        with suppress(OSError):
            while True:
                due, data = await link.waiting[direction].get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await way.open.wait()
                if not data:
                    self._end(direction, link)
                    return
                if direction == "down":
                    link.writer.write(data)
                    await link.writer.drain()
                    continue
                if link.detached:
                    link.kept.append(data)
                    continue
                if GREETED not in link.greeting:
                    whole = link.greeting + data
                    end = whole.find(GREETED)
                    link.greeting = whole if end < 0 else whole[: end + len(GREETED)]
                link.up_writer.write(data)
                await link.up_writer.drain()
