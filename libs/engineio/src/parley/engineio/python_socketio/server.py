"""`AsyncServer`: python-socketio's server on this engine, for its users and within the engine's limits.

Handlers, namespaces, rooms, sessions, acks and client managers are python-socketio's own, inherited. What is read of
clients is held to more here: what is no packet ends the session, as in Socket.IO's own server; names of life events are
not taken from clients; attachments are few and count against the input budget; a client that joins no namespace in time
is disconnected; and of a client's events only so many are handled at once (`client.MAX_HANDLERS`).
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from functools import partial
from typing import Any

import socketio
from engineio.async_socket import AsyncSocket
from socketio import packet as packets

from parley.common.http.gate import HttpLimits
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.python_socketio import serving
from parley.engineio.python_socketio.client import EngineClient
from parley.engineio.python_socketio.client_manager import BroadcastManager
from parley.engineio.python_socketio.engine_server import EngineServer, engine_packet

CONNECT_TIMEOUT = 45.0
"""Seconds in which a client must have joined a namespace, as in Socket.IO's own server."""
MAX_ATTACHMENTS = 64
"""Binary attachments of one packet."""

_INSTRUMENTED = ("handle_post_request", "_websocket_handler", "_send_ping")
_BINARY = {packets.BINARY_EVENT: packets.EVENT, packets.BINARY_ACK: packets.ACK}


