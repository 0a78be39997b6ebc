"""Telling gateways what was committed, a batch at once, and users which rooms they came into or left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from parley.chat.domain.batch import Plan
from parley.chat.domain.membership import MemberInvited
from parley.chat.domain.recorded import Recorded
from parley.common import subjects
from parley.framework import Delivery, MembershipChange, RoomEvent, RoomPublisher

NAMESPACE = "/chat"


@dataclass(slots=True)
class _Hint:
    items: list[RoomEvent] = field(default_factory=list[RoomEvent])
    membership_changes: list[MembershipChange] = field(default_factory=list[MembershipChange])


class Publisher:
    """Publishes a committed batch to its rooms and to users' own."""

    def __init__(self, rooms: RoomPublisher) -> None:
        self._rooms = rooms

    async def publish(self, plan: Plan) -> None:
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
            if key in appended:
                _hint(hints, recorded, item)
            _invite(hints, recorded, item)
        deliveries = [
            (subjects.user_room(user_id), Delivery(hint.items, hint.membership_changes))
            for user_id, hint in hints.items()
        ]
        deliveries += [(room_id, Delivery(items)) for room_id, items in rooms.items()]
        await self._rooms.publish_all(deliveries)


def _hint(hints: defaultdict[str, _Hint], recorded: Recorded, item: RoomEvent) -> None:
    """Tell the user who moves where to look."""
    for user_id in (item.joins, item.leaves):
        if user_id:
            change = MembershipChange(recorded.room, user_id == item.joins, recorded.sequence)
            hints[user_id].membership_changes.append(change)


def _invite(hints: defaultdict[str, _Hint], recorded: Recorded, item: RoomEvent) -> None:
    """The invited user is not in the room yet, and so hears of it in their own."""
    if recorded.type == MemberInvited.TYPE and isinstance(invited := recorded.event(), MemberInvited):
        hints[invited.user.id].items.append(RoomEvent(item.event, item.payload))
