"""The Socket.IO edge: the only module that knows python-socketio, and where its gaps are closed.

What differs from the library: plain events keep their payload undecoded; a refused CONNECT always carries a code; one
that may succeed later ends the transport instead, because stock clients reconnect after a lost transport and give up
after a refusal; a malformed packet is answered or ends its connection; a client that joins no namespace is
disconnected; closing really closes the transport; and a slow client is disconnected instead of growing the gateway.
"""
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingParameterType=false, reportUntypedBaseClass=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any, Protocol

import msgspec
import socketio
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from engineio.payload import Payload
from prometheus_client import Counter

from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.gateway.connections import Connection
from parley.gateway.packets import EventPacket, MalformedPacket, ack_text, disconnect_text, event_text, parse_event
from parley.gateway.settings import Settings

log = get_logger(__name__)

TRANSPORTS_CLOSED = Counter("parley_gateway_transports_closed_total", "Transports the gateway ended", ["reason"])

MAX_PACKETS_PER_POST = 4096
"""Packets in one polling request; its body is bounded as well, so this only stops parsing absurd ones."""
SWEEP_INTERVAL = 1.0
DUPLICATE = {"message": "This transport is connected to the namespace already.", "data": {}}


class _Json:
    """JSON for python-socketio: fast, and every failure is a `ValueError`, too deep nesting included."""

    @staticmethod
    def loads(text: str | bytes) -> Any:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise ValueError(str(error)) from error

    @staticmethod
    def dumps(value: Any, **_options: Any) -> str:
        return msgspec.json.encode(value).decode()


class EdgeEvents(Protocol):
    """What the edge tells the gateway."""

    async def admit(self, sid: str, transport_id: str, namespace: str, auth: Any, address: str) -> Connection:
        """Let a connection in. Raises `Reject`; a retryable one ends the transport instead of refusing."""
        ...

    def opened(self, connection: Connection) -> None:
        """CONNECT was sent; deliveries may begin."""
        ...

    def received(self, sid: str, packet: EventPacket) -> None:
        """A client emitted an event."""
        ...

    def closed(self, sid: str) -> None:
        """A connection is gone."""
        ...


