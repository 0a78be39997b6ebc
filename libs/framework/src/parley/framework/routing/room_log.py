"""What a service says of its rooms when their events are logged; gateways repair and resume clients from it."""

from __future__ import annotations

from typing import Protocol

from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Membership, Replayed, RoomHead


class RoomLog(Protocol):
    """What a service knows of its rooms when their events are logged: gateways repair and resume from it.

    Sequences of a room are 1-based and gapless. Each may raise `Reject`. A log that may be restored from a backup has
    an attribute `incarnation` as well: a text that is another one from then on, so that old cursors mean a `reset`.
    """

    async def memberships(self, identity: Identity) -> list[Membership]:
        """The rooms a user is in."""
        ...

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """A room's events after a sequence, consecutive, oldest first, at most `limit`; and its head."""
        ...

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """The heads of rooms; one that does not exist is left out."""
        ...


class NoRoomLog:
    """The `RoomLog` of a service whose rooms have no log."""

    async def memberships(self, identity: Identity) -> list[Membership]:  # noqa: ARG002 - the protocol's
        """Nobody is a member of anything."""
        return []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:  # noqa: ARG002
        """There are no events."""
        return Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:  # noqa: ARG002
        """No room has a head."""
        return []
