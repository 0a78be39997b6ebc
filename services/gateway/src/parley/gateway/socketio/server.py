"""The Socket.IO edge: `socketio.AsyncServer` on our own Engine.IO, with its gaps closed.

What differs from the library: plain events keep their payload undecoded, binary ones their attachments; a malformed
packet is answered or ends its connection; a refused CONNECT carries a code, but one that may succeed later ends the
transport instead, because stock clients reconnect after a lost transport and give up after a refusal; a client that
joins no namespace is disconnected; closing really closes the transport.
"""
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingParameterType=false, reportUntypedBaseClass=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
import socketio

from parley.common.disconnects import DisconnectReason
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.common.wire.commands import error_payload
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.rate_limiter import RateLimiter
from parley.gateway.engineio.packets import Packet
from parley.gateway.engineio.request import Request
from parley.gateway.engineio.server import Engine
from parley.gateway.engineio.session import Session
from parley.gateway.engineio.websocket.frames import GOING_AWAY, NORMAL
from parley.gateway.metrics import LIMIT_HITS
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import Settings
from parley.gateway.socketio import packets
from parley.gateway.socketio.packets import (
    AckPacket,
    ConnectPacket,
    DisconnectPacket,
    EventPacket,
    MalformedPacket,
    Unfinished,
)
from parley.gateway.socketio.rooms import Rooms

log = get_logger(__name__)

SWEEP_INTERVAL = 10.0
MAX_UNHEARD = 128
ATTACHMENTS = "attachments"
"""Why a session ended that sent too many, or too much in them."""
INVALID_NAMESPACE = {"message": "Invalid namespace"}
"""As Socket.IO's own server says it."""
DUPLICATE = {"message": "This transport is connected to the namespace already."}


class ServerEvents(Protocol):
    """What the edge tells the gateway."""

    async def admit(self, sid: str, session: Session, namespace: str, auth: dict[str, Any]) -> Connection:
        """Let a connection in. Raises `Reject`; a retryable one ends the transport instead of refusing."""
        ...

    def opened(self, connection: Connection) -> None:
        """CONNECT was sent; deliveries may begin."""
        ...

    def received(self, sid: str, packet: EventPacket) -> None:
        """A client emitted an event."""
        ...

    def acked(self, sid: str, packet: AckPacket) -> None:
        """A client answered an event that asked for it."""
        ...

    def closed(self, sid: str, reason: str) -> None:
        """A connection is gone."""
        ...


class _Partial:
    """A binary packet of which some attachments are still to come."""

    __slots__ = ("attachments", "held", "unfinished")

    def __init__(self, unfinished: Unfinished) -> None:
        self.unfinished = unfinished
        self.attachments: list[bytes] = []
        self.held = len(unfinished.packet.args)


class _Engine(Engine):
    """What the library's constructor expects of an engine."""

    async_mode = "asgi"

    def on(self, event: str, handler: Any) -> None:
        """Nothing: the server is told by `SessionEvents`."""


