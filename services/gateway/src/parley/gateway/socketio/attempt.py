"""A client's attempt to join a namespace: what is known of it only until it is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parley.common.wire.connections import ConnectReply
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.packets import EventPacket

if TYPE_CHECKING:
    from parley.gateway.socketio.client import Client

MAX_HELD = 64
MAX_HELD_BYTES = 64 * 1024
"""What a client may emit into a namespace before it is let in. Stock clients wait for that."""


class Attempt:
    """One CONNECT that has not been answered yet.

    `connection` is what it becomes, registered so that a kick finds it. An attempt that is tried again has another one
    each time.
    """

    __slots__ = (
        "auth", "auth_bytes", "client", "connection", "held", "held_bytes", "namespace", "over", "reply", "task",
        "waited",
    )  # fmt: skip

    def __init__(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        self.client = client
        self.namespace = namespace
        self.auth = auth
        self.auth_bytes = 0
        """What that takes in the engine's budget."""
        self.connection: Connection | None = None
        self.reply = ConnectReply()
        """What the service answered, and gateway middleware added to it."""
        self.waited = False
        """Whether it took waiting, after that answer, until the broker knew that its rooms are heard here."""
        self.held: list[EventPacket] | None = None
        """What the client emitted meanwhile."""
        self.held_bytes = 0
        self.task: asyncio.Task[Any] | None = None
        self.over = False
        """Whether it was answered, replaced or given up."""

    def may_hold(self, size: int) -> bool:
        """Whether another event of this size may wait until the client is let in."""
        return len(self.held or ()) < MAX_HELD and self.held_bytes + size <= MAX_HELD_BYTES

    def hold(self, packet: EventPacket, size: int) -> None:
        """Keep an event until the client is let in."""
        self.held = self.held or []
        self.held.append(packet)
        self.held_bytes += size
