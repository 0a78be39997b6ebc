"""Operations: what services and administrators have gateways do with connections, and what the gateways report."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.connections import ConnectionInfo
from parley.common.wire.presence import PresencePart


class Selection(Wire, frozen=True):
    """The connections of a namespace in any of `rooms`, or all when none is named, that are in none of `except_rooms`.

    A sid is a room as well. `sid` selects that connection alone, and not others that have joined a room of that name.
    Without a namespace, which is for `Kick` and `ListConnections`, it selects the connections of a user in all
    namespaces, or everybody's. With `logins`, a `Kick` selects only those whose tokens belong to one of them. With
    `users` or `ranges`, a `Kick` and a `Recheck` select all these users, and all from these ranges of addresses.
    """

    namespace: str
    rooms: tuple[str, ...] = ()
    except_rooms: tuple[str, ...] = ()
    sid: str = ""
    user_id: str = ""
    logins: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()


class Operation(Wire, frozen=True):
    """Something to be done with connections. Gateways report to the subject `inbox`, unless that is empty."""

    selection: Selection
    inbox: str


class Emit(Operation, frozen=True, tag="emit"):
    """Send an event that is not logged. `args` is a JSON array with placeholders for the attachments.

    With an inbox, clients are asked for acks, and gateways send `ClientAckReport`s until `timeout` seconds have passed.
    """

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()
    volatile: bool = False
    timeout: float = 0.0


class FetchConnections(Operation, frozen=True, tag="fetch"):
    """Return the connections: gateways reply with `FetchedConnections`, in pages."""


class JoinRooms(Operation, frozen=True, tag="join"):
    """Put the connections into ad hoc rooms until they end: gateways reply with an `OperationReport`."""

    rooms: tuple[str, ...]


class LeaveRooms(Operation, frozen=True, tag="leave"):
    """Take the connections out of rooms: gateways reply with an `OperationReport`."""

    rooms: tuple[str, ...]


class Disconnect(Operation, frozen=True, tag="disconnect"):
    """Disconnect the connections and, with `close`, their transports: gateways reply with an `OperationReport`."""

    close: bool


class Kick(Operation, frozen=True, tag="kick"):
    """Disconnect a user, also connections that are being admitted or are parked: `OperationReport`.

    The client is told `code` and `reason`. Only connections that were registered at least `min_age` seconds ago are
    meant: a gateway that missed a kick is asked again later, and must not end what has begun since.
    """

    code: str
    reason: str
    min_age: float = 0.0


class Recheck(Operation, frozen=True, tag="recheck"):
    """Ask auth about the selected users now, end who has to go, and take in what has changed: `OperationReport`."""


class RenewAddressBans(Operation, frozen=True, tag="address-bans"):
    """Ask auth which ranges of addresses are banned, and end the connections from them: `OperationReport`."""


class ListConnections(Operation, frozen=True, tag="list"):
    """Return at most `limit` connections of each gateway, without their rooms: `FetchedConnections`, in pages."""

    limit: int


class Look(Operation, frozen=True, tag="look"):
    """Show the selected connection who is in a room that it is in, and what changes: `LookResult` of its gateway."""

    room: str


class StopLooking(Operation, frozen=True, tag="unlook"):
    """Show the selected connections no more of a room: gateways reply with an `OperationReport`."""

    room: str


class SetPresence(Operation, frozen=True, tag="presence"):
    """Set what the users of the selected connections chose by hand, and whether the connections are idle.

    `choice` is a `PresenceChoice`, or empty to leave it as it is; it was made at `since`, in Unix milliseconds. None
    leaves `idle` as it is. Gateways reply with an `OperationReport`.
    """

    choice: str = ""
    since: int = 0
    idle: bool | None = None


class AskPresent(Operation, frozen=True, tag="present"):
    """Say once who is in these rooms of the selected namespace: every gateway replies with `PresentReport`s."""

    rooms: tuple[str, ...]


AnyOperation = (
    Emit
    | FetchConnections
    | JoinRooms
    | LeaveRooms
    | Disconnect
    | Kick
    | ListConnections
    | Recheck
    | RenewAddressBans
    | Look
    | StopLooking
    | SetPresence
    | AskPresent
)


class ClientAck(Wire, frozen=True):
    """One client's ack: the JSON array of its arguments, with placeholders for the attachments."""

    args: bytes
    attachments: tuple[bytes, ...] = ()


class ClientAckReport(Wire, frozen=True):
    """A gateway's report of acks: how many clients it asked, which acks have come, and how many clients are lost.

    The numbers are what is new since its last report. The first one tells how many clients it asked, even if none.
    `gateway` is an address.
    """

    gateway: str
    matched: int = 0
    answers: list[ClientAck] = []
    lost: int = 0

    @property
    def outstanding(self) -> int:
        """The change of the number of acks that are still to come."""
        return self.matched - len(self.answers) - self.lost


class FetchedConnections(Wire, frozen=True):
    """A page of a gateway's connections. `matched` is the number of all of them on the first page, and 0 on others."""

    gateway: str
    matched: int
    connections: list[ConnectionInfo]

    @property
    def outstanding(self) -> int:
        """The change of the number of connections that are still to come."""
        return self.matched - len(self.connections)


class OperationReport(Wire, frozen=True):
    """A gateway's report that it has done the operation with `matched` connections."""

    gateway: str
    matched: int

    @property
    def outstanding(self) -> int:
        """Always 0: there is one report per gateway."""
        return 0


class LookResult(Wire, frozen=True):
    """Who is in the room, as far as is shown, or the code for which it is not; `matched` is 0 for no connection."""

    gateway: str
    matched: int
    users: list[tuple[str, str]] = []
    count: int = 0
    code: str = ""
    partial: bool = False
    """Whether a gateway did not say in time whom it has."""

    @property
    def outstanding(self) -> int:
        """Always 0: there is one reply."""
        return 0


class PresentReport(Wire, frozen=True):
    """A page of who is in rooms on one gateway. `matched` counts all entries on the first page, and is 0 on others."""

    gateway: str
    matched: int
    parts: list[PresencePart] = []

    @property
    def outstanding(self) -> int:
        """The change of the number of entries that are still to come."""
        return self.matched - sum(len(part.users) for part in self.parts)


# One decoder for all kinds: msgspec tells them apart by their tags.
_operations = msgspec.msgpack.Decoder[AnyOperation](AnyOperation)


def decode_operation(data: bytes) -> AnyOperation:
    """Decode an operation of any kind. Raises as `decode` does."""
    return _operations.decode(data)
