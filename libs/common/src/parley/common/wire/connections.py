"""The life of a connection as gateways tell services of it: asking to connect, the reply, the end."""

from __future__ import annotations

from typing import Any

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Membership, UnloggedEvent


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


class ConnectRequest(Wire, frozen=True):
    """A connection asks to be admitted to a namespace. A recovered one goes on under the sid it had, not this one."""

    gateway: str
    sid: str
    identity: Identity
    handshake: bytes = b""
    data: bytes = b""


class ConnectReply(Wire, frozen=True):
    """A connection is admitted.

    `rooms` are those its user is a member of, `initial_rooms` those that this connection alone is put into.
    `initial_events` follow CONNECT. `lifecycle_events` are the events of the connection's life that the service asks to
    hear of: `connect`, `disconnecting` and `disconnect` as commands, `closed` as a `ConnectionClosed`. `log` names the
    history that the sequences of the rooms' events are of; cursors of another one say nothing of it.
    """

    rooms: list[Membership] = []
    initial_rooms: list[str] = []
    initial_events: list[UnloggedEvent] = []
    data: bytes | None = None
    lifecycle_events: tuple[str, ...] = ()
    log: str = ""


class ConnectionClosed(Wire, frozen=True):
    """A connection is gone, or was not let in after all. `connect_sid` is the sid under which it asked for it."""

    connect_sid: str
    sid: str
    reason: str
    data: bytes = b""


class ConnectionInfo(Wire, frozen=True):
    """One live connection as operators see it, `gateway` by its name. `connected_at` is in Unix seconds."""

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


class CompareConnections(Wire, frozen=True):
    """What a service believes of one gateway's connections in its namespace, by the sids with which they were admitted.

    `held` are those that it takes to be connected. `ended` are those that it has seen off because their gateway seemed
    to be gone: the gateway ends them if it still has them, so that their clients come back and are admitted anew.
    """

    namespace: str
    held: list[str]
    ended: list[str] = []


class ComparedConnections(Wire, frozen=True):
    """Those of `held` that the gateway does not have."""

    gone: list[str] = []
