"""Telling gateways what was committed, a batch at once, and users which rooms they came into or left.

This is the quick way, and it may fail: what is in the log is announced again, see `announcer`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from parley.chat.delivery.hints import NAMESPACE, change_of, notice_of
from parley.chat.domain.batch import BatchDecision
from parley.common.wire import subjects
from parley.framework import Delivery, MembershipChange, RoomEvent, RoomPublisher

__all__ = ["NAMESPACE", "Publisher"]


@dataclass(slots=True)
class _Hint:
    items: list[RoomEvent] = field(default_factory=list[RoomEvent])
    membership_changes: list[MembershipChange] = field(default_factory=list[MembershipChange])


class Publisher:
    """Publishes a committed batch to its rooms and to users' own."""

    def __init__(self, rooms: RoomPublisher) -> None:
        self._rooms = rooms

    async def publish(self, plan: BatchDecision) -> None:
        """Tell users first, so that a gateway knows of a join before the room's events arrive."""
        rooms: defaultdict[str, list[RoomEvent]] = defaultdict(list)
        hints: defaultdict[str, _Hint] = defaultdict(_Hint)
        for user_id, move in plan.confirmed:
            hints[user_id].membership_changes.append(move)
        appended = {(recorded.room_id, recorded.sequence): recorded for recorded in plan.appended}
        # What a resent command led to the first time may not have been published then; who has it drops it. Where its
        # sender is by now, `confirmed` says.
        for key, recorded in (plan.repeated | appended).items():
            item = recorded.item()
            rooms[recorded.room].append(item)
            if key in appended and (change := change_of(recorded, item)) is not None:
                hints[change[0]].membership_changes.append(change[1])
            if (notice := notice_of(recorded, item)) is not None:
                hints[notice[0]].items.append(notice[1])
        deliveries = [
            (subjects.user_room(user_id), Delivery(hint.items, hint.membership_changes))
            for user_id, hint in hints.items()
        ]
        deliveries += [(room_id, Delivery(items)) for room_id, items in rooms.items()]
        await self._rooms.publish_all(deliveries)
