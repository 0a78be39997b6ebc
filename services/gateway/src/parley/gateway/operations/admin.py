"""What operators do to this gateway's connections over NATS: kick a user, list who is connected."""

from __future__ import annotations

from nats.aio.msg import Msg
from prometheus_client import Counter

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, known_code
from parley.common.logs import get_logger
from parley.common.wire.codec import decode
from parley.common.wire.operations import ConnectionList, Kick, Kicked, ListConnections
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.registry import ConnectionRegistry
from parley.gateway.recovery.recovery import Recovery
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.server import SocketIoServer

log = get_logger(__name__)

KICKED = Counter("parley_gateway_kicked_total", "Connections ended by an operator", ["code"])
MAX_LISTED = 2000
"""Connections in one answer, which is one broker message."""


class AdminOperations:
    """Answers `ctl.kick` and `ctl.connections`."""

    def __init__(
        self, bus: Bus, edge: SocketIoServer, connections: ConnectionRegistry, fanout: Fanout, recovery: Recovery
    ) -> None:
        self._bus = bus
        self._recovery = recovery
        self._edge = edge
        self._connections = connections
        self._fanout = fanout

    async def start(self) -> None:
        """Begin to answer."""
        await self._bus.subscribe(subjects.KICK, self._on_kick)
        await self._bus.subscribe(subjects.CONNECTIONS, self._on_list)

    async def _on_kick(self, message: Msg) -> None:
        kick = decode(message.data, Kick)
        ended = self.end_user(kick.user_id, known_code(kick.code, Code.KICKED), kick.reason)
        if message.reply:
            await self._bus.publish(message.reply, Kicked(self._bus.instance, ended).encode())

    def end_user(self, user_id: str, code: Code, reason: str) -> int:
        """End every connection of a user, and return how many they were."""
        self._recovery.forget(user_id)
        connections = [c for c in self._connections.of_user(user_id) if not c.ended]
        for connection in connections:
            self.end(connection, code, reason)
        if connections:
            KICKED.labels(str(code)).inc(len(connections))
            log.info("kicked", user=user_id, code=str(code), connections=len(connections))
        return len(connections)

    def end(self, connection: Connection, code: Code, reason: str) -> None:
        """End one connection."""
        connection.ended = str(code)
        connection.waiting.clear()
        if connection.opened:
            connection.departed = sorted(connection.rooms)
            self._fanout.leave_all(connection)
            self._fanout.send_event(connection, "kicked", {"code": str(code), "reason": reason})
            self._edge.disconnect_connection(connection, str(code))
        # One that is still being admitted reads `ended` after its last check and is refused.

    async def _on_list(self, message: Msg) -> None:
        wanted = decode(message.data, ListConnections)
        found = self._connections.of_user(wanted.user_id) if wanted.user_id else list(self._connections)
        listed = [c.described(self._bus.instance) for c in found[: min(wanted.limit, MAX_LISTED)] if c.opened]
        if message.reply:
            await self._bus.publish(message.reply, ConnectionList(self._bus.instance, listed).encode())
