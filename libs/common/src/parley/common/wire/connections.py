"""The life of a connection between its gateway and the service: the request to connect, the reply, and the end."""

from __future__ import annotations

from typing import Any

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Membership, UnloggedEvent


class Handshake(Wire, frozen=True):
    """The circumstances of a connection: the HTTP request that began it, and the `auth` of the client's CONNECT.

    Nothing secret is in it: tokens are taken out of `query` and `auth`, and `headers` are only those that the namespace
    exposes. `connected_at` is in Unix seconds.
    """

    address: str = ""
    query: dict[str, str] = {}
    auth: dict[str, Any] = {}
    headers: dict[str, str] = {}
    secure: bool = False
    connected_at: float = 0.0
    transport: str = ""
    """`websocket` or `polling`, as it was at CONNECT."""


class ConnectRequest(Wire, frozen=True):
    """Ask the service to admit a connection to its namespace.

    `sid` is the one under which the connection asks; a recovered connection goes on under the sid that it had before.
    """

    gateway: str
    sid: str
    identity: Identity
    handshake: bytes = b""
    data: bytes = b""


class ConnectReply(Wire, frozen=True):
    """Admit a connection.

    - `rooms`: the rooms that its user is a member of;
    - `initial_rooms`: the ad hoc rooms that this connection is put into;
    - `initial_events`: the events that it is sent right after CONNECT;
    - `data`: the encoded map to keep with it, None for the map of the request;
    - `lifecycle_events`: the events of its life that the service wants to be sent: `connect`, `disconnecting` and
      `disconnect` as commands, `closed` as a `ConnectionClosed`;
    - `incarnation`: that of the log; cursors of another one are answered with `reset`.
    """

    rooms: list[Membership] = []
    initial_rooms: list[str] = []
    initial_events: list[UnloggedEvent] = []
    data: bytes | None = None
    lifecycle_events: tuple[str, ...] = ()
    incarnation: str = ""


class ConnectionClosed(Wire, frozen=True):
    """Report that a connection is gone, or was not admitted after all. `connect_sid` is the `ConnectRequest`'s sid."""

    connect_sid: str
    sid: str
    reason: str
    data: bytes = b""


class ConnectionInfo(Wire, frozen=True):
    """One live connection as services and the admin API see it. `gateway` is a name, `connected_at` Unix seconds."""

    sid: str
    user_id: str
    name: str
    namespace: str
    gateway: str
    address: str
    transport: str
    connected_at: float
    rooms: list[str] = []
    """All rooms of the connection, its sid included; empty where a `ListConnections` was answered."""


class CompareConnections(Wire, frozen=True):
    """Tell a gateway which of its connections a service holds, by the sids with which they were admitted.

    `held` are the connections that the service holds. `ended` are those that it has ended because the gateway seemed to
    be gone: a gateway that still has them disconnects them, so that their clients come back and are admitted anew.
    """

    namespace: str
    held: list[str]
    ended: list[str] = []


class ComparedConnections(Wire, frozen=True):
    """The sids of `held` that the gateway does not have."""

    gone: list[str] = []
