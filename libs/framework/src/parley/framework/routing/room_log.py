"""The log of a service's rooms, as gateways need it: to repair what they missed, and for clients to resume."""

from __future__ import annotations

from typing import Protocol

from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Membership, Replayed, RoomHead


class RoomLog(Protocol):
    """The questions that a service with logged rooms answers; `GatewayResponder` asks them for the gateways.

    The sequences of a room begin at 1 and have no gaps. Every method may raise `Reject`.
    """

    @property
    def incarnation(self) -> str:
        """A text that changes when the log is restored from a backup, so that a cursor from before leads to a `reset`.

        Empty for a log that is never restored.
        """
        ...

    async def memberships(self, identity: Identity) -> list[Membership]:
        """Return the rooms that a user is a member of."""
        ...

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """Return at most `limit` consecutive events of a room after a sequence, oldest first, and the room's head."""
        ...

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """Return the heads of rooms, without the rooms that do not exist."""
        ...


class NoRoomLog:
    """The `RoomLog` of a service whose rooms are not logged."""

    incarnation = ""

    async def memberships(self, identity: Identity) -> list[Membership]:  # noqa: ARG002 - the protocol's
        """Return nothing: nobody is a member of anything."""
        return []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:  # noqa: ARG002
        """Return no events."""
        return Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:  # noqa: ARG002
        """Return nothing: no room has a head."""
        return []
