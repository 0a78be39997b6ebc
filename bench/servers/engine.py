"""Parley's edge alone: what the gateway reads from and writes to sockets with, without NATS or services behind it.

Everybody who connects is in one room, and what anybody emits goes to everybody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import lag
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identity import Identity
from parley.engineio.polling import Polling
from parley.engineio.websocket.protocol import STATE_KEY
from parley.gateway.app import PATH, SERVER_OPTIONS
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.namespaces import Namespace
from parley.gateway.process.gc_scheduling import run_collector
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.client import Client
from parley.gateway.socketio.packets import AckPacket, EventPacket, event_packet
from parley.gateway.socketio.server import SocketIoServer

NAMESPACE = "/"
_arguments = msgspec.json.Decoder(tuple[str, msgspec.Raw])


class Room:
    """What the server reports, turned around on the spot."""

    def __init__(self) -> None:
        self._members: dict[str, Connection] = {}
        self.server = SocketIoServer(GatewaySettings(), "engine", {NAMESPACE: Namespace(service="engine")}, self)

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:  # noqa: ARG002 - see `ServerEvents`
        sid = self.server.sid_for(client, namespace)
        connection = Connection(
            sid, client.session, namespace, Identity(sid, sid), time.time(), state=ConnectionState.OPEN
        )
        self._members[sid] = connection
        self.server.admit(connection)

    def event_received(self, connection: Connection, packet: EventPacket) -> None:  # noqa: ARG002
        _room, text = _arguments.decode(packet.args)
        answer = event_packet(packet.namespace, packet.event, b"[" + text + b"]")
        self.server.broadcast(self._members.values(), answer)

    def ack_received(self, connection: Connection, packet: AckPacket) -> None:
        """Nothing here asks clients for acks."""

    def left(self, client: Client, namespace: str, reason: DisconnectReason) -> None:  # noqa: ARG002
        found = client.namespaces.pop(namespace)
        if isinstance(found, Connection):
            del self._members[found.sid]

    def lost(self, client: Client, reason: DisconnectReason) -> None:
        for namespace in list(client.namespaces):
            self.left(client, namespace, reason)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
    room = Room()
    app.router.routes.append(Mount(PATH, Polling(room.server.engine)))
    lag.watch()
    collector = asyncio.create_task(run_collector())
    yield {STATE_KEY: {PATH.encode(): room.server.engine}}
    collector.cancel()
    await room.server.engine.shutdown()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(lifespan=lifespan),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        **SERVER_OPTIONS,
    )
