"""Publishes to rooms with a subject of their own, which only gateways with a member listen to."""

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
"""A delivery is cut here, to stay below the broker's message limit."""
OVERHEAD = 128
"""Bytes counted for an event or a membership change besides its payload: names, ids and a length each."""
FEW_GATEWAYS = 8
"""As long as no more live, what goes to several rooms is one message; see docs/adr/0023-the-path-of-a-message.md."""


class RoomPublisher:
    """Publishes to the rooms of a namespace, in order.

    To one room on its own subject, which only gateways with a member hear. To several at once, where few gateways live,
    in one message that all of them hear: they skip rooms without a member, which costs less than a message each.
    Gateways listen to both at any time, and messages of one process arrive in order whatever their subjects.
    """

    def __init__(self, bus: Bus, namespace: str, registry: GatewayRegistry | None = None) -> None:
        self._bus = bus
        self._namespace = namespace
        self._registry = registry

    async def emit(self, room: str, event: str, *args: Any, except_sid: str = "", volatile: bool = False) -> None:
        """Send an event that is in no log to a room's members."""
        encoded, attachments = extract(args)
        await self.publish(room, [RoomEvent(event, encoded[1:-1], 0, except_sid, volatile, attachments)])

    async def publish(
        self, room: str, items: Sequence[RoomEvent], membership_changes: Sequence[MembershipChange] = ()
    ) -> None:
        """Send events in order: logged ones with their sequences. `membership_changes` are for a user's own room."""
        await self.publish_all([(room, Delivery(list(items), list(membership_changes)))])

    async def publish_all(self, deliveries: Sequence[tuple[str, Delivery]]) -> None:
        """Send to several rooms, in this order. What is too large for a message is cut."""
        pieces = [(room, piece) for room, delivery in deliveries for piece in _split(delivery)]
        if len(pieces) > 1 and self._registry is not None and self._registry.living <= FEW_GATEWAYS:
            for chunk in split_by_size(pieces, MAX_DELIVERY_BYTES, lambda piece: len(piece[0]) + _weight(piece[1])):
                await self._bus.publish(subjects.rooms(self._namespace), Deliveries(chunk).encode())
            return
        for room, piece in pieces:
            await self._bus.publish(subjects.room(self._namespace, room), piece.encode())

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """Tell gateways what the log has beyond what they were told. Raises `Reject` when nobody hears it now."""
        for announcement in announcements:
            if not self._bus.hearing:
                raise Reject(Code.UNAVAILABLE)
            await self._bus.publish(subjects.announcements(self._namespace), announcement.encode())

    async def announce_heads(self, heads: list[RoomHead]) -> bool:
        """Tell gateways the heads of rooms that moved lately, so that a lost last event is noticed.

        False while there is no connection to the broker: who keeps count of what was told has to tell it again.
        """
        for start in range(0, len(heads), MAX_HEADS):
            if not self._bus.connected:
                return False
            chunk = heads[start : start + MAX_HEADS]
            await self._bus.publish(subjects.moved_heads(self._namespace), RoomHeads(self._namespace, chunk).encode())
        return self._bus.connected


def _split(delivery: Delivery) -> Iterator[Delivery]:
    """Cut a delivery into pieces that fit a message each; what moves users goes with the last."""
    if _weight(delivery) <= MAX_DELIVERY_BYTES:
        yield delivery
        return
    chunks = list(split_events(delivery.items, MAX_DELIVERY_BYTES)) or [[]]
    for chunk in chunks:
        yield Delivery(chunk, delivery.membership_changes if chunk is chunks[-1] else [])


def _weight(delivery: Delivery) -> int:
    """Upper bound of a delivery's bytes, without what text may take in UTF-8."""
    return OVERHEAD * (1 + len(delivery.membership_changes)) + sum(map(_event_weight, delivery.items))


def _event_weight(item: RoomEvent) -> int:
    weight = len(item.payload) + OVERHEAD
    return weight + sum(map(len, item.attachments)) if item.attachments else weight


def split_events(items: Sequence[RoomEvent], max_bytes: int) -> Iterator[list[RoomEvent]]:
    """Split items into runs of at most `max_bytes` of payload, at least one item each."""
    return split_by_size(items, max_bytes, lambda item: len(item.payload) + sum(map(len, item.attachments)))
