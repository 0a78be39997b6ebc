"""Connection state recovery between two gateways: that which lost a connection, and that which its client came back to.

The second gateway first looks at the parked connection, then claims it to let the client in, and returns it when the
client has gone meanwhile.
"""

from __future__ import annotations

from typing import Literal

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import UnloggedEvent


class Recover(Wire, frozen=True):
    """Ask the gateway that lost a connection for it, because a client that claims to have had it came to `gateway`.

    `look` asks whether it is parked there and whose it is; `claim` takes it; `return` gives it back, because the client
    has gone meanwhile. `user_id` is empty for a client without a token, which may be a guest that was connected.
    """

    gateway: str
    namespace: str
    user_id: str
    pid: str
    offset: str
    step: Literal["look", "claim", "return"] = "claim"


class Recovered(Wire, frozen=True):
    """A parked connection. An empty `sid` means that there is none; `moved_to` may then name the gateway that took it.

    The answer to `look` has its sid, its identity and its other rooms; the answer to `claim` has everything.
    """

    sid: str = ""
    moved_to: str = ""
    cursors: dict[str, int] = {}
    """The sequence of the last event that the client received, for each room that is logged."""
    rooms: list[str] = []
    """The other rooms that it was put into."""
    missed: list[UnloggedEvent] = []
    """The unlogged events that it has not received."""
    data: bytes = b""
    """The encoded map that services keep with it."""
    identity: Identity | None = None
    age: float = 0.0
    """Seconds since it was registered, by which a later kick ends it as well."""