class SocketIoServer(socketio.AsyncServer):
    """A Socket.IO server whose namespaces are all handled by one `ServerEvents`."""

    # The library's own attributes, whose types it does not declare.
    eio: Engine
    manager: Rooms
    environ: dict[str, Any]

    def __init__(
        self, settings: Settings, instance: str, namespaces: Mapping[str, Namespace], events: ServerEvents
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._configured = frozenset(namespaces)
        self._kept_headers = sorted({header for namespace in namespaces.values() for header in namespace.headers})
        self._events = events
        self._partial: dict[str, _Partial] = {}
        self._rates = RateLimiter(settings.gateway_events_per_second, settings.gateway_events_burst)
        self._unheard: dict[Session, deque[str | bytes]] = {}
        self._tasks = Tasks()
        self._excess: dict[str, int] = {}
        """How much a session sent beyond its rate since it last kept to it."""
        # The token travels in the payload, so other origins gain nothing by themselves.
        self._origins = settings.gateway_cors_origins or (["*"] if settings.environment == "development" else [])
        logger: Any = _logger()
        super().__init__(client_manager=Rooms(), namespaces=[], async_handlers=False, logger=logger)

    def _engineio_server_class(self) -> Callable[..., Engine]:
        def engine(**_options_of_the_library: Any) -> Engine:
            settings = self._settings
            return _Engine(
                settings.engine_limits(),
                self,
                generate_id=self._generate_id,
                revisions=(4, 3) if settings.gateway_allow_eio3 else (4,),
                deflate=settings.gateway_deflate,
                allows_origin=self._allows_origin,
                kept_headers=self._kept_headers,
            )

        return engine

    def _generate_id(self) -> str:
        # Proxies route by the first part of the sid, so that every request of a session reaches its gateway.
        return f"{self._instance}.{secrets.token_urlsafe(15)}"

    # -- what the gateway asks for ---------------------------------------------------------------------------------

    def send(self, connection: Connection, packet: Packet, *, volatile: bool = False) -> None:
        """Send one connection a packet."""
        connection.session.send(packet, volatile=volatile)

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Send many connections the same packet."""
        self.eio.broadcast([connection.session for connection in connections], packet, volatile=volatile)

    def congested(self, connection: Connection) -> bool:
        """See `fanout.Outlet`."""
        return connection.session.congested

    def ack(self, connection: Connection, ack_id: int, payload: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        """Answer an emit."""
        packet = packets.ack_packet(connection.namespace, ack_id, b"[" + payload + b"]", attachments)
        connection.session.send(packet)

    def disconnect_connection(self, connection: Connection, reason: str, *, close: bool = True) -> None:
        """Tell the client that its namespace is closed and, unless told otherwise, end the transport under it."""
        session = connection.session
        session.send(packets.disconnect_packet(connection.namespace))
        if close:
            session.close(reason)
        else:
            self._leave(session.sid, connection.namespace, reason)

    async def drain(self) -> None:
        """Take no new clients and end every transport, bit by bit, so that clients do not reconnect all at once."""
        await self.eio.drain(self._settings.gateway_drain_seconds)

    # -- python-socketio's hooks -----------------------------------------------------------------------------------

    def session_opened(self, session: Session) -> None:
        """See `SessionEvents`."""
        sid = session.sid
        self.eio.call_later(self._settings.gateway_connect_timeout, lambda: self._must_have_joined(sid))
        if session.revision == 3 and "/" in self._configured:
            # Older clients are in the main namespace from the start, and say who they are in the query.
            self._start(session, self._connect(session, "/", dict(session.origin.query)))

    def message_received(self, session: Session, data: str | bytes) -> None:
        """See `SessionEvents`."""
        waiting = self._unheard.get(session)
        if waiting is None:
            self._start(session, self._handle_eio_message(session.sid, data))
        else:
            waiting.append(data)
            if len(waiting) > MAX_UNHEARD or sum(map(len, waiting)) > self.eio.limits.max_payload:
                session.end(DisconnectReason.OVERLOADED)

    def session_ended(self, session: Session, reason: str) -> None:
        """See `SessionEvents`."""
        eio_sid = session.sid
        self._unheard.pop(session, None)
        self._partial.pop(eio_sid, None)
        self._excess.pop(eio_sid, None)
        for namespace in self._configured:
            self._leave(eio_sid, namespace, reason)

    def _start(self, session: Session, work: Awaitable[None] | None) -> None:
        if work is not None:
            self._unheard[session] = deque()
            self._tasks.spawn(self._finish(session, work), name="admission")

    async def _finish(self, session: Session, work: Awaitable[None] | None) -> None:
        try:
            while True:
                if work is not None:
                    await work
                waiting = self._unheard.get(session)
                if not waiting or session.over:
                    break
                work = self._handle_eio_message(session.sid, waiting.popleft())
        except Exception:
            log.exception("handler failed")
            session.end(DisconnectReason.INTERNAL)
        finally:
            self._unheard.pop(session, None)

    def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> Awaitable[None] | None:
        session = self.eio.sessions[eio_sid]
        try:
            if eio_sid in self._partial:
                return self._attach(session, data)
            if not isinstance(data, str):
                raise MalformedPacket("binary data that belongs to no packet")  # noqa: TRY301 - one way out
            packet = packets.parse(data)
            if self._rates.take(eio_sid, self.eio.clock()):
                return self._dispatch(session, packet)
            self._limit(session, packet)
        except MalformedPacket as error:
            if error.ack_id is None:
                session.close(DisconnectReason.PARSE_ERROR)
            else:
                self._reject(session, error.namespace, error.ack_id, Reject(Code.INVALID_PAYLOAD, str(error)))
        return None

    def _limit(self, session: Session, packet: packets.AnyPacket) -> None:
        """Refuse what comes too fast; who goes on regardless is disconnected."""
        LIMIT_HITS.labels("events_per_second").inc()
        excess = self._excess[session.sid] = self._excess.get(session.sid, 0) + 1
        if excess > self._settings.gateway_events_burst or not isinstance(packet, EventPacket | AckPacket):
            session.close(str(Code.RATE_LIMITED))
        elif isinstance(packet, EventPacket):
            self._reject(session, packet.namespace, packet.ack_id, Reject(Code.RATE_LIMITED))

    def _reject(self, session: Session, namespace: str, ack_id: int | None, rejection: Reject) -> None:
        body = rejection.as_dict()
        if ack_id is None:
            session.send(packets.event_packet(namespace, "error", msgspec.json.encode([body])))
        else:
            session.send(packets.ack_packet(namespace, ack_id, b"[" + error_payload(body) + b"]"))

    async def run_sweep(self) -> None:
        """Forget, for ever, rates that have recovered."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self._rates.sweep(self.eio.clock())
            self._excess.clear()

    # -- packets ---------------------------------------------------------------------------------------------------

    def _dispatch(self, session: Session, packet: packets.AnyPacket) -> Awaitable[None] | None:
        match packet:
            case EventPacket() | AckPacket():
                self._received(session, packet)
            case Unfinished():
                if packet.attachments > self._settings.gateway_max_attachments:
                    session.close(ATTACHMENTS)
                    return None
                self._partial[session.sid] = _Partial(packet)
            case ConnectPacket(namespace=namespace, auth=auth, query=query):
                if session.revision == 3:
                    auth = {**session.origin.query, **dict(parse_qsl(query))}
                return self._connect(session, namespace, auth)
            case DisconnectPacket(namespace=namespace):
                self._leave(session.sid, namespace, "client namespace disconnect")
        return None

    def _received(self, session: Session, packet: EventPacket | AckPacket) -> None:
        sid = self.manager.sid_from_eio_sid(session.sid, packet.namespace)
        if sid is None or not self.manager.is_connected(sid, packet.namespace):
            return
        if isinstance(packet, EventPacket):
            self._events.received(sid, packet)
        else:
            self._events.acked(sid, packet)

    def _attach(self, session: Session, data: str | bytes) -> None:
        partial = self._partial[session.sid]
        if isinstance(data, str):
            raise MalformedPacket("text where an attachment was due")
        partial.attachments.append(data)
        partial.held += len(data)
        if partial.held > self._settings.gateway_max_message:
            session.close(ATTACHMENTS)
        elif len(partial.attachments) == partial.unfinished.attachments:
            del self._partial[session.sid]
            self._received(session, partial.unfinished.packet._replace(attachments=tuple(partial.attachments)))

    # -- joining and leaving namespaces ----------------------------------------------------------------------------

    async def _connect(self, session: Session, namespace: str, auth: dict[str, Any]) -> None:
        if namespace not in self._configured:
            session.send(packets.connect_error_packet(namespace, INVALID_NAMESPACE))
            return
        sid = self._generate_id() if session.revision == 4 else _sid_v3(namespace, session.sid)
        if self.manager.reserve(session.sid, namespace, sid) is None:
            session.send(packets.connect_error_packet(namespace, DUPLICATE))
            return
        try:
            connection = await self._events.admit(sid, session, namespace, auth)
        except Reject as rejection:
            self.manager.basic_disconnect(sid, namespace)
            if rejection.retryable:
                session.close(str(rejection.code), GOING_AWAY)
            else:
                session.send(packets.connect_error_packet(namespace, _refusal(rejection, session.revision)))
            return
        if session.over:
            self.manager.basic_disconnect(sid, namespace)
            self._events.closed(connection.sid, "transport close")
            return
        if connection.sid != sid:
            # A recovered one goes by its old sid.
            self.manager.basic_disconnect(sid, namespace)
            sid = connection.sid
            self.manager.reserve(session.sid, namespace, sid)
        session.joined = True
        body = {"sid": sid} | ({"pid": connection.pid} if connection.pid else {})
        session.send(packets.connect_packet(namespace, body if session.revision == 4 else None))
        await self.manager.connect(sid, namespace)
        self._events.opened(connection)

    def _leave(self, eio_sid: str, namespace: str, reason: str) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        # One that is still being admitted is let go of when that has ended.
        if sid is not None and self.manager.is_connected(sid, namespace):
            self.manager.basic_disconnect(sid, namespace)
            self._events.closed(sid, reason)

    def _must_have_joined(self, eio_sid: str) -> None:
        session = self.eio.sessions.get(eio_sid)
        if session is not None and not session.joined:
            session.close(str(Code.CONNECT_TIMEOUT), NORMAL)

    def _allows_origin(self, request: Request) -> bool:
        return "*" in self._origins or request.origin == request.own_origin or request.origin in self._origins


def _logger() -> logging.Logger:
    """A logger of ours for the library, whose own writes a second copy to standard error."""
    logger = logging.getLogger(f"{__name__}.socketio")
    logger.setLevel(logging.ERROR)
    return logger


def _sid_v3(namespace: str, eio_sid: str) -> str:
    """The sid that older clients work out for themselves."""
    return eio_sid if namespace == "/" else f"{namespace}#{eio_sid}"


def _refusal(rejection: Reject, revision: int) -> Any:
    body = rejection.as_dict()
    return {"message": rejection.message, "data": body} if revision == 4 else body
