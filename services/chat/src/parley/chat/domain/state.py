"""A room as decisions see it, and what a command says that its decision reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import RoomKind
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

if TYPE_CHECKING:
    # The features of messages are written with what is defined here.
    from parley.chat.domain.messages.known import RoomMessages


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


FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of what has no end."""


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What holds for one user in a room, member or not: a ban, a mute, and a rule of permissions of their own.

    `allow` and `deny` are permissions, with a space between two. `sequence` is that of the last event about any of it.
    """

    user_id: str
    banned_until: datetime | None = None
    muted_until: datetime | None = None
    allow: str = ""
    deny: str = ""
    sequence: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing holds for the user, so that there is nothing to keep."""
        return self.banned_until is None and self.muted_until is None and not self.allow and not self.deny

    def ended(self, now: datetime) -> Restrictions:
        """Return what is left once a ban and a mute that have ended are taken out."""
        banned = self.banned_until if self.banned_until is not None and self.banned_until > now else None
        muted = self.muted_until if self.muted_until is not None and self.muted_until > now else None
        return replace(self, banned_until=banned, muted_until=muted)


@dataclass(frozen=True, slots=True)
class Invite:
    """A link into a room, known by the sequence of the event that made it.

    Its code lets users join until `expires_at`, as often as `uses_left` says; None stands for no end.
    """

    invite: int
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    uses_left: int | None = None


@dataclass(slots=True)
class Room:
    """A room as far as a decision needs it. `members` holds the members that were loaded, not all of them.

    `messages` counts the messages ever sent, so it is the number of the last one. `changed` is the sequence of the last
    event that changes what decisions read: as long as it is current, so is everything here except `head` and
    `messages`, and the sequences of erased events that still hold the room's present name, topic and custom data. A
    `closed` room was archived by an administrator. `rules` has the permissions of roles, as `permissions` writes them
    down, and `custom` the application's own data as JSON.
    """

    room_id: int
    name: str
    kind: RoomKind
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
    slow_seconds: int = 0
    closed: bool = False
    rules: str = ""
    custom: str = ""
    custom_kept_in: int | None = None
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    declined: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When users last declined an invitation into this room; only those that were loaded."""
    restrictions: dict[str, Restrictions] = field(default_factory=dict[str, Restrictions])
    """What holds for those users whose memberships were loaded, if anything does."""
    participants: set[str] = field(default_factory=set[str])
    """All users that a direct room is between, members or not yet or not any more."""
    invites: dict[int, Invite] = field(default_factory=dict[int, Invite])
    """The room's links; only if they were loaded."""

    @property
    def id(self) -> str:
        """The id under which clients know the room."""
        return public_room_id(self.room_id)

    def visible_to(self, user_id: str) -> bool:
        """Return whether the user may know that the room exists."""
        # Invited users are in `members` as well, and see what they are invited to.
        return self.kind == "public" or user_id in self.members

    def is_in(self, user_id: str) -> bool:
        """Return whether the user has joined the room."""
        member = self.members.get(user_id)
        return member is not None and member.joined

    def as_seen_by(self, user_id: str) -> Room:
        """Return a copy of the room as it is now, without any member except this user."""
        member = self.members.get(user_id)
        # The set is copied, since `evolve` adds to it in place.
        return replace(self, members={user_id: member} if member else {}, participants=set(self.participants))


class Needs(NamedTuple):
    """What a decision reads besides the room and the sender's membership in it."""

    member: str | None = None
    """The membership of this user, and when they last declined an invitation."""
    others: Collection[str] = ()
    """The memberships of these users."""
    eldest: bool = False
    """The members who have been there the longest; one of them becomes the owner when the owner leaves."""
    invitations: bool = False
    """How many of the sender's invitations into the room wait for an answer."""
    rooms: bool = False
    """How many rooms the sender is in."""
    messages: tuple[int, ...] = ()
    """The messages with these sequences, and what became of them."""
    reactions: bool = False
    """Which reactions of the sender stand on these messages."""
    pins: bool = False
    """How many messages of the room are pinned."""
    thread: int | None = None
    """Whether this thread is followed by the sender, by the author of its first message, and by `followers`."""
    followers: tuple[str, ...] = ()
    """More users of whom that is needed, and their memberships."""
    posted: bool = False
    """When the sender last wrote, if the room has slow mode."""
    restricted: bool = False
    """For how many users something holds in the room."""
    invites: bool = False
    """The room's links."""
    blocks: Collection[str] = ()
    """Who of these users has blocked the sender, and whom of them the sender has blocked."""
    anyway: bool = False
    """Whether the sender may do it without being in the room or invited, whatever kind of room it is."""
    uploads: tuple[UUID, ...] = ()
    """The sender's uploads with these ids, as far as they may be attached."""
    between: bool = False
    """Who of the two people of a direct room has blocked the other, if it is one between two."""


NO_UPLOADS: Mapping[UUID, Attachment] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How much one user may have, and a room. The defaults are those of the settings."""

    rooms: int = 1000
    invitations: int = 100
    invite_again: timedelta = timedelta(days=1)
    """How long a user who declined an invitation into a room cannot be invited into it again."""
    restricted: int = 10_000
    """For how many users a room may have a ban, a mute or a rule."""
    invites: int = 50
    """How many links a room may have that are still good."""


class Screened(NamedTuple):
    """What was said of a command's text before its decision: that it is refused, or that moderators should see it."""

    refusal: Reject | None = None
    flag: str = ""


class DecisionContext(NamedTuple):
    """Who sends a command, and what their decision reads outside of the room, if the command's `Needs` ask for it.

    `rooms` is the number of rooms the sender is in, without archived ones. A caller that leaves out `now` decides as if
    no time had passed since anything. Without `locked`, the room is only what was known of it: then a command is
    refused whose decision takes more than that. `messages` is None then. `posted` is when the sender last wrote in a
    room with slow mode. `blocks` are pairs: the first has blocked the second. `absent` are users who may not be put
    into a room, because they are being erased.
    """

    identity: Identity
    limits: UserLimits = UserLimits()
    rooms: int = 0
    invitations: int = 0
    now: datetime = datetime.min.replace(tzinfo=UTC)
    messages: RoomMessages | None = None
    locked: bool = True
    restricted: int = 0
    posted: datetime | None = None
    blocks: Collection[tuple[str, str]] = ()
    absent: Collection[str] = ()
    screened: Screened | None = None
    uploads: Mapping[UUID, Attachment] = NO_UPLOADS


def keep_restrictions(room: Room, own: Restrictions) -> None:
    """Have a room keep what holds for a user, or nothing if nothing does."""
    # A user for whom nothing holds counts in no limit, and has no row.
    if own.empty:
        room.restrictions.pop(own.user_id, None)
    else:
        room.restrictions[own.user_id] = own


def require_visible(room: Room | None, user_id: str) -> Room:
    """Return the room, if it exists for the user. Raises `Reject`."""
    # In the same words, or whoever tries ids would learn which private rooms exist.
    if room is None or not room.visible_to(user_id):
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room


def require_open(room: Room | None, user_id: str, *, anyway: bool = False) -> Room:
    """Return the room, if it exists for the user, or `anyway`, and takes changes. Raises `Reject`."""
    if room is None or not anyway:
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
