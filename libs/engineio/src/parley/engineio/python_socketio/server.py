"""`AsyncServer`: python-socketio's server on this engine, for its users and within the engine's limits.

Handlers, namespaces, rooms, sessions, acks and client managers are inherited from python-socketio. Clients are held to
more than there:

- a malformed packet ends the session, as in Socket.IO's own server (Socket.IO v5 protocol, "Packet encoding");
- reserved events are not accepted from clients;
- attachments are limited in number and count against the input budget;
- a client that joins no namespace in `CONNECT_TIMEOUT` is disconnected;
- only `client.MAX_HANDLERS` events of a client are handled at once.

All methods run in the task of the client (`client.EngineClient`), in the order in which its messages came.
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from functools import partial
from typing import Any

import socketio
from engineio.async_socket import AsyncSocket
from socketio import packet as packets

from parley.common.http.connection.gate import HttpLimits
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.python_socketio import serving
from parley.engineio.python_socketio.client import EngineClient
from parley.engineio.python_socketio.client_manager import BroadcastManager
from parley.engineio.python_socketio.engine_server import EngineServer, engine_packet

CONNECT_TIMEOUT = 45.0
"""Seconds in which a client must have joined a namespace, as in Socket.IO's own server (`connectTimeout`)."""
MAX_ATTACHMENTS = 64
"""Binary attachments of one packet at most."""

_INSTRUMENTED = ("handle_post_request", "_websocket_handler", "_send_ping")
_BINARY = {packets.BINARY_EVENT: packets.EVENT, packets.BINARY_ACK: packets.ACK}


class AsyncServer(socketio.AsyncServer):
    """A `socketio.AsyncServer` with the same arguments; `async_mode` can only be `asgi`.

    Serve `socketio.ASGIApp(server, ...)` with any ASGI server, or with uvicorn and `server_options`: then the engine
    reads WebSockets itself, which is several times cheaper.
    """

    eio: EngineServer

    def __init__(self, client_manager: Any = None, **options: Any) -> None:
        super().__init__(client_manager=client_manager or BroadcastManager(), **options)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def server_options(
        self, path: str = "/socket.io", *, trusted_proxies: str = "127.0.0.1", limits: HttpLimits | None = None
    ) -> dict[str, Any]:
        """Return the options for `uvicorn.run` with which the engine reads HTTP requests and WebSockets itself.

        `path` is the whole path of the Socket.IO server, also if the app is mounted below another one. WebSockets on
        other paths go to the app. `limits` are those of all HTTP requests, also to other routes of the app.
        """
        return serving.server_options(self.eio, path, trusted_proxies, limits)

    def instrument(self, *arguments: Any, **options: Any) -> Any:
        """Instrument the server for the official admin page; see python-socketio's documentation."""
        # python-socketio also replaces methods of python-engineio's class of sockets, for all servers of the process.
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
        """Disconnect a client from a namespace. If that was its last, it has to join another in time or is closed."""
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)
        if eio_sid is not None:
            self._expect_namespace(eio_sid)

    def _has_joined(self, eio_sid: str) -> bool:
        manager = self.manager
        return any(manager.sid_from_eio_sid(eio_sid, namespace) for namespace in manager.get_namespaces())

    def _expect_namespace(self, eio_sid: str) -> None:
        """Start the time of a client that is in no namespace to join one."""
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
        # A client whose connect handler is running counts as joined: the handler may take as long as it likes.
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
            client.engine_session.fail(DisconnectReason.PARSE_ERROR)
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
        """Take a message and return the packet that is complete with it, or None. Raises for a malformed one."""
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
        # Ids begin at 1: python-socketio keeps the counter itself at 0, which a client could call.
        if id:
            await super()._handle_ack(eio_sid, namespace, id, data)

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        # One packet of the engine's, attachments included, so that all of it is sent or nothing.
        self.eio.push(eio_sid, engine_packet(pkt.encode()))


def _check(packet: Any, reserved: list[str]) -> None:
    """Raise `ValueError` for a packet that no client may send (Socket.IO v5 protocol, "Packet types")."""
    kind, data = packet.packet_type, packet.data
    if packet.attachment_count > (MAX_ATTACHMENTS if kind in _BINARY else 0):
        raise ValueError("attachments")
    if kind in {packets.EVENT, packets.BINARY_EVENT}:
        # JavaScript clients may emit numbers as names. Other values, such as a list, could not be looked up.
        if not isinstance(data, list) or not data or type(data[0]) not in {str, int} or data[0] in reserved:
            raise ValueError("an event without its name")
    elif kind in {packets.ACK, packets.BINARY_ACK}:
        if not isinstance(data, list):
            raise ValueError("an ack without arguments")
    elif kind not in {packets.CONNECT, packets.DISCONNECT}:
        raise ValueError("a packet that only servers send")
