"""Moderation: moderators remove members, ban users, and mute members, for a while or for good.

Who may moderate may not touch the owner, nor, unless they own the room, others who may. A ban and a mute end by the
database's clock; nothing happens then, but decisions find that they have ended. Both outlive leaving and coming back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, ClassVar, assert_never

import msgspec

from parley.chat.domain.events import EventData, Instant, Membership, NamedUser, WhenErased, about_user
from parley.chat.domain.fields import ClientCommand, Reason, RoomId, UserId
from parley.chat.domain.people.invites import void_invites_of
from parley.chat.domain.permissions import Permission, may, require_may
from parley.chat.domain.state import (
    FOREVER,
    DecisionContext,
    Needs,
    Restrictions,
    Room,
    keep_restrictions,
    require_open,
)
from parley.common.errors import Code, Reject
from parley.common.wire.text import check_line, checked_text

Seconds = Annotated[int, msgspec.Meta(ge=1, le=10 * 366 * 86_400)]


class _Measure(ClientCommand, frozen=True):
    """What a moderator does about one user."""

    room: RoomId
    user: UserId

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the user's id and the reason can be stored. Raises `Reject`."""
        check_line(self.user)
        checked_text(getattr(self, "reason", ""))


class RemoveMember(_Measure, frozen=True):
    """`member.remove`: a user is a member no more, or invited no more. They may come back as others may."""

    NAME: ClassVar[str] = "member.remove"

    reason: Reason = ""


class BanMember(_Measure, frozen=True):
    """`member.ban`: a user is removed and may not come back for `seconds`, or ever. They need not be a member."""

    NAME: ClassVar[str] = "member.ban"

    seconds: Seconds | None = None
    reason: Reason = ""


class UnbanMember(_Measure, frozen=True):
    """`member.unban`: a banned user may come back."""

    NAME: ClassVar[str] = "member.unban"


class MuteMember(_Measure, frozen=True):
    """`member.mute`: a user may read and not write for `seconds`, or until they are unmuted."""

    NAME: ClassVar[str] = "member.mute"

    seconds: Seconds | None = None
    reason: Reason = ""


class UnmuteMember(_Measure, frozen=True):
    """`member.unmute`: a muted user may write again."""

    NAME: ClassVar[str] = "member.unmute"


class MemberRemoved(EventData, frozen=True):
    """A moderator ended a user's membership, or took their invitation back."""

    TYPE: ClassVar[str] = "member.removed"
    NUMBER: ClassVar[int] = 30
    MEMBERSHIP: ClassVar[Membership] = "leaves"
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser
    reason: str = ""


class MemberBanned(EventData, frozen=True):
    """A user may not be in the room, until some moment if there is one. `member.removed` follows if they were."""

    TYPE: ClassVar[str] = "member.banned"
    NUMBER: ClassVar[int] = 31
    WHEN_ERASED: ClassVar[WhenErased] = about_user("until")

    user: NamedUser
    until: Instant | None = None
    reason: str = ""


class MemberUnbanned(EventData, frozen=True):
    """A user may be in the room again."""

    TYPE: ClassVar[str] = "member.unbanned"
    NUMBER: ClassVar[int] = 32
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser


class MemberMuted(EventData, frozen=True):
    """A user may not write in the room, until some moment if there is one."""

    TYPE: ClassVar[str] = "member.muted"
    NUMBER: ClassVar[int] = 33
    WHEN_ERASED: ClassVar[WhenErased] = about_user("until")

    user: NamedUser
    until: Instant | None = None
    reason: str = ""


class MemberUnmuted(EventData, frozen=True):
    """A user may write in the room again."""

    TYPE: ClassVar[str] = "member.unmuted"
    NUMBER: ClassVar[int] = 34
    WHEN_ERASED: ClassVar[WhenErased] = about_user()

    user: NamedUser


ModerationCommand = RemoveMember | BanMember | UnbanMember | MuteMember | UnmuteMember
ModerationEvent = MemberRemoved | MemberBanned | MemberUnbanned | MemberMuted | MemberUnmuted


def moderation_needs(command: ModerationCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    voids = isinstance(command, RemoveMember | BanMember)
    return Needs(member=command.user, restricted=isinstance(command, BanMember | MuteMember), invites=voids)


def decide_moderation(
    command: ModerationCommand, room: Room | None, context: DecisionContext
) -> Sequence[ModerationEvent]:
    """Decide what a moderator does about a user; no event if it is so already. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    _require_power(command, room, context)
    member = room.members.get(command.user)
    own = room.restrictions.get(command.user, Restrictions(command.user)).ended(context.now)
    user = NamedUser(command.user, member.name if member is not None and member.joined else None)
    match command:
        case RemoveMember(reason=reason):
            return [] if member is None else [MemberRemoved(user, reason)]
        case BanMember(seconds=seconds, reason=reason):
            until = _end(seconds, context)
            # A ban with an end is never the same as another one: it ends later by now.
            if member is None and (own.banned_until, until) == (FOREVER, None):
                return []
            _require_place(room, command.user, context)
            return [MemberBanned(user, until, reason), *([MemberRemoved(user)] if member is not None else [])]
        case UnbanMember():
            return [] if own.banned_until is None else [MemberUnbanned(user)]
        case MuteMember(seconds=seconds, reason=reason):
            until = _end(seconds, context)
            if (own.muted_until, until) == (FOREVER, None):
                return []
            _require_place(room, command.user, context)
            return [MemberMuted(user, until, reason)]
        case UnmuteMember():
            return [] if own.muted_until is None else [MemberUnmuted(user)]
        case _:
            assert_never(command)


def _require_power(command: ModerationCommand, room: Room, context: DecisionContext) -> None:
    """Refuse who may not moderate here, or not this user. Raises `Reject`."""
    actor = require_may(Permission.MODERATE, room, context)
    if command.user == actor.user_id:
        raise Reject(Code.INVALID_PAYLOAD, "This is about others; room.leave is about oneself.")
    member = room.members.get(command.user)
    if member is None or not member.joined or actor.role == "owner":
        return
    if member.role == "owner" or may(room, member, Permission.MODERATE):
        raise Reject(Code.FORBIDDEN, "Only the room's owner may do this to somebody who may moderate it.")


def _require_place(room: Room, user_id: str, context: DecisionContext) -> None:
    if user_id not in room.restrictions and context.restricted >= context.limits.restricted:
        raise Reject(Code.LIMIT_EXCEEDED, f"A room has at most {context.limits.restricted} users with restrictions.")


def _end(seconds: int | None, context: DecisionContext) -> Instant | None:
    return None if seconds is None else context.now + timedelta(seconds=seconds)


def evolve_moderated(room: Room, event: ModerationEvent, sequence: int) -> None:
    """Apply what a moderator did to the membership of a user, and to what holds for them."""
    user_id = event.user.id
    own = room.restrictions.get(user_id, Restrictions(user_id))
    match event:
        case MemberRemoved():
            member = room.members.pop(user_id, None)
            room.member_count -= 1 if member is not None and member.joined else 0
            void_invites_of(room, user_id)
            return
        case MemberBanned(until=until):
            own = replace(own, banned_until=until or FOREVER)
            void_invites_of(room, user_id)
        case MemberUnbanned():
            own = replace(own, banned_until=None)
        case MemberMuted(until=until):
            own = replace(own, muted_until=until or FOREVER)
        case MemberUnmuted():
            own = replace(own, muted_until=None)
        case _:
            assert_never(event)
    keep_restrictions(room, replace(own, sequence=sequence))
