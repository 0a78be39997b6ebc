"""Direct rooms: between a few people who stay the same, or for one's own notes.

The key of such a room follows from its people, so that whoever asks first makes it and everybody else finds it. Others
become members with the first message, and again with the next one after they have left: until then the room exists for
none of them. Nobody owns it, invites into it or moderates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.events import EventData, NamedUser, WhenErased, about_user
from parley.chat.domain.fields import ClientCommand, UserId
from parley.chat.domain.membership import MemberJoined
from parley.chat.domain.rooms import RoomCreated
from parley.chat.domain.state import DecisionContext, Needs, Room, require_room_left
from parley.common.errors import Code, Reject
from parley.common.wire.text import check_line

MOST = 8
"""People of a direct room."""


class OpenDirect(ClientCommand, frozen=True):
    """`room.direct`: find the room between the sender and these users, or make it. Without others it is for notes."""

    NAME: ClassVar[str] = "room.direct"
    SHOWS_ROOM: ClassVar[bool] = True

    users: Annotated[list[UserId], msgspec.Meta(max_length=MOST)]

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check the users' ids, which members are shown as names. Raises `Reject`."""
        for user in self.users:
            check_line(user)

    def people(self, actor_id: str) -> list[str]:
        """Return everybody whom the room is between."""
        return sorted({actor_id, *self.users})


class MemberAdded(EventData, frozen=True):
    """A direct room is also this user's, who becomes a member with its next message. The event has the id alone."""

    TYPE: ClassVar[str] = "member.added"
    NUMBER: ClassVar[int] = 35
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser


def direct_needs(command: OpenDirect) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    return Needs(others=command.users, rooms=True, blocks=command.users, anyway=True)


def decide_direct(
    command: OpenDirect, room: Room | None, context: DecisionContext
) -> Sequence[RoomCreated | MemberAdded | MemberJoined]:
    """Make the room, or come back into it; no event if the sender is in it. Raises `Reject`."""
    identity = context.identity
    people = command.people(identity.user_id)
    if len(people) > MOST:
        raise Reject(Code.INVALID_PAYLOAD, f"A direct room is between at most {MOST} people.")
    if room is None:
        # A room that is there already can be opened by who was blocked: they read what was said, and write nothing.
        for other in people:
            require_unblocked(other, context)
        require_room_left(context)
        others = [MemberAdded(NamedUser(other)) for other in people if other != identity.user_id]
        return [RoomCreated("", "direct"), *others]
    # Who was erased, and is here again, is somebody new to the room.
    added = [MemberAdded(NamedUser(user)) for user in people if user not in room.participants]
    if room.is_in(identity.user_id):
        return added
    require_room_left(context)
    return [*added, MemberJoined(NamedUser(identity.user_id, identity.name))]


def decide_arrivals(room: Room, context: DecisionContext) -> list[MemberJoined]:
    """Return who becomes a member with a message that the sender may write in this room. Raises `Reject`.

    It is refused between two of whom one has blocked the other. The short way asks that of Postgres (`log.statements`).
    """
    if room.kind != "direct":
        return []
    if not context.locked:
        if room.member_count < len(room.participants):
            raise Reject(Code.NOT_A_MEMBER)
        return []
    require_unblocked_between(room, context)
    # Sorted, so that the same command leads to the same events on every replica.
    missing = [user for user in sorted(room.participants) if not room.is_in(user) and user not in context.absent]
    return [MemberJoined(NamedUser(user)) for user in missing]


def require_unblocked_between(room: Room, context: DecisionContext) -> None:
    """Refuse the sender in a direct room between two of whom one has blocked the other. Raises `Reject`."""
    if room.kind == "direct" and len(room.participants) == 2:
        for other in room.participants:
            require_unblocked(other, context)


def require_unblocked(other: str, context: DecisionContext) -> None:
    """Refuse the sender if they or the other user have blocked each other. Raises `Reject`."""
    if (context.identity.user_id, other) in context.blocks:
        raise Reject(Code.FORBIDDEN, "You have blocked this user.")
    if (other, context.identity.user_id) in context.blocks:
        raise Reject(Code.FORBIDDEN, "This user takes no messages from you.")
