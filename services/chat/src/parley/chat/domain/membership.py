"""Who is in a room: joining, leaving, inviting, and who owns it.

A room that has members has one owner: first its creator, later the member who has been there the longest. A user who
joins a room without members owns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Literal, assert_never

import msgspec

from parley.chat.domain.encoding.invite_codes import invite_of
from parley.chat.domain.events import EventData, Membership, NamedUser, WhenErased, about_user
from parley.chat.domain.fields import ClientCommand, InviteCode, RoomId, UserId
from parley.chat.domain.people.invites import InviteUsed, require_invite
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import (
    FOREVER,
    DecisionContext,
    Member,
    Needs,
    Room,
    require_member,
    require_open,
    require_room_left,
    require_visible,
)
from parley.common.errors import Code, Reject
from parley.common.wire.text import check_line, checked_text

Role = Literal["owner", "moderator", "member"]


class UserRef(msgspec.Struct, frozen=True):
    """A user named in a command. It has an id alone, since no user says what another one is called."""

    id: UserId


class JoinRoom(ClientCommand, frozen=True):
    """`room.join`: join a public room, or a private one by an invitation or by the code of a link into it.

    The code names the room, so that `room` may be left out with it.
    """

    NAME: ClassVar[str] = "room.join"
    SHOWS_ROOM: ClassVar[bool] = True

    room: RoomId | None = None
    invite: InviteCode | None = None

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the command says which room it is about. Raises `Reject`."""
        if self.room is None and self.invite is None:
            raise Reject(Code.INVALID_PAYLOAD, "room.join takes a room, or the code of an invite.")


class LeaveRoom(ClientCommand, frozen=True):
    """`room.leave`: leave a room, or decline an invitation. It works in archived rooms too."""

    NAME: ClassVar[str] = "room.leave"

    room: RoomId


class InviteUser(ClientCommand, frozen=True):
    """`room.invite`: let a user see and join a room."""

    NAME: ClassVar[str] = "room.invite"

    room: RoomId
    user: UserRef

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check the user's id, which members are shown as a name until the user joins. Raises `Reject`."""
        check_line(self.user.id)


class TransferRoom(ClientCommand, frozen=True):
    """`room.transfer`: the owner makes another member the owner, and becomes an ordinary member."""

    NAME: ClassVar[str] = "room.transfer"

    room: RoomId
    user: UserId

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the user's id can be stored. Raises `Reject`."""
        checked_text(self.user)


class MemberInvited(EventData, frozen=True):
    """A user may see and join the room. The event has the user's id alone; the name comes with the join."""

    TYPE: ClassVar[str] = "member.invited"
    NUMBER: ClassVar[int] = 2
    MEMBERSHIP: ClassVar[Membership] = "invited"
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser


class MemberJoined(EventData, frozen=True):
    """A user is a member from here on. The first one in a room without members is its owner."""

    TYPE: ClassVar[str] = "member.joined"
    NUMBER: ClassVar[int] = 3
    MEMBERSHIP: ClassVar[Membership] = "joins"
    WHEN_ERASED: ClassVar[WhenErased] = about_user("role")

    user: NamedUser
    role: Role = "member"


class MemberLeft(EventData, frozen=True):
    """A user is no longer a member, or declines to become one."""

    TYPE: ClassVar[str] = "member.left"
    NUMBER: ClassVar[int] = 4
    MEMBERSHIP: ClassVar[Membership] = "leaves"
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser


class MemberChanged(EventData, frozen=True):
    """A member has another role from here on."""

    TYPE: ClassVar[str] = "member.changed"
    NUMBER: ClassVar[int] = 7
    WHEN_ERASED: ClassVar[WhenErased] = about_user("role")

    user: NamedUser
    role: Role


MembershipCommand = JoinRoom | LeaveRoom | InviteUser | TransferRoom
MembershipEvent = MemberInvited | MemberJoined | MemberLeft | MemberChanged


