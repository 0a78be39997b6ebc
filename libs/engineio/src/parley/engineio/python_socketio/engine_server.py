"""The Engine.IO side of `AsyncServer`: python-engineio's server as python-socketio uses it, on this engine.

The documented API of python-engineio is inherited: options, handlers, user sessions, background tasks, static files
through `ASGIApp`. Requests, sockets and packets are the engine's. The engine is made by the first request, since it
belongs to the loop that serves that. Checked with python-engineio 4 and python-socketio 5; the names with an underscore
that are overridden or called here are theirs.
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import engineio
import engineio.packet
from starlette.types import Receive, Scope, Send

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.packets import Packet, Part
from parley.engineio.polling import Polling
from parley.engineio.python_socketio.asgi_websocket import serve_websocket
from parley.engineio.python_socketio.client import EngineClient
from parley.engineio.python_socketio.environ import environ_of
from parley.engineio.request import TransportRequest, unknown_transport
from parley.engineio.server import CLOSE_GRACE, Engine
from parley.engineio.session import Session
from parley.engineio.transports import Limits
from parley.engineio.websocket.frames import BINARY, TEXT

T = TypeVar("T")

_KNOWN_REASONS = {
    DisconnectReason.TRANSPORT_CLOSE, DisconnectReason.TRANSPORT_ERROR, DisconnectReason.PING_TIMEOUT,
    DisconnectReason.SERVER_DISCONNECT,
}  # fmt: skip
"""The reasons that python-socketio documents. Handlers are told `transport error` for all others."""


class EngineServer(engineio.AsyncServer):
    """The `AsyncServer` of python-engineio, as python-socketio and the app see it. `sockets` has the clients by sid."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sockets: dict[str, EngineClient]
        self.traffic: Any = None
        """The admin page's counter of packets and bytes, if the server is instrumented."""
        self._engine: Engine | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def async_modes(self) -> list[str]:
        """Return the kinds of servers that it works with: ASGI."""
        return ["asgi"]

    @property
    def engine(self) -> Engine:
        """The engine. The first access makes it, on the running loop."""
        if self._engine is None:
            self._engine = _Engine(self)
        return self._engine

    # -- requests --------------------------------------------------------------------------------------------------

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, HTTP or WebSocket."""
        if scope["type"] == "websocket":
            await serve_websocket(self.engine, scope, receive, send)
        else:
            await _Polling(self)(scope, receive, send)

    # -- what the engine reports -----------------------------------------------------------------------------------

    def session_opened(self, session: Session) -> None:
        """Report to the app that a client has connected."""
        client: EngineClient = session.client
        self.sockets[client.sid] = client
        client.report("connect", client.environ)

    def message_received(self, session: Session, data: str | bytes) -> None:
        """Report a message to the app."""
        if self.traffic is not None:
            self.traffic.push("packetsIn")
            self.traffic.push("bytesIn", len(data))
        session.client.report("message", data, len(data))

    def session_ended(self, session: Session, reason: str) -> None:
        """Report to the app that a client is gone."""
        self.logger.info("%s: session ended: %s", session.sid, reason)
        session.client.ended(reason if reason in _KNOWN_REASONS else DisconnectReason.TRANSPORT_ERROR)

    async def tell(self, event: str, sid: str, argument: Any) -> None:
        """Run python-socketio's handler of a report to its end, in the client's task. What it raises is logged."""
        if event == "connect":
            refused = await self._trigger_event(event, sid, argument, run_async=False)
            if refused is not None and refused is not True:
                self.sockets[sid].engine_session.fail(DisconnectReason.REFUSED)
            return
        await self._trigger_event(event, sid, argument, run_async=False)
        # Behind the handler, which may still look its client up.
        if event == "disconnect" and (client := self.sockets.pop(sid, None)) is not None:
            client.closed = True

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task, and keep a reference to the task until it is done."""
        task = asyncio.ensure_future(work)
        # The loop only holds tasks weakly, so somebody else has to.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- sending ---------------------------------------------------------------------------------------------------

    async def send(self, sid: str, data: Any) -> None:
        """Send a message: text, bytes, or a value that becomes JSON."""
        await self.send_packet(sid, engineio.packet.Packet(engineio.packet.MESSAGE, data=data))

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """Send a packet of python-engineio's."""
        self.push(sid, Packet(_part(pkt.encode())))

    def push(self, sid: str, packet: Packet) -> None:
        """Send a packet of the engine's. A client that does not read is disconnected."""
        client = self.sockets.get(sid)
        if client is None:
            self.logger.warning("Cannot send to sid %s", sid)
            return
        client.engine_session.send(packet)
        self._count(packet, 1)

    def broadcast(self, sids: Iterable[str], packet: Packet) -> None:
        """Send one packet to many clients: it is encoded once, and written in slices."""
        sockets = self.sockets
        sessions = [sockets[sid].engine_session for sid in sids if sid in sockets]
        self.engine.broadcast(sessions, packet)
        self._count(packet, len(sessions))

    def _count(self, packet: Packet, times: int) -> None:
        if self.traffic is not None:
            self.traffic.push("packetsOut", times)
            self.traffic.push("bytesOut", times * sum(len(part.data) for part in packet.parts))

    # -- the end ---------------------------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """End all sessions, and give their disconnect handlers `CLOSE_GRACE` seconds to run."""
        await super().shutdown()
        if self._engine is not None:
            await self._engine.shutdown()
            if workers := [client.worker for client in self.sockets.values() if client.worker is not None]:
                await asyncio.wait(workers, timeout=CLOSE_GRACE)

    # -- options ---------------------------------------------------------------------------------------------------

    def allows(self, request: TransportRequest) -> bool:
        """Whether a request's origin may connect, by the option `cors_allowed_origins`."""
        if self.cors_allowed_origins == []:
            return True
        allowed = self._cors_allowed_origins(environ_of(request.scope))
        return allowed is None or request.headers["origin"] in allowed

    def cors_headers(self, request: TransportRequest) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers of the answer to a request."""
        if "origin" not in request.headers:
            return []
        headers = self._cors_headers(environ_of(request.scope))
        if headers:
            headers = [*headers, ("Vary", "Origin")]
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def cookie_header(self, sid: str) -> list[tuple[bytes, bytes]]:
        """Return the cookie of a new polling session, by the option `cookie`."""
        if not self.cookie:
            return []
        attributes = (
            self.cookie if isinstance(self.cookie, dict) else {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        )
        return [(b"set-cookie", self._generate_sid_cookie(sid, attributes).encode("latin-1"))]


def engine_packet(encoded: str | bytes | list[str | bytes]) -> Packet:
    """Make the engine's packet of an encoded Socket.IO packet with its attachments."""
    pieces = encoded if isinstance(encoded, list) else [encoded]
    return Packet(*(_part(f"4{piece}" if isinstance(piece, str) else piece) for piece in pieces))


