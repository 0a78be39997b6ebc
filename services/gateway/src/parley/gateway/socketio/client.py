"""One Engine.IO session as Socket.IO sees it: its namespaces, its unfinished binary packet, and how fast it sends.

`server` makes one when a transport opens. It is the only map from a transport to what it has in each namespace.
"""

from __future__ import annotations

from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.socketio.attempt import Attempt
from parley.gateway.socketio.packets import AckPacket, EventPacket


class UnfinishedPacket:
    """A binary packet of which some attachments are still to come. A refused one has no `packet`, and they are dropped.

    Socket.IO v5 protocol, "Packet encoding": attachments follow as binary messages of their own.
    """

    __slots__ = ("attachments", "held", "missing", "packet")

    def __init__(self, packet: EventPacket | AckPacket | None, missing: int, held: int) -> None:
        self.packet = packet
        self.missing = missing
        self.attachments: list[bytes] = []
        self.held = held
        """Bytes of it that are counted in the engine's budget."""


class Client:
    """The Socket.IO part of a session, kept as `session.client`."""

    __slots__ = (
        "bytes_full_at", "connects_full_at", "excess", "excess_since", "full_at", "namespaces", "session", "unfinished",
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        self.session = session
        self.namespaces: dict[str, Attempt | Connection] = {}
        self.unfinished: UnfinishedPacket | None = None
        self.full_at = 0.0
        """When its bucket of events will be full again (`Rate.spend`); the next two are the same for bytes and for
        CONNECTs."""
        self.bytes_full_at = 0.0
        self.connects_full_at = 0.0
        self.excess = 0.0
        """How much of a burst it sent beyond its rates since `excess_since`."""
        self.excess_since = 0.0

    @property
    def joined(self) -> bool:
        """Whether it is in any namespace."""
        return any(
            found.state is ConnectionState.OPEN for found in self.namespaces.values() if isinstance(found, Connection)
        )