class AsyncServer(socketio.AsyncServer):
    """A `socketio.AsyncServer`, with its constructor's arguments but for `async_mode`, which can only be `asgi`.

    Serve `socketio.ASGIApp(server, ...)` with any ASGI server, or with uvicorn and `server_options`, by which
    WebSockets are the engine's from the first byte on.
    """

    eio: EngineServer

    def __init__(self, client_manager: Any = None, **options: Any) -> None:
        super().__init__(client_manager=client_manager or BroadcastManager(), **options)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def server_options(
        self, path: str = "/socket.io", *, trusted_proxies: str = "127.0.0.1", limits: HttpLimits | None = None
    ) -> dict[str, Any]:
        """Return the options for `uvicorn.run` with which HTTP and WebSockets are the engine's.

        `path` is where clients look for the server, with what the app is mounted below. WebSockets on other paths are
        the app's as ever. `limits` are those of all HTTP requests, the app's other routes among them.
        """
        return serving.server_options(self.eio, path, trusted_proxies, limits)

    def instrument(self, *arguments: Any, **options: Any) -> Any:
        """Instrument the server for the official admin page; see python-socketio's documentation."""
        # It also changes the class that python-engineio's own servers make their sockets of, for all of this process.
        theirs = {name: getattr(AsyncSocket, name) for name in _INSTRUMENTED}
        instrumented: Any = super().instrument(*arguments, **options)
        for name, method in theirs.items():
            setattr(AsyncSocket, name, method)
        self.eio.traffic = instrumented.event_buffer
        return instrumented

    # -- who is connected ------------------------------------------------------------------------------------------

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._expect_namespace(eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._binary_packet.pop(eio_sid, None)
        if (client := self.eio.sockets.get(eio_sid)) is not None:
            self._expect_no_more(client)
        await super()._handle_eio_disconnect(eio_sid, reason)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        await super()._handle_connect(eio_sid, namespace, data)
        client = self.eio.sockets.get(eio_sid)
        if client is not None and self._has_joined(eio_sid):
            client.engine_session.joined = True
            self._expect_no_more(client)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        await super()._handle_disconnect(eio_sid, namespace, reason)
        self._expect_namespace(eio_sid)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace. Where that was its last, it has to join another or is closed."""
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)
        if eio_sid is not None:
            self._expect_namespace(eio_sid)

    def _has_joined(self, eio_sid: str) -> bool:
        manager = self.manager
        return any(manager.sid_from_eio_sid(eio_sid, namespace) for namespace in manager.get_namespaces())

    def _expect_namespace(self, eio_sid: str) -> None:
        """Give a client that is in no namespace its time to join one."""
        client = self.eio.sockets.get(eio_sid)
        if client is None or client.timeout is not None or not client.connected or self._has_joined(eio_sid):
            return
        client.timeout = self.eio.engine.call_later(CONNECT_TIMEOUT, partial(self._late, client))

    def _expect_no_more(self, client: EngineClient) -> None:
        if client.timeout is not None:
            self.eio.engine.cancel(client.timeout)
            client.timeout = None

    def _late(self, client: EngineClient) -> None:
        client.timeout = None
        # Who is being let in at this very moment has joined in time; the handler may take as long as it likes.
        if not self._has_joined(client.sid):
            self.eio.engine.limited("connect_timeout")
            client.engine_session.close(DisconnectReason.CONNECT_TIMEOUT)

    # -- what clients send -----------------------------------------------------------------------------------------

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if (client := self.eio.sockets.get(eio_sid)) is None:
            return
        try:
            packet = self._whole_packet(client, data)
        except Exception as error:  # noqa: BLE001 - packet classes are the app's to choose, and raise what they like
            self.logger.info("%s: not a packet: %s", eio_sid, error)
            self._binary_packet.pop(eio_sid, None)
            client.engine_session.end(DisconnectReason.PARSE_ERROR)
            return
        if packet is None:
            return
        kind = _BINARY.get(packet.packet_type, packet.packet_type)
        if kind == packets.EVENT:
            await self._handle_event(eio_sid, packet.namespace, packet.id, packet.data)
        elif kind == packets.ACK:
            await self._handle_ack(eio_sid, packet.namespace, packet.id, packet.data)
        elif kind == packets.CONNECT:
            client.message_whole()
            await self._handle_connect(eio_sid, packet.namespace, packet.data)
        else:
            client.message_whole()
            await self._handle_disconnect(eio_sid, packet.namespace, self.reason.CLIENT_DISCONNECT)

    def _whole_packet(self, client: EngineClient, data: str | bytes) -> Any:
        """Take a message; the packet that is whole with it, or None. Raises whatever for what is none."""
        packet: Any = self._binary_packet.get(client.sid)
        if packet is None:
            decode: Any = self.packet_class
            packet = decode(encoded_packet=data)
            _check(packet, self.reserved_events)
            if not packet.attachment_count:
                return packet
            if not self.manager.sid_from_eio_sid(client.sid, packet.namespace or "/"):
                raise ValueError("attachments for a namespace that it is not in")
            self._binary_packet[client.sid] = packet
            return None
        if not isinstance(data, bytes):
            raise TypeError("text instead of an attachment")
        client.hold_attachment(len(data))
        if not packet.add_attachment(data):
            return None
        client.drop_attachments()
        del self._binary_packet[client.sid]
        return packet

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:  # noqa: A002 - python-socketio's signature
        client = self.eio.sockets.get(eio_sid)
        size = 0 if client is None else client.message_whole()
        if client is None or not self.async_handlers:
            await super()._handle_event(eio_sid, namespace, id, data)
            return
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not self.manager.is_connected(sid, namespace):
            self.logger.warning("%s is not connected to namespace %s", eio_sid, namespace)
            return
        client.handle(partial(self._handle_event_internal, self, sid, eio_sid, data, namespace, id), size)

    async def _handle_ack(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:  # noqa: A002 - python-socketio's signature
        if (client := self.eio.sockets.get(eio_sid)) is not None:
            client.message_whole()
        # Ids begin at 1; what python-socketio keeps at 0 is the counter itself.
        if id:
            await super()._handle_ack(eio_sid, namespace, id, data)

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        # One piece, attachments included: all of it is sent or nothing.
        self.eio.push(eio_sid, engine_packet(pkt.encode()))


def _check(packet: Any, reserved: list[str]) -> None:
    """Raise `ValueError` for a packet that no client of Socket.IO sends (Socket.IO protocol, "Packet types")."""
    kind, data = packet.packet_type, packet.data
    if packet.attachment_count > (MAX_ATTACHMENTS if kind in _BINARY else 0):
        raise ValueError("attachments")
    if kind in {packets.EVENT, packets.BINARY_EVENT}:
        # A number is an event's name as well; whatever else could not be looked up.
        if not isinstance(data, list) or not data or type(data[0]) not in {str, int} or data[0] in reserved:
            raise ValueError("an event without its name")
    elif kind in {packets.ACK, packets.BINARY_ACK}:
        if not isinstance(data, list):
            raise ValueError("an ack without arguments")
    elif kind not in {packets.CONNECT, packets.DISCONNECT}:
        raise ValueError("a packet that only servers send")