def _part(encoded: str | bytes) -> Part:
    return Part(TEXT, encoded.encode()) if isinstance(encoded, str) else Part(BINARY, bytes(encoded))


class _Engine(Engine):
    """The engine, by python-engineio's options."""

    def __init__(self, server: EngineServer) -> None:
        largest: int = server.max_http_buffer_size
        limits = Limits(
            ping_interval=server.ping_interval,
            ping_timeout=server.ping_timeout,
            ping_grace=server.ping_interval_grace_period,
            upgrades=server.allow_upgrades and "websocket" in server.transports,
            max_payload=largest,
            max_buffer=max(largest, Limits().max_buffer),
        )
        # A lambda, since an app may replace the server's `generate_id` at any time.
        super().__init__(limits, server, generate_id=lambda: server.generate_id(), allows_origin=server.allows)  # noqa: PLW0108
        self._server = server

    def check(self, request: TransportRequest) -> None:
        """Raise `Refusal` for a request that may neither begin nor continue a session."""
        super().check(request)
        if request.transport not in self._server.transports and not request.sid:
            raise unknown_transport()

    def begin(self, request: TransportRequest) -> Session:
        """Make a new session and its client."""
        session = super().begin(request)
        session.client = EngineClient(self._server, session, environ_of(request.scope))
        return session


class _Polling(Polling):
    """Polling, by python-engineio's options: cookie and CORS headers."""

    def __init__(self, server: EngineServer) -> None:
        super().__init__(server.engine)
        self._server = server

    async def _answer(
        self, session: Session, request: TransportRequest, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
    ) -> None:
        cookie = [] if request.sid else self._server.cookie_header(session.sid)
        await super()._answer(session, request, receive, send, [*cors, *cookie])

    def _cors(self, request: TransportRequest) -> list[tuple[bytes, bytes]]:
        return self._server.cors_headers(request)
