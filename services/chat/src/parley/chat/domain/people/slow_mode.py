"""Slow mode: how long a member of a room waits between two messages.

It follows from when they last wrote, as the log says, so there is nothing to keep and nothing to run out. Edits and
reactions are free, threads share one wait with the room, and whoever may moderate the room does not wait.
"""

from __future__ import annotations

import math
from datetime import timedelta

from parley.chat.domain.permissions import Permission, may
from parley.chat.domain.state import DecisionContext, Member, Room
from parley.common.errors import Code, Reject


def require_turn(room: Room, member: Member, context: DecisionContext) -> None:
    """Refuse who has to wait before they write again, and say for how long.

    Raises `Reject`, whose data are `{retry_after, next_post_at}`: seconds, and the moment by the database's clock.
    """
    if not room.slow_seconds or may(room, member, Permission.MODERATE):
        return
    if not context.locked:
        # When they last wrote is looked up under the room's lock.
        raise Reject(Code.RATE_LIMITED)
    if context.posted is None:
        return
    next_at = context.posted + timedelta(seconds=room.slow_seconds)
    if next_at > context.now:
        # Rounded up: who waits as long as they are told must not be refused again.
        left = math.ceil((next_at - context.now).total_seconds())
        raise Reject(
            Code.RATE_LIMITED,
            f"This room is in slow mode: you may write again in {left} s.",
            data={"retry_after": left, "next_post_at": next_at.isoformat()},
        )