def membership_needs(command: MembershipCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    match command:
        case JoinRoom(invite=code):
            # Who has a code has been let in by its maker, so the room may be locked for them.
            return Needs(rooms=True, invites=code is not None, anyway=code is not None)
        case LeaveRoom():
            return Needs(eldest=True)
        case InviteUser(user=user):
            return Needs(member=user.id, invitations=True, blocks=(user.id,))
        case TransferRoom(user=user):
            return Needs(member=user)
        case _:
            assert_never(command)


def decide_membership(
    command: MembershipCommand, room: Room | None, context: DecisionContext
) -> Sequence[MembershipEvent | InviteUsed]:
    """Decide a command about who is in a room. Raises `Reject`."""
    match command:
        case JoinRoom():
            return decide_join(command, room, context)
        case LeaveRoom():
            return decide_leave(command, room, context)
        case InviteUser():
            return decide_invite(command, room, context)
        case TransferRoom():
            return decide_transfer(command, room, context)
        case _:
            assert_never(command)


def decide_join(command: JoinRoom, room: Room | None, context: DecisionContext) -> list[MemberJoined | InviteUsed]:
    """Add the sender as a member, unless they are banned or in too many rooms; no event if they are in it.

    By a link, one of its uses is counted. Raises `Reject`.
    """
    identity = context.identity
    invite = None
    if command.invite is not None and not (room is not None and room.is_in(identity.user_id)):
        invite = require_invite(room, invite_of(command.invite), context)
    room = require_open(room, identity.user_id, anyway=command.invite is not None)
    if room.is_in(identity.user_id):
        return []
    own = room.restrictions.get(identity.user_id)
    if own is not None and own.banned_until is not None and own.banned_until > context.now:
        data = {"banned_until": own.banned_until.isoformat()} if own.banned_until < FOREVER else None
        raise Reject(Code.BANNED, "You are banned from this room.", data=data)
    require_room_left(context)
    # A room without members is nobody's, and whoever comes first may put it in order.
    joined = MemberJoined(NamedUser(identity.user_id, identity.name), "member" if room.member_count else "owner")
    return [joined, *([InviteUsed(invite.invite)] if invite is not None and invite.uses_left is not None else [])]


def decide_leave(_command: LeaveRoom, room: Room | None, context: DecisionContext) -> list[MemberLeft | MemberChanged]:
    """Remove the sender. Raises `Reject`.

    If they owned the room, the member who has been there the longest owns it next.
    """
    identity = context.identity
    room = require_visible(room, identity.user_id)
    member = room.members.get(identity.user_id)
    if member is None:
        raise Reject(Code.NOT_A_MEMBER)
    events: list[MemberLeft | MemberChanged] = [MemberLeft(NamedUser(identity.user_id, identity.name))]
    # The writer loads one member more than may leave in this batch, so whoever is the eldest afterwards is among these.
    others = [other for other in room.members.values() if other.joined and other is not member]
    if member.role == "owner" and others:
        # By the event: sequences alone have an order in a room.
        heir = min(others, key=lambda other: other.sequence)
        events.append(MemberChanged(NamedUser(heir.user_id, heir.name), "owner"))
    return events


def decide_invite(command: InviteUser, room: Room | None, context: DecisionContext) -> list[MemberInvited]:
    """Invite a user; no event if they are invited or in the room already. Raises `Reject`.

    It is refused if the user declined an invitation into this room lately, is banned from it or has blocked the sender,
    or if too many of the sender's invitations into it wait for an answer.
    """
    room = require_open(room, context.identity.user_id)
    require_may(Permission.INVITE, room, context)
    if command.user.id in room.members:
        return []
    if (command.user.id, context.identity.user_id) in context.blocks:
        raise Reject(Code.FORBIDDEN, "This user takes no invitations from you.")
    own = room.restrictions.get(command.user.id)
    if own is not None and own.banned_until is not None and own.banned_until > context.now:
        raise Reject(Code.FORBIDDEN, "This user is banned from the room.")
    declined = room.declined.get(command.user.id)
    if declined is not None and context.now - declined < context.limits.invite_again:
        raise Reject(Code.FORBIDDEN, "This user has declined an invitation into this room lately.")
    if context.invitations >= context.limits.invitations:
        most = context.limits.invitations
        raise Reject(Code.LIMIT_EXCEEDED, f"At most {most} of your invitations into a room may wait for an answer.")
    return [MemberInvited(NamedUser(command.user.id))]


def decide_transfer(command: TransferRoom, room: Room | None, context: DecisionContext) -> list[MemberChanged]:
    """Make another member the owner, and the sender an ordinary member, in one decision. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    owner = require_member(room, context.identity.user_id)
    if owner.role != "owner":
        raise Reject(Code.FORBIDDEN, "Only the room's owner may give it to another member.")
    heir = room.members.get(command.user)
    if heir is None or not heir.joined:
        raise Reject(Code.INVALID_PAYLOAD, "Only a member can become the room's owner.")
    if heir is owner:
        return []
    return [
        MemberChanged(NamedUser(heir.user_id, heir.name), "owner"),
        MemberChanged(NamedUser(owner.user_id, owner.name), "member"),
    ]


def evolve_member(room: Room, event: MembershipEvent, sequence: int, actor_id: str, at: datetime) -> None:
    """Apply an event to the membership of the user that it names."""
    user = event.user
    name = user.name or user.id
    match event:
        case MemberInvited():
            room.members[user.id] = Member(user.id, name, "invited", "member", sequence, actor_id)
        case MemberJoined(role=role):
            room.members[user.id] = Member(user.id, name, "joined", role, sequence)
            room.member_count += 1
        case MemberLeft():
            left = room.members.pop(user.id, None)
            room.member_count -= 1 if left and left.joined else 0
            if left is not None and not left.joined:
                room.declined[user.id] = at
        case MemberChanged(role=role):
            # The sequence stays that of the join: it says since when the user is a member, and from which event on they
            # may read. A member whose join was erased is not in `members`.
            if (member := room.members.get(user.id)) is not None:
                room.members[user.id] = replace(member, role=role)
