"""What services and operators have gateways do with connections, and what gateways report."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.connections import ConnectionInfo


class Kick(Wire, frozen=True):
    """End every connection of a user, on every gateway; `code` is what the client is told."""

    user_id: str
    code: str
    reason: str


class Kicked(Wire, frozen=True):
    """How many connections of the user one gateway ended."""

    gateway: str
    disconnected: int


class ListConnections(Wire, frozen=True):
    """Ask every gateway for its connections, of one user or of all."""

    user_id: str = ""
    limit: int = 1000


class ConnectionList(Wire, frozen=True):
    """One gateway's answer to `ListConnections`."""

    gateway: str
    connections: list[ConnectionInfo]


class Selection(Wire, frozen=True):
    """Connections of a namespace: those in any of `rooms`, or all where none is named, and in none of `except_rooms`.

    A sid is a room as well. With `sid` it is that connection alone, and nobody who has entered a room of that name.
    """

    namespace: str
    rooms: tuple[str, ...] = ()
    except_rooms: tuple[str, ...] = ()
    sid: str = ""


class Operation(Wire, frozen=True):
    """Something to be done with connections. `inbox` is the subject where the gateways say how it went, or empty."""

    selection: Selection
    inbox: str


class Emit(Operation, frozen=True, tag="emit"):
    """Send an event that is in no log. `args` is a JSON array with placeholders for the attachments.

    With an inbox the clients' acks are asked for, and `ClientAckReport`s follow until `timeout` seconds have passed.
    """

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()
    volatile: bool = False
    timeout: float = 0.0


class FetchConnections(Operation, frozen=True, tag="fetch"):
    """Tell who they are: `FetchedConnections`, in pages."""


class JoinRooms(Operation, frozen=True, tag="join"):
    """Put them into rooms for as long as they last: `OperationReport`."""

    rooms: tuple[str, ...]


class LeaveRooms(Operation, frozen=True, tag="leave"):
    """Take them out of rooms: `OperationReport`."""

    rooms: tuple[str, ...]


class Disconnect(Operation, frozen=True, tag="disconnect"):
    """End their stay in the namespace and, with `close`, their transports: `OperationReport`."""

    close: bool


AnyOperation = Emit | FetchConnections | JoinRooms | LeaveRooms | Disconnect


class ClientAck(Wire, frozen=True):
    """One client's ack: a JSON array with placeholders for the attachments."""

    args: bytes
    attachments: tuple[bytes, ...] = ()


class ClientAckReport(Wire, frozen=True):
    """News of one gateway: how many clients it asked, what some have answered, and how many cannot any more.

    A gateway's first report says how many it asked, even when that is none.
    """

    gateway: str
    found: int = 0
    answers: list[ClientAck] = []
    lost: int = 0

    @property
    def due(self) -> int:
        """By how much the number of answers to come changes."""
        return self.found - len(self.answers) - self.lost


class FetchedConnections(Wire, frozen=True):
    """A page of one gateway's connections; the first says how many it found altogether."""

    gateway: str
    found: int
    connections: list[ConnectionInfo]

    @property
    def due(self) -> int:
        """By how much the number of connections to come changes."""
        return self.found - len(self.connections)


class OperationReport(Wire, frozen=True):
    """One gateway has done it with so many connections."""

    gateway: str
    found: int

    @property
    def due(self) -> int:
        """Nothing further comes."""
        return 0


_operations = msgspec.msgpack.Decoder[AnyOperation](AnyOperation)


def decode_operation(data: bytes) -> AnyOperation:
    """Decode an operation of any kind. Raises as `decode` does."""
    return _operations.decode(data)
