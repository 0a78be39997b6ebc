"""Publishes a committed batch to the gateways, and tells single users which rooms they came into or left.

This is the quick way, called by the writer right after a commit. It may fail: what is in the log is announced again by
`announcer`.
"""

from __future__ import annotations

from collections import defaultdict

from parley.chat.delivery.hints import NAMESPACE, change_of, notice_of
from parley.chat.domain.batch_state import BatchDecision
from parley.common.wire import subjects
from parley.framework import Delivery, RoomPublisher

__all__ = ["NAMESPACE", "Publisher"]


class Publisher:
    """Publishes committed batches to rooms and to users' own rooms."""

    def __init__(self, rooms: RoomPublisher) -> None:
        self._rooms = rooms

    async def publish(self, decision: BatchDecision) -> None:
        """Publish what a batch appended, and again what its resent commands had appended."""
        rooms: defaultdict[str, Delivery] = defaultdict(lambda: Delivery([]))
        hints: defaultdict[str, Delivery] = defaultdict(lambda: Delivery([]))
        for user_id, change in decision.confirmed:
            hints[user_id].membership_changes.append(change)
        appended = {(recorded.room_id, recorded.sequence): recorded for recorded in decision.appended}
        # Events of resent commands may not have been published the first time; whoever has them drops them. Their
        # membership changes are not sent again: `confirmed` says where the sender is by now.
        for key, recorded in (decision.repeated | appended).items():
            room_event = recorded.room_event()
            rooms[recorded.room].events.append(room_event)
            if key in appended and (change := change_of(recorded, room_event)) is not None:
                hints[change[0]].membership_changes.append(change[1])
            if (notice := notice_of(recorded, room_event)) is not None:
                hints[notice[0]].events.append(notice[1])
        # The order matters: a gateway has to know of a join before the room's events arrive.
        told = [(subjects.user_room(user_id), hint) for user_id, hint in hints.items()]
        await self._rooms.publish_all([*told, *rooms.items()])
