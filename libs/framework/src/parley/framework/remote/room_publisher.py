"""Publishes events to rooms that have members. Chat's tail and any service that emits to its rooms use it.

Invariant: messages of one process reach a gateway in the order in which they were published, whatever their subjects,
since NATS keeps the order of one connection. It has no state besides the registry, and runs on the bus's event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.nats.chunks import split_by_size
from parley.common.wire import subjects
from parley.common.wire.binary import extract
from parley.common.wire.rooms import (
    Announcement,
    Deliveries,
    Delivery,
    MembershipChange,
    RoomEvent,
    RoomHead,
    RoomHeads,
)
from parley.framework.remote.gateway_registry import GatewayRegistry

MAX_HEADS = 5_000
"""Heads in one message."""
MAX_DELIVERY_BYTES = 512 * 1024
"""A delivery is cut here: half of NATS' default `max_payload` leaves room for what `OVERHEAD` estimates too low."""
OVERHEAD = 128
"""Bytes counted for an event or a membership change besides its payload: names, ids and a length each."""
FEW_GATEWAYS = 8
"""Up to this many gateways, one message goes to all of them; see docs/adr/0023-the-path-of-a-message.md."""


class RoomPublisher:
    """Publishes to the rooms of a namespace, in order.

    A delivery to one room goes on the room's own subject, which only gateways with a member listen to. Deliveries to
    several rooms go in one message to all gateways while few live: they skip the rooms without a member, which costs
    less than a message for each room. Gateways listen to both kinds of subjects all the time.
    """

    def __init__(self, bus: Bus, namespace: str, registry: GatewayRegistry | None = None) -> None:
        self._bus = bus
        self._namespace = namespace
        self._registry = registry

    async def emit(self, room: str, event: str, *args: Any, except_sid: str = "", volatile: bool = False) -> None:
        """Send a room's members an event that is not logged. A `volatile` one skips clients that read too slowly."""
        encoded, attachments = extract(args)
        await self.publish(room, [RoomEvent(event, encoded[1:-1], 0, except_sid, volatile, attachments)])

    async def publish(
        self, room: str, events: Sequence[RoomEvent], membership_changes: Sequence[MembershipChange] = ()
    ) -> None:
        """Send a room events in order, logged ones with their sequences; a user's own room also membership changes."""
        await self.publish_all([(room, Delivery(list(events), list(membership_changes)))])

    async def publish_all(self, deliveries: Sequence[tuple[str, Delivery]]) -> None:
        """Send deliveries to several rooms, in this order. One that is too large for a message is cut."""
        pieces = [(room, piece) for room, delivery in deliveries for piece in _split(delivery)]
        if len(pieces) > 1 and self._registry is not None and self._registry.living <= FEW_GATEWAYS:
            for chunk in split_by_size(pieces, MAX_DELIVERY_BYTES, lambda piece: len(piece[0]) + _weight(piece[1])):
                # One after the other, and not together: to wait for each is what keeps their order when the bus is
                # congested.
                await self._bus.publish(subjects.rooms(self._namespace), Deliveries(chunk).encode())
            return
        for room, piece in pieces:
            await self._bus.publish(subjects.room(self._namespace, room), piece.encode())

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """Publish announcements to all gateways. Raises `Reject(unavailable)` while this process is deaf."""
        for announcement in announcements:
            # Before each, since publishing may wait: an announcement that nobody hears must not count as made.
            if not self._bus.hearing:
                raise Reject(Code.UNAVAILABLE)
            await self._bus.publish(subjects.announcements(self._namespace), announcement.encode())

    async def announce_heads(self, heads: Sequence[RoomHead]) -> None:
        """Tell all gateways how far rooms have advanced, so that they notice when a last event was lost.

        For services with a log of their own: call it with the rooms of the last seconds, and again with those that it
        raised `Reject` for, without a connection to NATS.
        """
        for start in range(0, len(heads), MAX_HEADS):
            chunk = RoomHeads(self._namespace, list(heads[start : start + MAX_HEADS]))
            await self._bus.publish(subjects.advanced_heads(self._namespace), chunk.encode())


def _split(delivery: Delivery) -> Iterator[Delivery]:
    """Cut a delivery into pieces that fit a message each. The last has the membership changes, which follow events."""
    if _weight(delivery) <= MAX_DELIVERY_BYTES:
        yield delivery
        return
    chunks = list(split_events(delivery.events, MAX_DELIVERY_BYTES)) or [[]]
    for chunk in chunks:
        yield Delivery(chunk, delivery.membership_changes if chunk is chunks[-1] else [])


def _weight(delivery: Delivery) -> int:
    """Estimate a delivery's bytes, from above unless its names are long."""
    overhead = OVERHEAD * (1 + len(delivery.membership_changes) + len(delivery.events))
    return overhead + sum(map(_payload_bytes, delivery.events))


def _payload_bytes(event: RoomEvent) -> int:
    # Nearly no event has attachments, and this is asked for each event of each delivery.
    return len(event.payload) + sum(map(len, event.attachments)) if event.attachments else len(event.payload)


def split_events(events: Sequence[RoomEvent], max_bytes: int) -> Iterator[list[RoomEvent]]:
    """Split events into runs of at most `max_bytes` of payload. A run has at least one event, however large."""
    return split_by_size(events, max_bytes, _payload_bytes)
