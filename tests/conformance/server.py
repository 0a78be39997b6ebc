"""The server that the official Engine.IO and Socket.IO suites expect, on the gateway's own engine and edge.

    python -m tests.conformance.server --port 4000

Engine.IO on `/engine.io/` echoes every message. Socket.IO on `/socket.io/` has the namespaces `/` and `/custom`; it
emits `auth` with the payload of CONNECT, answers `message` with `message-back` and acks `message-with-ack`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import uvicorn
from starlette.applications import Starlette

from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identity import Identity
from parley.engineio.packets import Packet, Part
from parley.engineio.polling import EnginePaths
from parley.engineio.server import STATE_KEY, Engine
from parley.engineio.session import Session
from parley.engineio.transports import Limits
from parley.engineio.websocket.frames import BINARY
from parley.gateway.app import SERVER_OPTIONS
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.client import Client
from parley.gateway.socketio.packets import AckPacket, EventPacket, ack_packet, event_packet
from parley.gateway.socketio.server import SocketIoServer

GREETING_DELAY = 0.05
"""Seconds in which a suite on a busy machine takes notice of CONNECT before something else comes."""


class Echo:
    """`ServerEvents` as the Socket.IO suite wants them."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.server = SocketIoServer(
            settings, "conformance", {name: Namespace(service="echo") for name in ("/", "/custom")}, self
        )
        self.connections: set[Connection] = set()

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        sid = self.server.sid_for(client, namespace)
        connection = Connection(
            sid, client.session, namespace, Identity(sid, sid), time.time(), state=ConnectionState.OPEN
        )
        self.connections.add(connection)
        self.server.admit(connection)
        greeting = event_packet(namespace, "auth", msgspec.json.encode([auth]))
        # The suite listens for one message at a time, and misses one that comes in the same write as CONNECT.
        asyncio.get_running_loop().call_later(GREETING_DELAY, self.server.send, connection, greeting)

    def event_received(self, connection: Connection, packet: EventPacket) -> None:
        if packet.event == "message":
            back = event_packet(packet.namespace, "message-back", packet.args, packet.attachments)
            self.server.send(connection, back)
        elif packet.event == "message-with-ack" and packet.ack_id is not None:
            self.server.send(connection, ack_packet(packet.namespace, packet.ack_id, packet.args, packet.attachments))

    def ack_received(self, connection: Connection, packet: AckPacket) -> None:
        pass

    def left(self, client: Client, namespace: str, reason: DisconnectReason) -> None:
        self.connections.discard(cast("Connection", client.namespaces.pop(namespace)))

    def lost(self, client: Client, reason: DisconnectReason) -> None:
        for namespace in list(client.namespaces):
            self.left(client, namespace, reason)


class EngineEcho:
    """`SessionEvents` as the Engine.IO suite wants them: what a client sends comes back."""

    def session_opened(self, session: Session) -> None:
        session.joined = True

    def message_received(self, session: Session, data: str | bytes) -> None:
        session.send(Packet.of(b"4" + data.encode()) if isinstance(data, str) else Packet(Part(BINARY, data)))

    def session_ended(self, session: Session, reason: str) -> None:
        pass


def echo_engine(settings: GatewaySettings) -> Engine:
    """An Engine.IO server that sends back what it gets."""
    numbers = itertools.count()
    limits = Limits(
        ping_interval=settings.gateway_ping_interval,
        ping_timeout=settings.gateway_ping_timeout,
        max_payload=settings.gateway_max_message,
    )
    return Engine(limits, EngineEcho(), generate_id=lambda: f"echo.{next(numbers)}", revisions=(3, 4))


def create_app(settings: GatewaySettings) -> Starlette:
    """Both servers behind one port."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        socketio, engine = Echo(settings).server.engine, echo_engine(settings)
        yield {STATE_KEY: {b"/socket.io": socketio, b"/engine.io": engine}}
        await socketio.shutdown()
        await engine.shutdown()

    app = Starlette(lifespan=lifespan)
    app.add_middleware(EnginePaths)
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.server", description=__doc__)
    parser.add_argument("--port", type=int, default=4000)
    parser.add_argument("--ping-interval", type=int, default=300, help="milliseconds")
    parser.add_argument("--ping-timeout", type=int, default=200, help="milliseconds")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    settings = GatewaySettings(
        gateway_ping_interval=options.ping_interval / 1000,
        gateway_ping_timeout=options.ping_timeout / 1000,
        # The suites' sessions join nothing while they wait for heartbeats.
        gateway_connect_timeout=max(1.0, 2 * (options.ping_interval + options.ping_timeout) / 1000),
        gateway_max_message=1_000_000,
        gateway_allow_eio3=True,
    )
    app = create_app(settings)
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, loop=options.loop,
        access_log=False, log_level="warning", timeout_graceful_shutdown=1, **SERVER_OPTIONS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
