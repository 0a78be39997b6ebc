"""Parley's edge alone: what the gateway reads from and writes to sockets with, without NATS or services behind it.

Everybody who connects is in one room, and what anybody emits goes to everybody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import lag
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from parley.common.wire.identity import Identity
from parley.gateway.app import PATH, SERVER_OPTIONS
from parley.gateway.connections.connection import Connection
from parley.gateway.engineio.polling import Polling
from parley.gateway.engineio.session import Session
from parley.gateway.engineio.websocket.protocol import STATE_KEY
from parley.gateway.namespaces import Namespace
from parley.gateway.process.gc_scheduling import run_collector
from parley.gateway.settings import Settings
from parley.gateway.socketio.packets import AckPacket, EventPacket, event_packet
from parley.gateway.socketio.server import SocketIoServer

NAMESPACE = "/"
_arguments = msgspec.json.Decoder(tuple[str, msgspec.Raw])


class Room:
    """What the edge reports, turned around on the spot."""

    def __init__(self) -> None:
        self._members: dict[str, Connection] = {}
        self.edge = SocketIoServer(Settings(), "engine", {NAMESPACE: Namespace(service="engine")}, self)

    async def admit(self, sid: str, session: Session, namespace: str, auth: dict[str, Any]) -> Connection:  # noqa: ARG002 - see `EdgeEvents`
        return Connection(sid, session, namespace, Identity(sid, sid), time.time())

    def opened(self, connection: Connection) -> None:
        self._members[connection.sid] = connection

    def received(self, sid: str, packet: EventPacket) -> None:  # noqa: ARG002
        _room, text = _arguments.decode(packet.args)
        answer = event_packet(packet.namespace, packet.event, b"[" + text + b"]")
        self.edge.broadcast(self._members.values(), answer)

    def acked(self, sid: str, packet: AckPacket) -> None:
        """Nothing here asks clients for acks."""

    def closed(self, sid: str, reason: str) -> None:  # noqa: ARG002
        self._members.pop(sid, None)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
    room = Room()
    app.router.routes.append(Mount(PATH, Polling(room.edge.eio)))
    lag.watch()
    collector = asyncio.create_task(run_collector())
    yield {STATE_KEY: {PATH.encode(): room.edge.eio}}
    collector.cancel()
    await room.edge.shutdown()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(lifespan=lifespan),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        **SERVER_OPTIONS,
    )
