"""What an event says to a single user, in their own room, pure: where they are a member now, or may become one."""

from __future__ import annotations

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.membership import MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.rooms import RoomCreated
from parley.common.wire.rooms import MembershipChange, RoomEvent

NAMESPACE = "/chat"
FOR_USERS = frozenset(kind.NUMBER for kind in (RoomCreated, MemberJoined, MemberLeft, MemberInvited))
"""Numbers of the types of events that say something to a single user."""


def change_of(recorded: Recorded, item: RoomEvent) -> tuple[str, MembershipChange] | None:
    """The user whom an event makes a member or ends as one, and where their gateways are to look."""
    user_id = item.joins or item.leaves
    return (user_id, MembershipChange(recorded.room, bool(item.joins), recorded.sequence)) if user_id else None


def notice_of(recorded: Recorded, item: RoomEvent) -> tuple[str, RoomEvent] | None:
    """The invited user, who is not in the room yet, and so hears of it in their own."""
    if recorded.type == MemberInvited.TYPE and isinstance(invited := recorded.event(), MemberInvited):
        return invited.user.id, RoomEvent(item.event, item.payload, notice=str(recorded.event_id))
    return None