class Edge(socketio.AsyncServer):
    """A Socket.IO server whose namespaces are all handled by one `EdgeEvents`."""

    # The library's own attributes, whose types it does not declare.
    eio: Any
    manager: Any
    packet_class: Any
    environ: Any

    def __init__(self, settings: Settings, instance: str, namespaces: set[str], events: EdgeEvents) -> None:
        # The token travels in the payload, so other origins gain nothing by themselves.
        self._origins = settings.gateway_cors_origins or (["*"] if settings.environment == "development" else [])
        super().__init__(
            async_mode="asgi",
            namespaces=[],
            json=_Json,
            cors_allowed_origins="*" if "*" in self._origins else self._allows_origin,
            ping_interval=settings.gateway_ping_interval,
            ping_timeout=settings.gateway_ping_timeout,
            max_http_buffer_size=settings.gateway_max_message,
            http_compression=False,
            **_loggers(),
        )
        Payload.max_decode_packets = MAX_PACKETS_PER_POST
        # Proxies route by the first part of the sid, so that every request of a session reaches its gateway.
        self.eio.generate_id = lambda: f"{instance}.{secrets.token_urlsafe(15)}"
        self._configured = namespaces
        self._events = events
        self._max_backlog = settings.gateway_max_backlog
        self._connect_timeout = settings.gateway_connect_timeout
        self._unjoined: dict[str, float] = {}
        self._tasks = Tasks()

    # -- what the gateway asks for ---------------------------------------------------------------------------------

    def send(self, transport_id: str, packet: Any) -> None:
        """Queue a packet made by `frame`; a client that does not read its backlog away is disconnected."""
        socket = self.eio.sockets.get(transport_id)
        if socket is None or socket.closed:
            return
        if socket.queue.qsize() >= self._max_backlog:
            self.close_transport(transport_id, "slow")
            return
        socket.queue.put_nowait(packet)

    @staticmethod
    def frame(namespace: str, event: str, payload: bytes) -> Any:
        """An event as a packet that may be sent to any number of connections; it is encoded once."""
        return EnginePacket(MESSAGE, data=event_text(namespace, event, payload))

    def ack(self, connection: Connection, ack_id: int, payload: bytes) -> None:
        """Answer an emit."""
        text = ack_text(connection.namespace, ack_id, payload)
        self.send(connection.transport_id, EnginePacket(MESSAGE, data=text))

    def disconnect_connection(self, connection: Connection) -> None:
        """Tell the client that its namespace is closed, then end the transport under it."""
        self.send(connection.transport_id, EnginePacket(MESSAGE, data=disconnect_text(connection.namespace)))
        self.close_transport(connection.transport_id, connection.ended or "server disconnect")

    def transport_name(self, transport_id: str) -> str:
        """`polling` or `websocket`."""
        socket = self.eio.sockets.get(transport_id)
        return "websocket" if socket is not None and socket.upgraded else "polling"

    def close_transport(self, transport_id: str, reason: str) -> None:
        """End a transport once what is queued for it has been written."""
        if (socket := self.eio.sockets.get(transport_id)) is not None and not socket.closed:
            TRANSPORTS_CLOSED.labels(reason).inc()
            self._tasks.spawn(socket.close(wait=False, reason="server disconnect"), name=f"close transport ({reason})")

    async def run_sweep(self) -> None:
        """Disconnect, for ever, the transports that joined no namespace in time."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            for transport_id, deadline in list(self._unjoined.items()):
                if deadline > now:
                    break
                del self._unjoined[transport_id]
                self.close_transport(transport_id, str(Code.CONNECT_TIMEOUT))

    async def stop(self) -> None:
        """End every transport, so that clients reconnect elsewhere."""
        for transport_id in list(self.eio.sockets):
            self.close_transport(transport_id, "shutdown")
        # One pass of the loop lets the farewells be written before the server closes its sockets.
        await asyncio.sleep(0)
        await self._tasks.close()
        if self.eio.service_task_handle is not None:
            await self.shutdown()

    # -- python-socketio's hooks -----------------------------------------------------------------------------------

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._unjoined[eio_sid] = time.monotonic() + self._connect_timeout
        await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._unjoined.pop(eio_sid, None)
        self._binary_packet.pop(eio_sid, None)
        if (socket := self.eio.sockets.get(eio_sid)) is not None:
            # At this mark, behind a last CLOSE packet, the writer ends: it closes the websocket or answers the pending
            # poll, both of which the library leaves open.
            asyncio.get_running_loop().call_soon(socket.queue.put_nowait, None)
        await super()._handle_eio_disconnect(eio_sid, reason)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            if isinstance(data, str) and data.startswith("2") and eio_sid not in self._binary_packet:
                self._receive(eio_sid, parse_event(data))
            elif isinstance(data, str | bytes):
                await super()._handle_eio_message(eio_sid, data)
            else:
                raise MalformedPacket("not a Socket.IO packet")  # noqa: TRY301 - one way out for all of them
        except MalformedPacket as error:
            if error.ack_id is None:
                self.close_transport(eio_sid, "parse error")
            else:
                rejection = Reject(Code.INVALID_PAYLOAD, str(error))
                self._refuse_event(eio_sid, error.namespace, error.ack_id, rejection)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            self.close_transport(eio_sid, "parse error")

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: A002, ARG002
        # Plain events never come here: what does had binary attachments.
        rejection = Reject(Code.INVALID_PAYLOAD, "Binary data is not accepted here; send text.")
        self._refuse_event(eio_sid, namespace or "/", id, rejection)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        if namespace not in self._configured:
            await self._refuse(eio_sid, namespace, _refusal(Reject(Code.UNKNOWN_NAMESPACE)))
            return
        sid = await self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            await self._refuse(eio_sid, namespace, DUPLICATE)
            return
        try:
            connection = await self._events.admit(sid, eio_sid, namespace, data, self._address(eio_sid))
        except Reject as rejection:
            await self._leave(sid, namespace)
            if rejection.retryable:
                self.close_transport(eio_sid, str(rejection.code))
            else:
                await self._refuse(eio_sid, namespace, _refusal(rejection))
            return
        if eio_sid not in self.environ:
            self._events.closed(sid)
            await self._leave(sid, namespace)
            return
        self._unjoined.pop(eio_sid, None)
        await self._send_packet(eio_sid, self.packet_class(0, {"sid": sid}, namespace=namespace))
        await self.manager.connect(sid, namespace)
        self._events.opened(connection)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        await super()._handle_disconnect(eio_sid, namespace, reason)
        if sid is not None and not self.manager.is_pre_connected(sid, namespace or "/"):
            self._events.closed(sid)

    # -- helpers of the hooks --------------------------------------------------------------------------------------

    def _receive(self, eio_sid: str, packet: EventPacket) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, packet.namespace)
        if sid is not None and self.manager.is_connected(sid, packet.namespace):
            self._events.received(sid, packet)

    def _refuse_event(self, eio_sid: str, namespace: str, ack_id: int | None, rejection: Reject) -> None:
        body = rejection.as_dict()
        if ack_id is not None:
            text = ack_text(namespace, ack_id, msgspec.json.encode({"ok": False, "error": body}))
            self.send(eio_sid, EnginePacket(MESSAGE, data=text))
        else:
            self.send(eio_sid, self.frame(namespace, "error", msgspec.json.encode(body)))

    async def _refuse(self, eio_sid: str, namespace: str, body: dict[str, Any]) -> None:
        await self._send_packet(eio_sid, self.packet_class(4, data=body, namespace=namespace))

    async def _leave(self, sid: str, namespace: str) -> None:
        await self.manager.disconnect(sid, namespace, ignore_queue=True)

    def _allows_origin(self, origin: str, environ: dict[str, Any]) -> bool:
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", environ["wsgi.url_scheme"]).split(",")[0].strip()
        own = f"{scheme}://{environ.get('HTTP_X_FORWARDED_HOST', environ.get('HTTP_HOST', ''))}"
        return origin in {own, *self._origins}

    def _address(self, eio_sid: str) -> str:
        client = self.environ[eio_sid]["asgi.scope"].get("client")
        return client[0] if client else ""


def _loggers() -> dict[str, Any]:
    """Loggers of ours for the libraries, whose own write a second copy to standard error."""
    loggers = {option: logging.getLogger(f"{__name__}.{option}") for option in ("logger", "engineio_logger")}
    for logger in loggers.values():
        logger.setLevel(logging.ERROR)
    return loggers


def _refusal(rejection: Reject) -> dict[str, Any]:
    return {"message": rejection.message, "data": rejection.as_dict()}
