"""One connection, pure: who it is, what it waits for, and which rooms it is in.

`Lifecycle` makes it, opens it and ends it; one that is parked is ended by `Recovery`. `commands` keeps here what waits
to be sent, `rooms` which rooms it is in and what it heard of them, `recovery` its private id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from parley.common.wire.connections import ConnectionClosed, ConnectionInfo
from parley.common.wire.disconnects import KICKS, DisconnectReason
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MembershipChange
from parley.engineio.session import Session
from parley.engineio.timer_wheel import TimerEntry
from parley.framework.serving.event_result import EventResult
from parley.gateway.process.boot_clock import boot_time


class ConnectionState(Enum):
    """Where a connection is in its life; see `lifecycle`."""

    ATTEMPTING = "attempting"
    OPEN = "open"
    PARKED = "parked"
    ENDED = "ended"


class QueuedCommand(msgspec.Struct, frozen=True):
    """A command that waits for its turn, or for its outcome."""

    connection: Connection
    event: str
    args: bytes
    ack_id: int | None
    attachments: tuple[bytes, ...]
    size: int
    """Its bytes."""
    on_result: Callable[[EventResult], None] | None = None
    """Called with the result instead of acking the client; middleware uses it."""


@dataclass(slots=True, eq=False)
class Connection:
    """One socket in one namespace; `session` is the Engine.IO session under it."""

    sid: str
    session: Session
    namespace: str
    identity: Identity
    connected_at: float
    """Unix seconds, for people."""
    registered_at: float = field(default_factory=boot_time)
    """When it was first registered, here or where it was recovered from; a kick ends who is older than it."""
    opened_at: float = 0.0
    """When it was let into its user's own room here, in monotonic seconds."""
    waiting: deque[QueuedCommand] = field(default_factory=deque[QueuedCommand])
    waiting_bytes: int = 0
    in_flight: int = 0
    rooms: set[str] = field(default_factory=set[str])
    last_change: dict[str, int] = field(default_factory=dict[str, int])
    """Per room the sequence of the last join or leave that was heeded: hints of replicas overtake each other."""
    left: dict[str, int] | None = None
    """The last event it was sent in rooms that it is not in any more, or was only told of; see `rooms.memory`."""
    ahead: dict[str, int] | None = None
    """Per room the last event that it had when it entered, where this gateway had not delivered that yet."""
    heard: dict[str, int] | None = None
    """Per room the fanout's mark when a join or leave was last heard of."""
    forgotten: int = -1
    """The latest mark of what is remembered no more."""
    authenticated: bool = False
    """Whether auth has said who it is; until then the identity is what the token claims."""
    doubtful: bool = False
    """Whether its user was changed while auth was asked who it is, so that the answer may be of before."""
    guest: bool = False
    """Whether it came without a token: then whoever knows its pid is that guest."""
    state: ConnectionState = ConnectionState.ATTEMPTING
    ended: DisconnectReason | None = None
    """Why it ended, once it has ended."""
    pending_changes: list[MembershipChange] = field(default_factory=list[MembershipChange])
    """Joins and leaves that were heard of before CONNECT; they apply right after it."""
    lifecycle_events: tuple[str, ...] = ()
    """The events of its life that its service asked for; see `ConnectReply`."""
    handshake: bytes = b""
    """How it came about, for services; encoded."""
    data: bytes = b""
    """What services keep with it (Socket.IO's `socket.data`), encoded."""
    on_closed: Callable[[ConnectionClosed], None] | None = None
    """Runs the gateway's own middleware that stands after its life, where the namespace has some."""
    joined_ad_hoc: set[str] | None = None
    """Ad hoc rooms: joined through an operation, unknown to the service's log."""
    pid: str = ""
    """By this private id the client may recover what it had, where the namespace allows that."""
    first_offset: int = 0
    """The number of the last packet of its namespace before CONNECT; see `packet_history`."""
    came_with: str = ""
    """The offset that its client named at CONNECT: of what it had received before, from whichever gateway."""
    expiry: TimerEntry | None = None
    """What ends it when its token expires, where the namespace asks for that."""

    @property
    def opened(self) -> bool:
        """Whether CONNECT was sent: before it, nothing may be delivered."""
        return self.state is not ConnectionState.ATTEMPTING

    @property
    def kicked(self) -> bool:
        """Whether an administrator ended it, so that nothing more of it counts."""
        return self.ended in KICKS

    def enter_ad_hoc(self, room: str) -> None:
        """Remember that a room was entered from outside."""
        self.joined_ad_hoc = self.joined_ad_hoc or set()
        self.joined_ad_hoc.add(room)

    def forget_ad_hoc(self, room: str) -> None:
        """The room was left from outside, or from now on the service says who is in it."""
        if self.joined_ad_hoc is not None:
            self.joined_ad_hoc.discard(room)
            self.joined_ad_hoc = self.joined_ad_hoc or None

    def described(self, gateway: str, rooms: Sequence[str] = ()) -> ConnectionInfo:
        """What others are told of it."""
        return ConnectionInfo(
            self.sid,
            self.identity.user_id,
            self.identity.name,
            self.namespace,
            gateway,
            self.session.origin.address,
            "polling" if self.session.socket is None else "websocket",
            self.connected_at,
            list(rooms),
        )
