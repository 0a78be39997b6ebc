"""Connection state recovery between gateways: look, then claim, and give back what could not be used."""

from __future__ import annotations

from typing import Literal

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import UnloggedEvent


class Recover(Wire, frozen=True):
    """A client came back to `gateway`, and says that it had this connection.

    `look` asks whether it is there and whose it is; `claim` takes it, to let the client in with the next step; `return`
    gives it back, because the client has gone meanwhile. `user_id` is empty for a client without a token, who may be a
    guest that we know.
    """

    gateway: str
    namespace: str
    user_id: str
    pid: str
    offset: str
    step: Literal["look", "claim", "return"] = "claim"


class Recovered(Wire, frozen=True):
    """A lost connection; without a sid there is none, though `moved_to` may name a gateway that knows.

    The answer to `look` has its sid, its identity and its other rooms, that to `claim` also what it had and lacks.
    """

    sid: str = ""
    moved_to: str = ""
    cursors: dict[str, int] = {}
    """Per sequenced room, the last event that the client received."""
    rooms: list[str] = []
    """Other rooms that it was put into."""
    missed: list[UnloggedEvent] = []
    data: bytes = b""
    """What services keep with it."""
    identity: Identity | None = None
    age: float = 0.0
    """Seconds since it was registered: what ends who is older than a kick ends it, too."""
