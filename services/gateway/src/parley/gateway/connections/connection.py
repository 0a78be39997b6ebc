"""One connection, pure: whose it is, which commands it waits for, and which rooms it is in.

`Lifecycle` makes it, opens it and ends it; `Recovery` ends a parked one. `commands` keeps here what waits to be sent,
`rooms` which rooms it is in and what it heard of them, `recovery` its private id. Everything that most connections
never need is None until it is used: a gateway has tens of thousands of these.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from parley.common.wire.connections import ConnectionClosed, ConnectionInfo
from parley.common.wire.disconnects import KICK_REASONS, DisconnectReason
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MembershipChange
from parley.engineio.session import Session
from parley.engineio.timer_wheel import TimerEntry
from parley.framework.serving.event_result import EventResult
from parley.gateway.process.boot_clock import boot_time


class ConnectionState(Enum):
    """The states of a connection; `lifecycle` has their table."""

    ATTEMPTING = "attempting"
    OPEN = "open"
    PARKED = "parked"
    ENDED = "ended"


class QueuedCommand(msgspec.Struct, frozen=True):
    """A command that waits to be sent, or for its outcome."""

    connection: Connection
    event: str
    args: bytes
    ack_id: int | None
    attachments: tuple[bytes, ...]
    size: int
    """Bytes of its arguments and attachments."""
    on_result: Callable[[EventResult], None] | None = None
    """Called with the result instead of acking the client. Middleware uses it."""


# Two connections are the same only if they are one object, and it is the key of many dicts: hence `eq=False`.
@dataclass(slots=True, eq=False)
class Connection:
    """One client in one namespace; `session` is the Engine.IO session under it."""

    sid: str
    session: Session
    namespace: str
    identity: Identity
    connected_at: float
    """Unix seconds, for people to read."""
    registered_at: float = field(default_factory=boot_time)
    """When it was first registered, here or at the gateway that it was recovered from; a kick ends older ones."""
    opened_at: float = 0.0
    """When it was let into its user's own room here, in monotonic seconds."""
    # What the client emitted while a batch was in flight, and how many commands are in flight.
    queued: deque[QueuedCommand] = field(default_factory=deque[QueuedCommand])
    queued_bytes: int = 0
    in_flight: int = 0
    unsettled: int = 0
    """Bytes of the commands that wait or are in flight, with an overhead for each."""
    held: int = 0
    """Those of them that the engine's input budget counts (`commands.command_budget`)."""
    rooms: set[str] = field(default_factory=set[str])
    last_change: dict[str, int] = field(default_factory=dict[str, int])
    """By room, the sequence of the last join or leave that was applied, since hints of several services overtake each
    other."""
    left: dict[str, int] | None = None
    """By room that it left, or was only told of, the last event that it was sent there (`rooms.memory`)."""
    ahead: dict[str, int] | None = None
    """By room, the last event that it had when it entered, if this gateway had not delivered that event yet."""
    heard_at: dict[str, int] | None = None
    """By room, the fanout's count of questions when a join or leave was last heard of."""
    forgotten_up_to: int = -1
    """The latest count among the rooms that are not remembered any more."""
    authenticated: bool = False
    """Whether auth has confirmed the identity. Until then it is what the token claims."""
    doubtful: bool = False
    """Whether its user was changed while auth was asked who it is, so that the answer may be of before."""
    guest: bool = False
    """Whether it came without a token. Then whoever knows its pid is that guest."""
    state: ConnectionState = ConnectionState.ATTEMPTING
    end_reason: DisconnectReason | None = None
    """Why it ended, once it has ended."""
    pending_changes: list[MembershipChange] = field(default_factory=list[MembershipChange])
    """Joins and leaves that were heard of before CONNECT. They are applied right after it."""
    lifecycle_events: tuple[str, ...] = ()
    """The events of its life that its service wants (`ConnectReply`)."""
    handshake: bytes = b""
    """How it came about, encoded as services get it."""
    data: bytes = b""
    """What services keep with it (Socket.IO's `socket.data`), encoded."""
    on_closed: Callable[[ConnectionClosed], None] | None = None
    """Runs the part of the gateway's connection middleware after `call_next`, if the namespace has middleware."""
    joined_ad_hoc: set[str] | None = None
    """Its ad hoc rooms: joined through an operation, unknown to the service's log."""
    pid: str = ""
    """The private id by which the client may recover the connection, if the namespace allows that."""
    first_offset: int = 0
    """The number of the last packet of its namespace before CONNECT (`packet_history`)."""
    came_with: str = ""
    """The offset that its client named at CONNECT, of the last packet that it had received from whichever gateway."""
    idle: bool = False
    """Whether its client says that nobody is using it."""
    expiry: TimerEntry | None = None
    """The timer that ends it when its token expires, if the namespace asks for that."""

    @property
    def attempting(self) -> bool:
        """Whether its CONNECT was not answered yet. Until then nothing may be delivered."""
        return self.state is ConnectionState.ATTEMPTING

    @property
    def is_open(self) -> bool:
        """Whether its client was let in, and neither side has ended it since."""
        return self.state is ConnectionState.OPEN

    @property
    def address(self) -> str:
        """The key by which what clients of one address hold is counted."""
        return self.session.address

    @property
    def joined(self) -> bool:
        """Whether it has joined a namespace, as the input budget asks: commands come from nobody else."""
        return True

    @property
    def kicked(self) -> bool:
        """Whether an administrator ended it. Then nothing that it still had to send counts."""
        return self.end_reason in KICK_REASONS

    def enter_ad_hoc(self, room: str) -> None:
        """Remember that it entered a room through an operation."""
        self.joined_ad_hoc = self.joined_ad_hoc or set()
        self.joined_ad_hoc.add(room)

    def forget_ad_hoc(self, room: str) -> None:
        """Forget that a room is ad hoc: it was left through an operation, or the service says by now who is in it."""
        if self.joined_ad_hoc is not None:
            self.joined_ad_hoc.discard(room)
            self.joined_ad_hoc = self.joined_ad_hoc or None

    def described(self, gateway: str, rooms: Sequence[str] = ()) -> ConnectionInfo:
        """Return what operators and other processes are told of it."""
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
