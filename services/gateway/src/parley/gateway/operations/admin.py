"""What operators do to this gateway's connections over NATS: kick a user, list who is connected."""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.msg import Msg

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, known_code
from parley.common.wire.codec import decode
from parley.common.wire.operations import ConnectionList, Kick, Kicked, ListConnections
from parley.gateway.connections.registry import ConnectionRegistry

MAX_LISTED = 2000
"""Connections in one answer, which is one broker message."""


class AdminOperations:
    """Answers `ctl.kick` and `ctl.connections`."""

    def __init__(self, bus: Bus, connections: ConnectionRegistry, end_user: Callable[[str, Code, str], int]) -> None:
        self._bus = bus
        self._connections = connections
        self._end_user = end_user

    async def start(self) -> None:
        """Begin to answer."""
        await self._bus.subscribe(subjects.KICK, self._on_kick)
        await self._bus.subscribe(subjects.CONNECTIONS, self._on_list)

    async def _on_kick(self, message: Msg) -> None:
        kick = decode(message.data, Kick)
        disconnected = self._end_user(kick.user_id, known_code(kick.code, Code.KICKED), kick.reason)
        if message.reply:
            await self._bus.publish(message.reply, Kicked(self._bus.instance, disconnected).encode())

    async def _on_list(self, message: Msg) -> None:
        wanted = decode(message.data, ListConnections)
        found = self._connections.of_user(wanted.user_id) if wanted.user_id else list(self._connections)
        listed = [c.described(self._bus.instance) for c in found[: min(wanted.limit, MAX_LISTED)] if c.opened]
        if message.reply:
            await self._bus.publish(message.reply, ConnectionList(self._bus.instance, listed).encode())
