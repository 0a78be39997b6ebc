"""The wire types: what travels on NATS, in msgpack, and what of it reaches a client, in JSON.

Structs are positional (`array_like`), so a field may be appended with a default and never be moved. Payloads that
come from or go to a client stay the JSON bytes they were; the service behind the namespace decodes them once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()

MAX_BEHIND = 10_000
"""A cursor further behind the head than this is answered with `reset`."""
RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that Socket.IO clients and servers keep for themselves."""


class Wire(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A message between Parley's processes."""

    def encode(self) -> bytes:
        """The msgpack bytes of this message."""
        return _encoder.encode(self)


class Identity(Wire, frozen=True):
    """Who a connection or a request is: what a token proved, and nothing a client could claim by itself."""

    user_id: str
    name: str
    roles: tuple[str, ...] = ()
    issued_at: float = 0.0
    """Unix seconds at which the token was issued; a later revocation refuses it."""

    @property
    def is_admin(self) -> bool:
        """Whether the admin API is open to this identity."""
        return "admin" in self.roles


class Authenticate(Wire, frozen=True):
    """Ask auth who the bearer of a token is, and whether they are welcome.

    An empty token with `guest` asks for a guest identity.
    """

    token: str
    guest: bool = False


class Command(Wire, frozen=True):
    """One event a client emitted; `tag` names it in the ack.

    `args` is the JSON array of its arguments, with placeholders for the attachments.
    """

    tag: int
    event: str
    args: bytes
    correlation: str
    attachments: tuple[bytes, ...] = ()


class Handshake(Wire, frozen=True):
    """How a connection came about: the request that began it, and what the client said when it joined.

    Without what is secret: no token is in `query` or `auth`. `headers` are those that the namespace asks for.
    `connected_at` is in Unix seconds.
    """

    address: str = ""
    query: dict[str, str] = {}
    auth: dict[str, Any] = {}
    headers: dict[str, str] = {}
    secure: bool = False
    connected_at: float = 0.0
    transport: str = ""
    """`websocket` or `polling`, at that time."""


class Conversation(Wire, frozen=True):
    """What one connection sent since its last batch was answered, in the order it was sent.

    `handshake` and `session` are encoded: a `Handshake`, and a map of what services keep with the connection.
    """

    sid: str
    identity: Identity
    commands: list[Command]
    handshake: bytes = b""
    session: bytes = b""


class CommandBatch(Wire, frozen=True):
    """One loop tick of a gateway's commands for one namespace."""

    gateway: str
    namespace: str
    conversations: list[Conversation]


class Ack(Wire, frozen=True):
    """The outcome of the command with this tag: the JSON that becomes the arguments of the client's ack.

    It is one object, or what a controller answered itself, with placeholders for the attachments. With `session`, what
    is kept with the connection has changed.
    """

    tag: int
    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()
    session: bytes | None = None


class AckBatch(Wire, frozen=True):
    """The outcomes that became ready for one gateway in one loop tick."""

    acks: list[Ack]


class Item(Wire, frozen=True):
    """One event for a room's members: its name and its single argument as JSON bytes.

    In these, placeholders stand for the attachments.
    `sequence` is 0 for what is not in the log (signals, direct notices). A volatile one is not worth keeping for a
    client that reads too slowly.
    """

    event: str
    payload: bytes
    sequence: int = 0
    except_sid: str = ""
    volatile: bool = False
    attachments: tuple[bytes, ...] = ()


class RoomHead(Wire, frozen=True):
    """A room and the sequence of its last event."""

    room: str
    head: int


class Move(Wire, frozen=True):
    """A user came into a room or left it, with the event of this `sequence`: the first, or the last, they receive."""

    room: str
    joined: bool
    sequence: int


class Delivery(Wire, frozen=True):
    """What a service publishes on a room subject: events in order, and on a user's own room also their moves."""

    items: list[Item]
    moves: list[Move] = []


class Open(Wire, frozen=True):
    """A connection asks to be admitted to a namespace. A recovered one goes on under the sid it had, not this one.

    With `refresh` it is admitted already, and the gateway asks once more which rooms its user is in.
    """

    gateway: str
    sid: str
    identity: Identity
    handshake: bytes = b""
    session: bytes = b""
    refresh: bool = False


class Membership(Wire, frozen=True):
    """A room a user is in, its head at this moment, and the sequence of the event by which the user came in."""

    room: str
    head: int
    joined: int


class Missed(Wire, frozen=True):
    """An event that is in no log, kept for who may come back for it. `args` is a JSON array."""

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()


class Opened(Wire, frozen=True):
    """A connection is admitted.

    `rooms` are those its user is a member of, `joins` those that this connection alone is put into. `greetings` follow
    CONNECT. `notices` are the events of the connection's life that the service wants to hear of: `connect`,
    `disconnecting` and `disconnect` as commands, `closed` as a `Closed`.
    """

    rooms: list[Membership] = []
    joins: list[str] = []
    greetings: list[Missed] = []
    session: bytes | None = None
    notices: tuple[str, ...] = ()


class Closed(Wire, frozen=True):
    """A connection is gone, or was not let in after all. `opening` is the sid under which it asked to be admitted."""

    opening: str
    sid: str
    reason: str
    session: bytes = b""


class Replay(Wire, frozen=True):
    """Ask for a room's events after a sequence, oldest first, at most `limit` of them."""

    room: str
    after: int
    limit: int


class Replayed(Wire, frozen=True):
    """Logged events, consecutive from the sequence asked for, and the room's head when they were read."""

    items: list[Item]
    head: int


class HeadsOf(Wire, frozen=True):
    """Ask for the heads of these rooms."""

    rooms: list[str]


class Heads(Wire, frozen=True):
    """Heads of rooms in one namespace."""

    namespace: str
    heads: list[RoomHead]


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


class Connection(Wire, frozen=True):
    """One live connection as operators see it. `connected_at` is in Unix seconds."""

    sid: str
    user_id: str
    name: str
    namespace: str
    gateway: str
    address: str
    transport: str
    connected_at: float
    rooms: list[str] = []
    """In a `FetchedConnections` only; its sid is one."""


class ConnectionList(Wire, frozen=True):
    """One gateway's answer to `ListConnections`."""

    gateway: str
    connections: list[Connection]


class ArchiveRoom(Wire, frozen=True):
    """An administrator closes a room: it stays readable and takes no more changes."""

    id: str
    room: str
    reason: str
    admin: Identity


class ListRooms(Wire, frozen=True):
    """Ask chat for rooms of any kind, newest first; `before` is the id of the last room of the page before."""

    search: str = ""
    before: str = ""
    limit: int = 100


class RoomInfo(Wire, frozen=True):
    """A room as operators see it."""

    id: str
    name: str
    kind: str
    archived: bool
    head: int
    members: int
    created_by: str
    created_at: datetime


class RoomList(Wire, frozen=True):
    """A page of rooms."""

    rooms: list[RoomInfo]
    more: bool


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

    With an inbox the clients' acks are asked for, and `AckReport`s follow until `timeout` seconds have passed.
    """

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()
    volatile: bool = False
    timeout: float = 0.0


class FetchConnections(Operation, frozen=True, tag="fetch"):
    """Tell who they are: `FetchedConnections`, in pages."""


class JoinRooms(Operation, frozen=True, tag="join"):
    """Put them into rooms for as long as they last: `Operated`."""

    rooms: tuple[str, ...]


class LeaveRooms(Operation, frozen=True, tag="leave"):
    """Take them out of rooms: `Operated`."""

    rooms: tuple[str, ...]


class Disconnect(Operation, frozen=True, tag="disconnect"):
    """End their stay in the namespace and, with `close`, their transports: `Operated`."""

    close: bool


AnyOperation = Emit | FetchConnections | JoinRooms | LeaveRooms | Disconnect


class Acked(Wire, frozen=True):
    """One client's ack: a JSON array with placeholders for the attachments."""

    args: bytes
    attachments: tuple[bytes, ...] = ()


class AckReport(Wire, frozen=True):
    """News of one gateway: how many clients it asked, what some have answered, and how many cannot any more.

    A gateway's first report says how many it asked, even when that is none.
    """

    gateway: str
    found: int = 0
    answers: list[Acked] = []
    lost: int = 0

    @property
    def due(self) -> int:
        """By how much the number of answers to come changes."""
        return self.found - len(self.answers) - self.lost


class FetchedConnections(Wire, frozen=True):
    """A page of one gateway's connections; the first says how many it found altogether."""

    gateway: str
    found: int
    connections: list[Connection]

    @property
    def due(self) -> int:
        """By how much the number of connections to come changes."""
        return self.found - len(self.connections)


class Operated(Wire, frozen=True):
    """One gateway has done it with so many connections."""

    gateway: str
    found: int

    @property
    def due(self) -> int:
        """Nothing further comes."""
        return 0


class Recover(Wire, frozen=True):
    """A client came back to another gateway: ask the one that had it for what it lacks, once."""

    gateway: str
    namespace: str
    user_id: str
    pid: str
    offset: str


class Recovered(Wire, frozen=True):
    """The state of a lost connection; without a sid there is none, though `moved_to` may name a gateway that knows."""

    sid: str = ""
    moved_to: str = ""
    cursors: dict[str, int] = {}
    """Per sequenced room, the last event that the client received."""
    rooms: list[str] = []
    """Other rooms that it was put into."""
    missed: list[Missed] = []
    session: bytes = b""
    """What services keep with it."""


class Failure(Wire, frozen=True):
    """A request was refused. `data` is what the refuser adds, as JSON."""

    code: str
    message: str
    retryable: bool
    data: bytes = b""


class Answer(Wire, frozen=True):
    """The outcome of any request on the bus: a failure, or the encoded value."""

    failure: Failure | None
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Request(Wire, frozen=True):
    """One request, encoded. `tag` names it in the answer."""

    tag: int
    payload: bytes


class Requests(Wire, frozen=True):
    """One loop tick of a process's requests to one subject. `inbox` is the subject where it awaits `Answers`."""

    inbox: str
    requests: list[Request]


class Answers(Wire, frozen=True):
    """The outcomes that became ready for one inbox in one loop tick, each with the tag of its request."""

    answers: list[tuple[int, Answer]]


_operations = msgspec.msgpack.Decoder[AnyOperation](AnyOperation)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a message of a known type.

    Raises `msgspec.ValidationError` or `msgspec.DecodeError` when the bytes are not one.
    """
    return msgspec.msgpack.decode(data, type=kind)


def decode_operation(data: bytes) -> AnyOperation:
    """Decode an operation of any kind. Raises as `decode` does."""
    return _operations.decode(data)


def ok_payload(result: Any) -> bytes:
    """The JSON ack of an accepted command: `{"ok": true, ...result}`. `result` is a mapping, a struct or None."""
    if result is None:
        return b'{"ok":true}'
    body = msgspec.json.encode(result)
    if body[:1] != b"{":
        raise TypeError(f"a controller returns an object or None, not {type(result).__name__}")
    return b'{"ok":true}' if body == b"{}" else b'{"ok":true,' + body[1:]


def error_payload(error: dict[str, Any]) -> bytes:
    """The JSON ack of a rejected command: `{"ok": false, "error": {code, message, retryable}}`."""
    return msgspec.json.encode({"ok": False, "error": error})
