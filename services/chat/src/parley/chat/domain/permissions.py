"""Who may do what in a room, pure: one function that every feature asks at commit.

A rule allows and denies permissions to a person, to a role, or to everyone in the room. For each permission the nearest
rule that names it wins: the person's, then their role's, then everyone's; if one rule does both, it denies. Where no
rule names it, what a room begins with does (`DEFAULTS`), which is as near as the rules of the same subject. Owners may
do everything; nobody moderates a direct room.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Literal

import msgspec

from parley.chat.domain.state import DecisionContext, Member, Room, require_member
from parley.common.errors import Code, Reject


class Permission(StrEnum):
    """What a rule may allow or deny."""

    POST = "post"
    """Write messages."""
    REACT = "react"
    """React to messages."""
    INVITE = "invite"
    """Invite users, and make links into the room."""
    MENTION_ALL = "mention_all"
    """Mention everybody at once."""
    PIN = "pin"
    """Pin messages and unpin them."""
    UPDATE = "update"
    """Change the room's name, topic and custom data."""
    MODERATE = "moderate"
    """Remove, ban and mute members, set slow mode, delete others' messages, and see what was reported."""
    ARCHIVE = "archive"
    """Archive the room, and take that back."""


Subject = Literal["everyone", "member", "moderator"]
"""Whom a rule is for that is not for a person: everyone in the room, or those with a role."""


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is allowed and denied to whoever the rule is for."""

    allow: tuple[Permission, ...] = ()
    deny: tuple[Permission, ...] = ()

    def says(self, permission: Permission) -> bool | None:
        """Return whether the rule allows it; None if it says nothing about it."""
        # Looked at first: a rule that does both denies.
        if permission in self.deny:
            return False
        return True if permission in self.allow else None


NO_RULE = Rule()
_MODERATORS = (
    Permission.POST, Permission.REACT, Permission.INVITE, Permission.MENTION_ALL, Permission.PIN, Permission.UPDATE,
    Permission.MODERATE,
)  # fmt: skip
DEFAULTS: dict[str, Rule] = {
    "everyone": Rule((Permission.POST, Permission.REACT, Permission.INVITE)),
    "moderator": Rule(_MODERATORS),
}
"""The rules that every room begins with."""

_IN_DIRECT_ROOMS = frozenset((Permission.POST, Permission.REACT, Permission.PIN))
"""What each of the people of a direct room may do. Nobody has power over another there."""
_BY_DEFAULT = {
    "owner": frozenset(Permission),
    "moderator": frozenset(_MODERATORS),
    "member": frozenset(DEFAULTS["everyone"].allow),
}
_WRITING = frozenset((Permission.POST, Permission.REACT))
_BY_NAME = {str(permission): permission for permission in Permission}
_rules = msgspec.json.Decoder(dict[str, Rule])
_encoder = msgspec.json.Encoder(order="sorted")


def allows(permission: Permission, role: str, person: Rule, rules: Mapping[str, Rule]) -> bool:
    """Return whether a member may do something: by their role, their own rule, and the room's rules by subject."""
    if role == "owner":
        return True
    nearest = (
        person,
        rules.get(role, NO_RULE),
        DEFAULTS.get(role, NO_RULE),
        rules.get("everyone", NO_RULE),
        DEFAULTS["everyone"],
    )
    return next((said for rule in nearest if (said := rule.says(permission)) is not None), False)


def may(room: Room, member: Member | None, permission: Permission) -> bool:
    """Return whether somebody is a member of the room and may do something there, mutes aside."""
    if member is None or not member.joined:
        return False
    # Whatever rules a room has: somebody would otherwise moderate the person they talk with.
    if room.kind == "direct":
        return permission in _IN_DIRECT_ROOMS
    if not room.rules and member.user_id not in room.restrictions:
        # The way of nearly every message: nobody has said anything else than what a room begins with.
        return permission in _BY_DEFAULT[member.role]
    own = room.restrictions.get(member.user_id)
    person = NO_RULE if own is None else Rule(permissions_in(own.allow), permissions_in(own.deny))
    return allows(permission, member.role, person, read_rules(room.rules))


def require_may(permission: Permission, room: Room, context: DecisionContext) -> Member:
    """Return the sender's membership, if they are in the room and may do something there. Raises `Reject`.

    Who is muted may neither write nor react. When a mute ends, only the database's clock says: without `context.now` it
    lasts.
    """
    member = require_member(room, context.identity.user_id)
    if permission in _WRITING and (own := room.restrictions.get(member.user_id)) is not None:
        until = own.muted_until
        # Owners may do everything: a mute from before they owned the room does not hold them.
        if until is not None and until > context.now and member.role != "owner":
            # `FOREVER` is no time that anybody could be told.
            data = {"muted_until": until.isoformat()} if until.year < 9999 else None
            raise Reject(Code.MUTED, data=data)
    if not may(room, member, permission):
        raise Reject(Code.FORBIDDEN, f"You lack the permission {permission} in this room.")
    return member


@lru_cache(maxsize=4096)
def read_rules(text: str) -> Mapping[str, Rule]:
    """Return the rules of roles that a room's `rules` has."""
    return _rules.decode(text) if text else {}


def write_rules(rules: Mapping[str, Rule]) -> str:
    """Return rules of roles as a room's `rules` has them, the same for the same rules."""
    # The same text for the same rules, because a verification compares rows.
    kept = {subject: rule for subject, rule in rules.items() if rule != NO_RULE}
    return _encoder.encode(kept).decode() if kept else ""


@lru_cache(maxsize=4096)
def permissions_in(text: str) -> tuple[Permission, ...]:
    """Return the permissions that a text names, with a space between two. One that is not known any more is none."""
    return tuple(_BY_NAME[name] for name in text.split() if name in _BY_NAME)


def permissions_text(permissions: tuple[Permission, ...]) -> str:
    """Return permissions as a text, the same for the same permissions."""
    return " ".join(sorted(set(permissions)))
