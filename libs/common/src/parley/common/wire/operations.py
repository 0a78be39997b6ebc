"""What services and operators have gateways do with connections, and what gateways report."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.connections import ConnectionInfo


class Selection(Wire, frozen=True):
    """Connections of a namespace: those in any of `rooms`, or all where none is named, and in none of `except_rooms`.

    A sid is a room as well. With `sid` it is that connection alone, and nobody who has entered a room of that name.
    Without a namespace it is the connections of a user in all of them, or everybody's: for `Kick` and
    `ListConnections`. With `sessions` a `Kick` means only those whose token is of one of them. With `users` or
    `ranges`, a `Kick` and a `Recheck` mean the connections of all these users and from all these ranges of addresses.
    """

    namespace: str
    rooms: tuple[str, ...] = ()
    except_rooms: tuple[str, ...] = ()
    sid: str = ""
    user_id: str = ""
    sessions: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()


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


class Kick(Operation, frozen=True, tag="kick"):
    """End every connection of the selected user, also one that is being made or may come back: `OperationReport`.

    `code` and `reason` are what the client is told. Those are meant that were registered at least `min_age` seconds
    ago: a gateway that missed a kick is asked again later, and must not end what has begun since.
    """

    code: str
    reason: str
    min_age: float = 0.0


class Recheck(Operation, frozen=True, tag="recheck"):
    """Ask auth about the selected users now, end who has to go, and take in what has changed: `OperationReport`."""


class RenewAddressBans(Operation, frozen=True, tag="address-bans"):
    """Ask auth which ranges of addresses are banned, and end the connections from them: `OperationReport`."""


class ListConnections(Operation, frozen=True, tag="list"):
    """Tell who they are, without their rooms, and `limit` of them at most: `FetchedConnections`, in pages."""

    limit: int


AnyOperation = (
    Emit | FetchConnections | JoinRooms | LeaveRooms | Disconnect | Kick | ListConnections | Recheck | RenewAddressBans
)


class ClientAck(Wire, frozen=True):
    """One client's ack: a JSON array with placeholders for the attachments."""

    args: bytes
    attachments: tuple[bytes, ...] = ()


class ClientAckReport(Wire, frozen=True):
    """News of one gateway: how many clients it asked, what some have answered, and how many cannot any more.

    A gateway's first report says how many it asked, even when that is none. Gateways are named by their addresses.
    """

    gateway: str
    matched: int = 0
    answers: list[ClientAck] = []
    lost: int = 0

    @property
    def outstanding(self) -> int:
        """By how much the number of answers to come changes."""
        return self.matched - len(self.answers) - self.lost


class FetchedConnections(Wire, frozen=True):
    """A page of one gateway's connections; the first says how many come altogether."""

    gateway: str
    matched: int
    connections: list[ConnectionInfo]

    @property
    def outstanding(self) -> int:
        """By how much the number of connections to come changes."""
        return self.matched - len(self.connections)


class OperationReport(Wire, frozen=True):
    """One gateway has done it with so many connections."""

    gateway: str
    matched: int

    @property
    def outstanding(self) -> int:
        """Nothing further comes."""
        return 0


_operations = msgspec.msgpack.Decoder[AnyOperation](AnyOperation)


def decode_operation(data: bytes) -> AnyOperation:
    """Decode an operation of any kind. Raises as `decode` does."""
    return _operations.decode(data)
