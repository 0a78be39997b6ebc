"""WebSockets of any ASGI server as a transport: for apps that are run without `AsyncServer.server_options`.

The ASGI server reads the frames, so their size and number are limited by that server. Here messages are held to the
session's size and to the engine's allowance for a turn of the loop. The server's task reads (`AsgiWebSocket.read`); a
second task writes, and exists only while something waits to be written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from parley.common.http.output_budget import SMALL_UNREAD_BYTES
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.packets import OVERHEAD, Packet
from parley.engineio.request import Refusal, request_of, unknown_transport
from parley.engineio.server import Engine
from parley.engineio.session import CONGESTED_BYTES, Session
from parley.engineio.websocket.frames import NORMAL, TEXT, TOO_BIG


class AsgiWebSocket:
    """One client's WebSocket; a `transports.Socket`."""

    shares_frames = False
    """Tells `WriteScheduler.broadcast` that it takes packets, not frames."""

    def __init__(self, engine: Engine, session: Session, send: Send) -> None:
        self._engine = engine
        self._session = session
        self._send = send
        self._limit = session.max_message
        self._messages: deque[tuple[MutableMapping[str, Any], int]] = deque()
        self._waiting = 0
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._closing = False
        self._aborted = False

    # -- transports.Socket -----------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        return self._waiting > CONGESTED_BYTES

    def push(self, packet: Packet) -> None:
        """Send a packet soon, in order. A client that does not read loses its session."""
        if self._waiting and self._waiting + packet.size > self._engine.limits.max_buffer:
            self._session.fail(DisconnectReason.SLOW)
            return
        for opcode, data in packet.parts:
            message = {"text": data.decode()} if opcode == TEXT else {"bytes": data}
            self._queue({"type": "websocket.send", **message}, len(data) + OVERHEAD)

    def allow(self, size: int) -> None:
        """Accept messages up to this size from now on."""
        self._limit = size

    def close(self, code: int) -> None:
        """Send what waits, then close."""
        self._queue({"type": "websocket.close", "code": code}, 0)
        self._closing = True

    def abort(self) -> None:
        """Close at once, without sending what waits."""
        self._closing = self._aborted = True
        self._messages.clear()
        self._wait(-self._waiting)
        # An ASGI server closes the connection when its handler is done.
        for task in (self._writer, self._reader):
            if task is not None:
                task.cancel()

    # -- the server's messages --------------------------------------------------------------------------------------

    def _queue(self, message: MutableMapping[str, Any], size: int) -> None:
        if self._closing:
            return
        self._messages.append((message, size))
        self._wait(size)
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._write())

    def _wait(self, more: int) -> None:
        before, self._waiting = self._waiting, self._waiting + more
        if before > SMALL_UNREAD_BYTES or self._waiting > SMALL_UNREAD_BYTES:
            self._engine.leaves_unread(self, self._session.address, self._waiting)

    def unread(self) -> int:
        """Return the bytes that wait for the client."""
        return self._waiting

    def cut_off(self) -> None:
        """End the session because all clients together read too slowly, or drop what is left for its client."""
        if self._session.over:
            self.abort()
        else:
            self._session.fail(DisconnectReason.SLOW)

    async def _write(self) -> None:
        try:
            # Servers raise different exceptions once the client is gone. `read` is told of that as well.
            with suppress(Exception):
                while self._messages:
                    message, size = self._messages.popleft()
                    await self._send(message)
                    if not self._aborted:
                        self._wait(-size)
        finally:
            self._writer = None

    async def read(self, receive: Receive) -> None:
        """Pass messages to the session until the client is gone or was dropped."""
        self._reader = asyncio.current_task()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                text: str | None = message.get("text")
                await self._take(message.get("bytes") or b"" if text is None else text)
            if self._writer is not None:
                self._writer.cancel()
        except asyncio.CancelledError:
            # `abort`'s cancellation ends here. That of anybody else, such as a server that stops, must go on.
            if self._reader is None or not self._aborted or self._reader.uncancel():
                raise
        finally:
            self._reader = None

    async def _take(self, data: str | bytes) -> None:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > self._limit:
            self.close(TOO_BIG)
            self._session.socket_lost(self, DisconnectReason.MESSAGE_TOO_BIG)
            return
        self._session.socket_received(self, data)
        scheduler = self._engine.input
        scheduler.spent(1, size)
        while scheduler.exhausted:  # noqa: ASYNC110 - until the next turn of the loop
            await asyncio.sleep(0)


async def serve_websocket(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Begin a session on a WebSocket, or an upgrade of one to it, and serve it until the client is gone."""
    await receive()  # `websocket.connect`
    try:
        request = request_of(scope)
        if request.transport != "websocket":
            raise unknown_transport()
        engine.check(request)
        session = engine.find(request) if request.sid else engine.begin(request)
    except Refusal as refusal:
        await _refuse(scope, send, refusal)
        return
    socket = AsgiWebSocket(engine, session, send)
    timeout = None
    try:
        await send({"type": "websocket.accept"})
        if not request.sid:
            session.open(socket)
            engine.opened(session)
        elif session.probe(socket):
            timeout = engine.call_later(engine.limits.upgrade_timeout, lambda: _give_up(engine, session, socket))
        else:
            socket.close(NORMAL)
        await socket.read(receive)
    finally:
        if timeout is not None:
            engine.cancel(timeout)
        # What still waits is for nobody, and must not be counted any more.
        socket.abort()
        session.socket_lost(socket, DisconnectReason.TRANSPORT_CLOSE)


def _give_up(engine: Engine, session: Session, socket: AsgiWebSocket) -> None:
    if session.probe_failed(socket):
        engine.limited("upgrade_timeout")


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Refuse a request with its status and body, or with 403 where the server cannot answer otherwise."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(refusal.body)).encode())]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refusal.body})
