"""A room as decisions see it, and what a command says that its decision reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import Kind
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity


@dataclass(frozen=True, slots=True)
class Member:
    """A user's membership in a room: `state` is `invited` or `joined`, `sequence` that of the event that led to it.

    `invited_by` is the user whose invitation still waits for an answer.
    """

    user_id: str
    name: str
    state: str
    role: str
    sequence: int
    invited_by: str | None = None

    @property
    def joined(self) -> bool:
        """Whether the user may read and write in the room."""
        return self.state == "joined"


@dataclass(slots=True)
class Room:
    """A room as far as a decision needs it. `members` holds the members that were loaded, not all of them.

    `messages` counts the messages ever sent, so it is the number of the last one. `changed` is the sequence of the last
    event that changes what decisions read: as long as it is current, so is everything here except `head` and
    `messages`, and the two sequences of erased events that still hold the room's present name and topic.
    """

    room_id: int
    name: str
    kind: Kind
    created_by: str
    created_at: datetime
    archived: bool = False
    head: int = 0
    messages: int = 0
    changed: int = 0
    member_count: int = 0
    topic: str = ""
    name_kept_in: int | None = None
    topic_kept_in: int | None = None
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    declined: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When users last declined an invitation into this room; only those that were loaded."""

    @property
    def id(self) -> str:
        """The id under which clients know the room."""
        return public_room_id(self.room_id)

    def visible_to(self, user_id: str) -> bool:
        """Return whether the user may know that the room exists."""
        return self.kind == "public" or user_id in self.members

    def is_in(self, user_id: str) -> bool:
        """Return whether the user has joined the room."""
        member = self.members.get(user_id)
        return member is not None and member.joined

    def as_seen_by(self, user_id: str) -> Room:
        """Return a copy of the room as it is now, without any member except this user."""
        member = self.members.get(user_id)
        return replace(self, members={user_id: member} if member else {})


class Needs(NamedTuple):
    """What a decision reads besides the room and the sender's membership in it."""

    member: str | None = None
    """The membership of this user, and when they last declined an invitation."""
    eldest: bool = False
    """The members who have been there the longest; one of them becomes the owner when the owner leaves."""
    invitations: bool = False
    """How many of the sender's invitations into the room wait for an answer."""
    rooms: bool = False
    """How many rooms the sender is in."""
    uploads: tuple[UUID, ...] = ()
    """The sender's uploads with these ids, as far as they may be attached."""


NO_NEEDS = Needs()
NO_UPLOADS: Mapping[UUID, Attachment] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How much one user may have. The defaults are those of the settings."""

    rooms: int = 1000
    invitations: int = 100
    invite_again: timedelta = timedelta(days=1)
    """How long a user who declined an invitation into a room cannot be invited into it again."""


class DecisionContext(NamedTuple):
    """Who sends a command, and what their decision reads outside of the room, if the command's `Needs` ask for it.

    `rooms` is the number of rooms the sender is in, without archived ones. A caller that leaves out `now` decides as if
    no time had passed since anything.
    """

    identity: Identity
    limits: UserLimits = UserLimits()
    rooms: int = 0
    invitations: int = 0
    now: datetime = datetime.min.replace(tzinfo=UTC)
    uploads: Mapping[UUID, Attachment] = NO_UPLOADS


def require_visible(room: Room | None, user_id: str) -> Room:
    """Return the room, if it exists for the user. Raises `Reject`."""
    if room is None or not room.visible_to(user_id):
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room


def require_open(room: Room | None, user_id: str) -> Room:
    """Return the room, if it exists for the user and takes changes. Raises `Reject`."""
    room = require_visible(room, user_id)
    if room.archived:
        raise Reject(Code.ROOM_ARCHIVED)
    return room


def require_member(room: Room, user_id: str) -> Member:
    """Return the user's membership, if they have joined the room. Raises `Reject`."""
    member = room.members.get(user_id)
    if member is None or not member.joined:
        raise Reject(Code.NOT_A_MEMBER)
    return member


def require_room_left(context: DecisionContext) -> None:
    """Refuse a user who is in as many rooms as one user may be in. Raises `Reject`."""
    if context.rooms >= context.limits.rooms:
        raise Reject(Code.LIMIT_EXCEEDED, f"You may be in at most {context.limits.rooms} rooms.")
