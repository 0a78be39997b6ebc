"""A client's attempt to join a namespace: what is kept of it only until it is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parley.common.wire.connections import ConnectReply
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.packets import EventPacket

if TYPE_CHECKING:
    from parley.gateway.socketio.client import Client

# Stock clients wait for CONNECT before they emit, so these are for hand-written ones.
MAX_HELD = 64
MAX_HELD_BYTES = 64 * 1024
"""Events, and their bytes, that a client may emit into a namespace before it is let in."""


class Attempt:
    """One CONNECT that has not been answered yet.

    `connection` is what it will become. It is registered already, so that a kick finds it. Each retry of an attempt has
    another one.
    """

    __slots__ = (
        "answered", "auth", "auth_bytes", "client", "connection", "held", "held_bytes", "namespace", "reply", "task",
        "waited",
    )  # fmt: skip

    def __init__(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        self.client = client
        self.namespace = namespace
        self.auth = auth
        self.auth_bytes = 0
        """Bytes of `auth` that are counted in the engine's budget."""
        self.connection: Connection | None = None
        self.reply = ConnectReply()
        """What the service answered, and what gateway middleware added to it."""
        self.waited = False
        """Whether it had to wait, after that answer, until NATS had its rooms' subscriptions."""
        self.held: list[EventPacket] | None = None
        """What the client emitted meanwhile."""
        self.held_bytes = 0
        self.task: asyncio.Task[Any] | None = None
        self.answered = False
        """Whether it was answered, replaced or given up."""

    def may_hold(self, size: int) -> bool:
        """Return whether another event of this size may wait until the client is let in."""
        return len(self.held or ()) < MAX_HELD and self.held_bytes + size <= MAX_HELD_BYTES

    def hold(self, packet: EventPacket, size: int) -> None:
        """Keep an event until the client is let in."""
        self.held = self.held or []
        self.held.append(packet)
        self.held_bytes += size
