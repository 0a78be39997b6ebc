"""Connection state recovery between gateways."""

from __future__ import annotations

from parley.common.wire.codec import Wire
from parley.common.wire.rooms import UnloggedEvent


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
    missed: list[UnloggedEvent] = []
    session: bytes = b""
    """What services keep with it."""
