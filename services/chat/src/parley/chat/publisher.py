"""Telling gateways what was committed: a message per room and batch, and users which rooms they came into or left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from parley.chat.batch import Plan
from parley.chat.events import MemberInvited, MemberJoined, MemberLeft, MessageSent, Recorded, RoomCreated
from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import Delivery, Item, Move

NAMESPACE = "/chat"
MAX_DELIVERY_BYTES = 512 * 1024
"""A delivery is cut here, to stay below the broker's message limit."""


@dataclass(slots=True)
class _Notice:
    items: list[Item] = field(default_factory=list[Item])
    moves: list[Move] = field(default_factory=list[Move])


class Publisher:
    """Publishes a committed batch to room subjects and users' rooms."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(self, plan: Plan) -> None:
        """Tell users first, so that a gateway knows of a join before the room's events arrive."""
        rooms: defaultdict[str, list[Item]] = defaultdict(list)
        notices: defaultdict[str, _Notice] = defaultdict(_Notice)
        for user_id, move in plan.confirmed:
            notices[user_id].moves.append(move)
        for recorded in plan.appended:
            item = recorded.item()
            rooms[recorded.room_id].append(item)
            _notify(notices, recorded, item)
        for user_id, notice in notices.items():
            delivery = Delivery(notice.items, notice.moves)
            await self._bus.publish(subjects.room(NAMESPACE, subjects.user_room(user_id)), delivery.encode())
        for room_id, items in rooms.items():
            subject = subjects.room(NAMESPACE, room_id)
            for chunk in cut(items, MAX_DELIVERY_BYTES):
                await self._bus.publish(subject, Delivery(chunk).encode())


def cut(items: list[Item], max_bytes: int) -> list[list[Item]]:
    """Split items into runs of at most `max_bytes` of payload, at least one item each."""
    chunks: list[list[Item]] = []
    size = 0
    for item in items:
        if not chunks or size + len(item.payload) > max_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(item)
        size += len(item.payload)
    return chunks


def _notify(notices: defaultdict[str, _Notice], recorded: Recorded, item: Item) -> None:
    if recorded.type == MessageSent.TYPE:
        return
    match recorded.event():
        case RoomCreated():
            notices[recorded.actor_id].moves.append(Move(recorded.room_id, True, recorded.sequence))
        case MemberJoined(user=user):
            notices[user.id].moves.append(Move(recorded.room_id, True, recorded.sequence))
        case MemberLeft(user=user):
            notices[user.id].moves.append(Move(recorded.room_id, False, recorded.sequence))
        case MemberInvited(user=user):
            # The invited user is not in the room yet, and so hears of it in their own.
            notices[user.id].items.append(Item(item.event, item.payload))
        case _:
            pass
