"""A room as decisions see it, and what a command says that its decision reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import Kind
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity


@dataclass(frozen=True, slots=True)
class Member:
    """A user's place in a room: `state` is `invited` or `joined`, `sequence` that of the event that led to it.

    `invited_by` is the user whose invitation waits for an answer.
    """

    user_id: str
    name: str
    state: str
    role: str
    sequence: int
    invited_by: str | None = None

    @property
    def joined(self) -> bool:
        """Whether the user reads and writes here."""
        return self.state == "joined"


@dataclass(slots=True)
class Room:
    """A room as far as a decision needs it: `members` holds those who were loaded, not all.

    `messages` counts those ever sent, which is the number of the last. `changed` is the sequence of the last event that
    changes what decisions read: while it stands, so does everything here but `head` and `messages`.
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
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    declined: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When users last declined to come in, of those who were loaded."""

    @property
    def id(self) -> str:
        """The id by which clients know it."""
        return public_room_id(self.room_id)

    def visible_to(self, user_id: str) -> bool:
        """Whether the user may know that the room exists."""
        return self.kind == "public" or user_id in self.members

    def is_in(self, user_id: str) -> bool:
        """Whether the user has joined it."""
        member = self.members.get(user_id)
        return member is not None and member.joined

    def as_seen_by(self, user_id: str) -> Room:
        """A copy of now, with no other member than this one."""
        member = self.members.get(user_id)
        return replace(self, members={user_id: member} if member else {})


class Needs(NamedTuple):
    """What a decision reads besides the room and its sender's place there."""

    member: str | None = None
    """The place of this user, and when they last declined to come in."""
    eldest: bool = False
    """The members who have been there the longest: of them one takes over from an owner who leaves."""
    invitations: bool = False
    """How many invitations of the sender into the room wait for an answer."""
    rooms: bool = False
    """How many rooms the sender is in."""


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How much one user may have."""

    rooms: int = 1000
    invitations: int = 100
    invite_again: timedelta = timedelta(days=1)
    """For so long, who declined an invitation into a room is not invited into it."""


class DecisionContext(NamedTuple):
    """Who sends a command, and what of them its decision reads outside of the room, where it needs that.

    Archived rooms are not among `rooms`, the number of those the sender is in. Who does not say what time it is `now`
    has had no time pass.
    """

    identity: Identity
    limits: UserLimits = UserLimits()
    rooms: int = 0
    invitations: int = 0
    now: datetime = datetime.min.replace(tzinfo=UTC)


def require_visible(room: Room | None, user_id: str) -> Room:
    """The room, for whom it exists. Raises `Reject`."""
    if room is None or not room.visible_to(user_id):
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room


def require_open(room: Room | None, user_id: str) -> Room:
    """The room, if it takes changes. Raises `Reject`."""
    room = require_visible(room, user_id)
    if room.archived:
        raise Reject(Code.ROOM_ARCHIVED)
    return room


def require_member(room: Room, user_id: str) -> Member:
    """The place of a user who has joined. Raises `Reject`."""
    member = room.members.get(user_id)
    if member is None or not member.joined:
        raise Reject(Code.NOT_A_MEMBER)
    return member


def require_room_left(context: DecisionContext) -> None:
    """Refuse whoever is in as many rooms as one may be. Raises `Reject`."""
    if context.rooms >= context.limits.rooms:
        raise Reject(Code.LIMIT_EXCEEDED, f"You may be in at most {context.limits.rooms} rooms.")
