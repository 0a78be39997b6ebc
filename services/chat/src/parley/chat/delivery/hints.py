"""What an event tells a single user, pure: that they are now a member of a room, or not any more, or may become one."""

from __future__ import annotations

from typing import get_args

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.membership import MemberInvited
from parley.chat.domain.room import ChatEvent
from parley.common.wire.rooms import MembershipChange, RoomEvent

NAMESPACE = "/chat"
FOR_USERS = frozenset(kind.NUMBER for kind in get_args(ChatEvent) if kind.MEMBERSHIP)
"""Numbers of the types of events that tell something to a single user."""


def change_of(recorded: Recorded, room_event: RoomEvent) -> tuple[str, MembershipChange] | None:
    """Return the user whose membership an event begins or ends, and the change that their gateways are told."""
    user_id = room_event.joined_user or room_event.left_user
    return (
        (user_id, MembershipChange(recorded.room, bool(room_event.joined_user), recorded.sequence)) if user_id else None
    )


def notice_of(recorded: Recorded, room_event: RoomEvent) -> tuple[str, RoomEvent] | None:
    """Return the invited user and the notice of an invitation.

    Its room's events do not reach them, since they are not in it.
    """
    if recorded.type == MemberInvited.TYPE and isinstance(invited := recorded.event(), MemberInvited):
        return invited.user.id, RoomEvent(room_event.event, room_event.payload, notice=str(recorded.event_id))
    return None
