"""Telling gateways what was committed: a message per room and batch, and users which rooms they came into or left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from parley.chat.batch import Plan
from parley.chat.events import MemberInvited, Recorded
from parley.common import subjects
from parley.framework import MembershipChange, RoomEvent, RoomPublisher

NAMESPACE = "/chat"


@dataclass(slots=True)
class _Notice:
    items: list[RoomEvent] = field(default_factory=list[RoomEvent])
    moves: list[MembershipChange] = field(default_factory=list[MembershipChange])


class Publisher:
    """Publishes a committed batch to its rooms and to users' own."""

    def __init__(self, rooms: RoomPublisher) -> None:
        self._rooms = rooms

    async def publish(self, plan: Plan) -> None:
        """Tell users first, so that a gateway knows of a join before the room's events arrive."""
        rooms: defaultdict[str, list[RoomEvent]] = defaultdict(list)
        notices: defaultdict[str, _Notice] = defaultdict(_Notice)
        for user_id, move in plan.confirmed:
            notices[user_id].moves.append(move)
        # What a resent command led to the first time may not have been published then; who has it drops it.
        told = plan.repeated | {(recorded.room_id, recorded.sequence): recorded for recorded in plan.appended}
        for recorded in told.values():
            item = recorded.item()
            rooms[recorded.room_id].append(item)
            _notify(notices, recorded, item)
        for user_id, notice in notices.items():
            await self._rooms.publish(subjects.user_room(user_id), notice.items, notice.moves)
        for room_id, items in rooms.items():
            await self._rooms.publish(room_id, items)


def _notify(notices: defaultdict[str, _Notice], recorded: Recorded, item: RoomEvent) -> None:
    if item.joins:
        notices[item.joins].moves.append(MembershipChange(recorded.room_id, True, recorded.sequence))
    elif item.leaves:
        notices[item.leaves].moves.append(MembershipChange(recorded.room_id, False, recorded.sequence))
    elif recorded.type == MemberInvited.TYPE and isinstance(invited := recorded.event(), MemberInvited):
        # The invited user is not in the room yet, and so hears of it in their own.
        notices[invited.user.id].items.append(RoomEvent(item.event, item.payload))
