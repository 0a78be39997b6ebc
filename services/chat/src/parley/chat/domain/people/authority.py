"""Who has what to say in a room: its moderators, and its rules of permissions. The room's owner decides about both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import msgspec

from parley.chat.domain.events import EventData, NamedUser, WhenErased, about_user
from parley.chat.domain.fields import ClientCommand, RoomId, UserId
from parley.chat.domain.membership import MemberChanged
from parley.chat.domain.permissions import Permission, Rule, Subject, permissions_text, read_rules, write_rules
from parley.chat.domain.state import (
    DecisionContext,
    Member,
    Needs,
    Restrictions,
    Room,
    keep_restrictions,
    require_member,
    require_open,
)
from parley.common.errors import Code, Reject
from parley.common.wire.text import check_line

MAX_RULES = 16
"""Rules in one command, each of which is an event."""
Named = Annotated[tuple[Permission, ...], msgspec.Meta(max_length=len(Permission))]


class ChangeRole(ClientCommand, frozen=True):
    """`member.role`: the owner makes a member a moderator, or an ordinary member again."""

    NAME: ClassVar[str] = "member.role"

    room: RoomId
    user: UserId
    role: Literal["moderator", "member"]

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the user's id can be stored. Raises `Reject`."""
        check_line(self.user)


class RuleFor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule, and whom it is for: a user, or a role. It takes the place of the one before; an empty one is none."""

    user: UserId | None = None
    role: Subject | None = None
    allow: Named = ()
    deny: Named = ()


class ChangePermissions(ClientCommand, frozen=True):
    """`room.permissions`: the owner says who may do what."""

    NAME: ClassVar[str] = "room.permissions"

    room: RoomId
    rules: Annotated[list[RuleFor], msgspec.Meta(min_length=1, max_length=MAX_RULES)]

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that each rule is for one user or one role, and that no two are for the same. Raises `Reject`."""
        subjects: set[tuple[str | None, str | None]] = set()
        for rule in self.rules:
            if (rule.user is None) == (rule.role is None):
                raise Reject(Code.INVALID_PAYLOAD, "A rule is for a user or for a role.")
            check_line(rule.user or "")
            subjects.add((rule.user, rule.role))
        if len(subjects) < len(self.rules):
            raise Reject(Code.INVALID_PAYLOAD, "Two of these rules are for the same.")


class PermissionsChanged(EventData, frozen=True):
    """Another rule is in force for a user or a role; one that allows and denies nothing is none."""

    TYPE: ClassVar[str] = "permissions.changed"
    NUMBER: ClassVar[int] = 36
    WHEN_ERASED: ClassVar[WhenErased] = about_user("role", "allow", "deny")

    user: NamedUser | None = None
    role: Subject | None = None
    allow: tuple[Permission, ...] = ()
    deny: tuple[Permission, ...] = ()


AuthorityCommand = ChangeRole | ChangePermissions


def authority_needs(command: AuthorityCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    if isinstance(command, ChangeRole):
        return Needs(member=command.user)
    users = [rule.user for rule in command.rules if rule.user is not None]
    return Needs(others=users, restricted=bool(users))


def decide_authority(
    command: AuthorityCommand, room: Room | None, context: DecisionContext
) -> Sequence[MemberChanged | PermissionsChanged]:
    """Decide a command about moderators or rules. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    if require_member(room, context.identity.user_id).role != "owner":
        raise Reject(Code.FORBIDDEN, "Only the room's owner may do this.")
    if isinstance(command, ChangeRole):
        return _decide_role(command, room)
    changed = [event for rule in command.rules if (event := _changed(rule, room)) is not None]
    new = [event.user.id for event in changed if event.user is not None and event.user.id not in room.restrictions]
    if context.restricted + len(new) > context.limits.restricted:
        raise Reject(Code.LIMIT_EXCEEDED, f"A room has at most {context.limits.restricted} users with restrictions.")
    return changed


def _decide_role(command: ChangeRole, room: Room) -> list[MemberChanged]:
    member: Member | None = room.members.get(command.user)
    if member is None or not member.joined:
        raise Reject(Code.INVALID_PAYLOAD, "Only a member can have a role.")
    # A room would have nobody who may do this any more.
    if member.role == "owner":
        raise Reject(Code.FORBIDDEN, "The owner stays the owner until the room is given to another member.")
    return [] if member.role == command.role else [MemberChanged(NamedUser(member.user_id, member.name), command.role)]


def _changed(rule: RuleFor, room: Room) -> PermissionsChanged | None:
    """Return the event that a rule leads to, or None if it is in force already."""
    allow, deny = tuple(sorted(set(rule.allow))), tuple(sorted(set(rule.deny)))
    if rule.role is not None:
        same = read_rules(room.rules).get(rule.role, Rule()) == Rule(allow, deny)
        return None if same else PermissionsChanged(None, rule.role, allow, deny)
    user_id = rule.user or ""
    own = room.restrictions.get(user_id, Restrictions(user_id))
    if (own.allow, own.deny) == (permissions_text(allow), permissions_text(deny)):
        return None
    member = room.members.get(user_id)
    return PermissionsChanged(NamedUser(user_id, member.name if member else None), None, allow, deny)


def evolve_permissions(room: Room, event: PermissionsChanged, sequence: int) -> None:
    """Apply a rule to the room."""
    if event.role is not None:
        room.rules = write_rules({**read_rules(room.rules), event.role: Rule(event.allow, event.deny)})
    elif event.user is not None:
        own = room.restrictions.get(event.user.id, Restrictions(event.user.id))
        allow, deny = permissions_text(event.allow), permissions_text(event.deny)
        keep_restrictions(room, replace(own, allow=allow, deny=deny, sequence=sequence))
