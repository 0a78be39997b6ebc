"""Rooms with a subject of their own: publishing to their members, and the log behind those that have one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from parley.common import subjects
from parley.common.binary import extract
from parley.common.bus import Bus
from parley.common.chunks import split_by_size
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Delivery, Membership, MembershipChange, Replayed, RoomEvent, RoomHead, RoomHeads

MAX_HEADS = 5_000
"""Heads in one message."""
MAX_DELIVERY_BYTES = 512 * 1024
"""A delivery is cut here, to stay below the broker's message limit."""


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


class RoomPublisher:
    """Publishes to the rooms of a namespace. Only gateways with a member hear it, unlike what an `Emitter` sends."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self._bus = bus
        self._namespace = namespace

    async def emit(self, room: str, event: str, *args: Any, except_sid: str = "", volatile: bool = False) -> None:
        """Send an event that is in no log to a room's members."""
        encoded, attachments = extract(args)
        await self.publish(room, [RoomEvent(event, encoded[1:-1], 0, except_sid, volatile, attachments)])

    async def publish(
        self, room: str, items: Sequence[RoomEvent], membership_changes: Sequence[MembershipChange] = ()
    ) -> None:
        """Send events in order: logged ones with their sequences. `membership_changes` are for a user's own room."""
        chunks = list(split_events(items, MAX_DELIVERY_BYTES)) or [[]]
        for chunk in chunks:
            delivery = Delivery(chunk, list(membership_changes) if chunk is chunks[-1] else [])
            await self._bus.publish(subjects.room(self._namespace, room), delivery.encode())

    async def announce_heads(self, heads: list[RoomHead]) -> bool:
        """Tell gateways the heads of rooms that moved lately, so that a lost last event is noticed.

        False while there is no connection to the broker: who keeps count of what was told has to tell it again.
        """
        for start in range(0, len(heads), MAX_HEADS):
            if not self._bus.connected:
                return False
            chunk = heads[start : start + MAX_HEADS]
            await self._bus.publish(subjects.HEADS, RoomHeads(self._namespace, chunk).encode())
        return self._bus.connected


def split_events(items: Sequence[RoomEvent], max_bytes: int) -> Iterator[list[RoomEvent]]:
    """Split items into runs of at most `max_bytes` of payload, at least one item each."""
    return split_by_size(items, max_bytes, lambda item: len(item.payload) + sum(map(len, item.attachments)))
