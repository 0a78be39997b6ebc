"""The Engine.IO server: what is written when, in which portions, and what handlers may do."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.packets import Packet
from parley.engineio.request import Refusal, read_request
from parley.engineio.server import FAILURES_BURST, Engine
from parley.engineio.session import Session
from parley.engineio.transports import Limits
from parley.engineio.websocket.frames import TEXT, frame
from parley.engineio.writes import LOST_SLICE, SLICE


class RecordingSocket:
    """A WebSocket that notes when it writes what; all sockets of a test share the list."""

    shares_frames = True
    congested = False

    def __init__(self, name: Any, engine: Engine, written: list[tuple[Any, bytes]]) -> None:
        self.name = name
        self.pending: bytes | list[bytes] | None = None
        self.bulk = False
        self.aborted = False
        self._engine = engine
        self._written = written

    def push(self, packet: Packet) -> None:
        frames = packet.frames()
        if self.pending is None:
            self.pending = frames
        else:
            self.pending = [*(self.pending if isinstance(self.pending, list) else [self.pending]), frames]
        self._engine.write_soon(self)

    def write(self) -> None:
        if self.pending is not None:
            data = b"".join(self.pending) if isinstance(self.pending, list) else self.pending
            self.pending = None
            self._written.append((self.name, data))

    def close(self, code: int) -> None:
        self.write()

    def abort(self) -> None:
        self.aborted = True

    def allow(self, size: int) -> None:
        self.allowed = size

    def close_lost(self, reason: str) -> None:
        self._engine.sessions[self.name].socket_lost(self, reason)


class Server:
    """An engine with sessions on recording sockets."""

    def __init__(self, **limits: Any) -> None:
        numbers = itertools.count()
        self.engine = Engine(Limits(**limits), self, generate_id=lambda: f"sid{next(numbers)}")
        self.written: list[tuple[Any, bytes]] = []
        self.opened: list[str] = []
        self.messages: list[tuple[str, str | bytes]] = []
        self.closed: list[tuple[str, str]] = []
        self.fails = False
        self.closed_at: list[float] = []

    def session_opened(self, session: Session) -> None:
        self.opened.append(session.sid)

    def message_received(self, session: Session, data: str | bytes) -> None:
        if self.fails:
            raise RuntimeError("on purpose")
        self.messages.append((session.sid, data))

    def session_ended(self, session: Session, reason: str) -> None:
        self.closed.append((session.sid, reason))
        self.closed_at.append(self.engine.clock())

    def connect(self, address: str = "10.0.0.1") -> Session:
        query = b"EIO=4&transport=websocket"
        session = self.engine.begin(read_request("GET", query, [], address, "http"))
        session.open(RecordingSocket(session.sid, self.engine, self.written))
        self.engine.opened(session)
        return session

    async def settle(self) -> None:
        """Let everything be written, and forget it."""
        for _ in range(200):
            await asyncio.sleep(0)
        self.written.clear()


@asynccontextmanager
async def running(**limits: Any) -> AsyncGenerator[Server]:
    server = Server(**limits)
    try:
        yield server
    finally:
        await server.engine.shutdown()


def text(content: str) -> Packet:
    return Packet.of(b"4" + content.encode())


def framed(content: str) -> bytes:
    return frame(TEXT, b"4" + content.encode())


async def test_what_one_tick_sends_to_a_socket_is_one_write_in_order():
    async with running() as server:
        ann, ben = server.connect(), server.connect()
        await server.settle()
        ann.send(text("one"))
        server.engine.broadcast([ann, ben], text("two"))
        server.engine.broadcast([ann, ben], text("three"))
        ann.send(text("four"))
        assert server.written == []
        await asyncio.sleep(0)
        assert server.written == [
            (ann.sid, framed("one") + framed("two") + framed("three") + framed("four")),
            (ben.sid, framed("two") + framed("three")),
        ]


async def test_a_very_large_room_is_written_in_slices_and_others_are_served_between_them():
    async with running() as server:
        crowd = [server.connect() for _ in range(3 * SLICE)]
        alone = server.connect()
        await server.settle()
        server.engine.broadcast(crowd, text("news"))
        await asyncio.sleep(0)
        assert len(server.written) == SLICE
        alone.send(text("hello"))
        crowd[-1].send(text("ack"))
        await asyncio.sleep(0)
        # Both were sent after the news began; neither waits for its end, and who is in the crowd keeps its order.
        assert server.written[SLICE] == (alone.sid, framed("hello"))
        assert server.written[SLICE + 1] == (crowd[-1].sid, framed("news") + framed("ack"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        received = [name for name, _ in server.written]
        assert sorted(received) == sorted([*(session.sid for session in crowd), alone.sid])


async def test_thousands_of_lost_sockets_are_dealt_with_in_slices():
    async with running() as server:
        crowd = [server.connect() for _ in range(3 * SLICE)]
        await server.settle()
        for session in crowd:
            socket: Any = session.socket
            server.engine.output.lost(socket, DisconnectReason.TRANSPORT_CLOSE)
        for number in (1, 2, 3):
            await asyncio.sleep(0)
            assert len(server.closed) == number * LOST_SLICE
        await server.settle()
        assert len(server.closed) == 3 * SLICE
        assert not server.engine.sessions


async def test_a_socket_that_fails_to_write_stops_no_other():
    async with running() as server:
        broken, fine = server.connect(), server.connect()
        await server.settle()
        failures: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: failures.append(context))
        try:
            socket: Any = broken.socket
            socket.write = lambda: 1 // 0
            broken.send(text("lost"))
            fine.send(text("heard"))
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            loop.set_exception_handler(None)
        assert server.written == [(fine.sid, framed("heard"))]
        assert len(failures) == 1
        socket.write = lambda: None


async def test_a_failure_above_ends_its_session_and_no_other_and_is_logged_so_often(caplog: pytest.LogCaptureFixture):
    async with running() as server:
        server.fails = True
        other = server.connect()
        for _ in range(3 * FAILURES_BURST):
            server.engine.received(server.connect(), "boom")
        assert {reason for _, reason in server.closed} == {"internal"}
        assert list(server.engine.sessions) == [other.sid]
        assert server.engine._failures.take("", server.engine.clock()) is False, "what is logged is bounded"


async def test_an_address_has_so_many_sessions_until_one_of_them_ends():
    async with running(max_per_address=2) as server:
        first, _ = server.connect("10.0.0.1"), server.connect("10.0.0.1")
        with pytest.raises(Refusal) as refused:
            server.connect("10.0.0.1")
        assert refused.value.status == 429
        server.connect("10.0.0.2")
        first.fail(DisconnectReason.TRANSPORT_CLOSE)
        server.connect("10.0.0.1")


async def test_draining_takes_nobody_in_and_closes_everybody_bit_by_bit():
    async with running() as server:
        for _ in range(20):
            server.connect()
        closed_at = server.closed_at
        draining = asyncio.create_task(server.engine.drain(0.4))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            server.connect()
        assert refused.value.status == 503
        await draining
        assert len(closed_at) == 20
        assert closed_at[-1] - closed_at[0] > 0.2


async def test_sessions_that_are_over_are_not_kept_by_timeouts():
    async with running() as server:
        session = server.connect()
        timeout = server.engine.call_later(45.0, session.write)
        reference = weakref.ref(timeout)
        session.fail(DisconnectReason.TRANSPORT_CLOSE)
        server.engine.cancel(timeout)
        assert not any(server.engine._wheel._slots.values()), "a flood of connects would pile them up"
        del timeout
        assert reference() is None


async def test_one_ipv6_network_is_one_address():
    async with running(max_per_address=2) as server:
        first, _ = server.connect("2001:db8:1:2::1"), server.connect("2001:db8:1:2:ffff::1")
        with pytest.raises(Refusal):
            server.connect("2001:db8:1:2::3")
        server.connect("2001:db8:1:3::1")
        first.fail(DisconnectReason.TRANSPORT_CLOSE)
        server.connect("2001:db8:1:2::3")
