"""Links into a room: whoever has the code of one may join, until it expires, is used up or is revoked.

A link is known by the sequence of its `invite.created`. Its code is in no event (`encoding.invite_codes`). Uses are
counted by events, under the room's lock, so that a link never lets in one more than it should. The links of a member
who is removed or banned are void.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, assert_never

import msgspec

from parley.chat.domain.events import EventData, Instant, WhenErased
from parley.chat.domain.fields import ClientCommand, RoomId
from parley.chat.domain.permissions import Permission, may, require_may
from parley.chat.domain.state import DecisionContext, Invite, Needs, Room, require_member, require_open
from parley.common.errors import Code, Reject

YEAR = 366 * 86_400


class CreateInvite(ClientCommand, frozen=True):
    """`invite.create`: make a link into the room. Its ack has the `code`; it is good for `seconds`, or for ever."""

    NAME: ClassVar[str] = "invite.create"

    room: RoomId
    seconds: Annotated[int, msgspec.Meta(ge=1, le=YEAR)] | None = None
    uses: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class RevokeInvite(ClientCommand, frozen=True):
    """`invite.revoke`: void a link, named by the sequence of its `invite.created`. Its maker may, and a moderator."""

    NAME: ClassVar[str] = "invite.revoke"

    room: RoomId
    invite: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class InviteCreated(EventData, frozen=True):
    """There is a link into the room, known by this event's sequence."""

    TYPE: ClassVar[str] = "invite.created"
    NUMBER: ClassVar[int] = 39
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased()

    expires_at: Instant | None = None
    uses: int | None = None


class InviteUsed(EventData, frozen=True):
    """Somebody joined by a link that is good for some uses. It comes right after their `member.joined`."""

    TYPE: ClassVar[str] = "invite.used"
    NUMBER: ClassVar[int] = 40
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("invite",), applied="if kept", outlives_room=True)

    invite: int


class InviteRevoked(EventData, frozen=True):
    """A link into the room is void."""

    TYPE: ClassVar[str] = "invite.revoked"
    NUMBER: ClassVar[int] = 41
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("invite",), applied="if kept", outlives_room=True)

    invite: int


InviteCommand = CreateInvite | RevokeInvite
InviteEvent = InviteCreated | InviteUsed | InviteRevoked


def decide_invite_link(command: InviteCommand, room: Room | None, context: DecisionContext) -> Sequence[InviteEvent]:
    """Decide a command about a room's links. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    if isinstance(command, CreateInvite):
        require_may(Permission.INVITE, room, context)
        # Expired ones are still there until the next link is made, and count for nothing.
        if sum(_good(one, context.now) for one in room.invites.values()) >= context.limits.invites:
            raise Reject(Code.LIMIT_EXCEEDED, f"A room has at most {context.limits.invites} links that are good.")
        ends = None if command.seconds is None else context.now + timedelta(seconds=command.seconds)
        return [InviteCreated(ends, command.uses)]
    member = require_member(room, context.identity.user_id)
    invite = room.invites.get(command.invite)
    if invite is not None and invite.created_by != member.user_id and not may(room, member, Permission.MODERATE):
        raise Reject(Code.FORBIDDEN, "Only who made a link may revoke it, and moderators.")
    return [] if invite is None else [InviteRevoked(command.invite)]


def invite_needs(_command: InviteCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    return Needs(invites=True)


def require_invite(room: Room | None, invite: int, context: DecisionContext) -> Invite:
    """Return the link, if it is still good. Raises `Reject(not_found)` in the same words for any that is not."""
    found = None if room is None else room.invites.get(invite)
    if found is None or not _good(found, context.now):
        raise Reject(Code.NOT_FOUND, "There is no such invite.")
    return found


def evolve_invites(room: Room, event: InviteEvent, sequence: int, actor_id: str, at: datetime) -> None:
    """Apply an event to the room's links. A new one takes those that have expired by then with it."""
    match event:
        case InviteCreated(expires_at=expires_at, uses=uses):
            # At the time of this event and not of now: a rebuild has to come to the same rows.
            for old in [one.invite for one in room.invites.values() if not _good(one, at)]:
                del room.invites[old]
            room.invites[sequence] = Invite(sequence, actor_id, at, expires_at, uses)
        case InviteUsed(invite=invite):
            found = room.invites.get(invite)
            if found is not None and found.uses_left is not None:
                room.invites[invite] = replace(found, uses_left=found.uses_left - 1)
                if found.uses_left <= 1:
                    del room.invites[invite]
        case InviteRevoked(invite=invite):
            room.invites.pop(invite, None)
        case _:
            assert_never(event)


def void_invites_of(room: Room, user_id: str) -> None:
    """Void the links that a user made."""
    for invite in [one.invite for one in room.invites.values() if one.created_by == user_id]:
        del room.invites[invite]


def _good(invite: Invite, now: datetime) -> bool:
    return invite.expires_at is None or invite.expires_at > now
