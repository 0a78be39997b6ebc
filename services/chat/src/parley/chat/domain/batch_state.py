"""What a batch of commands is decided by, and what is decided, as data: no rule is here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.encoding.invite_codes import code_of
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import LogSecret, event_id
from parley.chat.domain.erasure import drop_texts
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.people.invites import CreateInvite
from parley.chat.domain.room import ChatCommand, needs, room_of
from parley.chat.domain.state import Invite, Needs, Restrictions, Room, Screened
from parley.common.errors import Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MembershipChange

KeyT = TypeVar("KeyT")


class Submission:
    """One command that waits for its decision, with what follows from it.

    `correlation` follows the command through the logs of all services. `room_id` is the key of the room it is about,
    `key` recognises the command when it is sent again, `fingerprint` tells it from another command with the same id,
    `needs` says what its decision reads, and `screened` what was said of its text.
    """

    __slots__ = ("_secret", "command", "correlation", "fingerprint", "identity", "key", "needs", "room_id", "screened")

    def __init__(self, command: ChatCommand, identity: Identity, correlation: str, secret: LogSecret) -> None:
        """Derive the ids of a command. Raises `Reject` if it names a room by a text that cannot be a room's id."""
        self.command = command
        self.identity = identity
        self.correlation = correlation
        self.room_id: int = room_of(command, identity.user_id, secret)
        self.key: UUID = event_id(self.room_id, identity.user_id, command.id)
        self.fingerprint: int = secret.fingerprint(command)
        self.needs: Needs = needs(command)
        self._secret = secret
        self.screened: Screened | None = None

    def code(self, sequence: int) -> str:
        """Return the code of the link that the command made, or ''."""
        return code_of(self._secret, self.room_id, sequence) if isinstance(self.command, CreateInvite) else ""

    def event_id(self, index: int) -> UUID:
        """Return the id of the command's event with this index. The id of the first event is the command's key."""
        return event_id(self.room_id, self.identity.user_id, self.command.id, index) if index else self.key


class Accepted(NamedTuple):
    """The result of a command, the same whenever it is sent: its event, or None if nothing had to change.

    Of several events, it is the message if there is one, else the first.

    `room` is the room right after the command, or as it is now for a resend. It is None if the ack shows no room, or if
    the sender may not see the room any more. `sequence` is that of the event, or of the one that had made things so
    before.
    """

    room: Room | None
    recorded: Recorded | None
    sequence: int
    code: str = ""
    """The code of the link that a command made."""


Outcome = Accepted | Reject


@dataclass(frozen=True, slots=True)
class Remembered:
    """An accepted command that appended nothing. At `sequence` the room already was as the command wanted it."""

    fingerprint: int
    sequence: int


@dataclass(slots=True)
class LoadedState:
    """The state that a batch is decided against, read while its rooms are locked."""

    now: datetime
    rooms: dict[int, Room] = field(default_factory=dict[int, Room])
    earlier: dict[UUID, list[Recorded] | Remembered] = field(default_factory=dict[UUID, "list[Recorded] | Remembered"])
    """By command key, what an earlier send led to: its events in order, at least one, or that it appended nothing."""
    joined: dict[str, int] = field(default_factory=dict[str, int])
    """How many rooms a sender is in; only for commands that need it."""
    invitations: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    """How many invitations wait, by room and inviter; only for commands that need it."""
    messages: dict[int, RoomMessages] = field(default_factory=dict[int, RoomMessages])
    """By room, the messages that commands of this batch are about, and what became of them."""
    restricted: dict[int, int] = field(default_factory=dict[int, int])
    """For how many users something holds, by room; only for commands that need it."""
    posted: dict[tuple[int, str], datetime] = field(default_factory=dict[tuple[int, str], datetime])
    """When senders last wrote, by room and sender; only in rooms with slow mode."""
    blocks: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Which users have blocked which, of those whom commands need."""
    absent: set[str] = field(default_factory=set[str])
    """The people of direct rooms who are being erased."""
    uploads: dict[str, dict[UUID, Attachment]] = field(default_factory=dict[str, dict[UUID, Attachment]])
    """By user, the uploads that commands of theirs want to attach and may, locked until the commit."""
    erasing: dict[UUID, bool] = field(default_factory=dict[UUID, bool])
    """By command key, the commands that an erasure forbids: true if their room is being erased, false if it is a user.
    """


class People(NamedTuple):
    """What a room has of people besides memberships, at one moment."""

    restrictions: dict[str, Restrictions]
    participants: set[str]
    invites: dict[int, Invite]

    @classmethod
    def of(cls, room: Room | None) -> People:
        """Copy it from a room."""
        if room is None:
            return cls({}, set(), {})
        return cls(dict(room.restrictions), set(room.participants), dict(room.invites))


def _changed_keys(before: Mapping[KeyT, object], now: Mapping[KeyT, object]) -> list[KeyT]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


@dataclass(slots=True)
class BatchDecision:
    """What a decided batch appends and projects."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    appended: list[Recorded] = field(default_factory=list[Recorded])
    created: dict[int, Room] = field(default_factory=dict[int, Room])
    changed_rooms: dict[int, Room] = field(default_factory=dict[int, Room])
    members: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])
    """The memberships that changed, as `(room, user)`. The room's state says to what."""
    restrictions: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])
    """For which users something else holds now, as `(room, user)`."""
    participants: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])
    """The new people of direct rooms, as `(room, user)`."""
    invites: dict[tuple[int, int], None] = field(default_factory=dict[tuple[int, int], None])
    """The links that came, changed or went, as `(room, sequence)`."""
    remembered: dict[UUID, tuple[int, Remembered]] = field(default_factory=dict[UUID, tuple[int, Remembered]])
    """By command key, accepted commands that appended nothing, each with its room."""
    confirmed: list[tuple[str, MembershipChange]] = field(default_factory=list[tuple[str, MembershipChange]])
    """Users' joins and leaves that were committed earlier. They are published again, because they may have been lost.
    """
    messages: dict[int, RoomMessages] = field(default_factory=dict[int, RoomMessages])
    """By room, what became of its messages; what of it changed is in their `touched`."""
    forgotten: dict[tuple[int, int], list[str]] = field(default_factory=dict[tuple[int, int], list[str]])
    """By `(room, sequence)` of an erased event, the texts that the room had from it and that are removed from it."""
    attached: dict[UUID, tuple[int, int]] = field(default_factory=dict[UUID, tuple[int, int]])
    """By upload, the message that it belongs to from now on, as `(room, sequence)`."""
    repeated: dict[tuple[int, int], Recorded] = field(default_factory=dict[tuple[int, int], Recorded])
    """Events that resent commands led to earlier. They are published again, for the same reason."""

    @property
    def announces(self) -> bool:
        """Whether there is anything to publish."""
        return bool(self.appended or self.confirmed or self.repeated)

    @property
    def stores(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.appended or self.remembered)

    def note_people(self, before: People, room: Room) -> None:
        """Note what an event changed besides memberships, of a room that was as `before`."""
        room_id, now = room.room_id, People.of(room)
        for user_id in _changed_keys(before.restrictions, now.restrictions):
            self.restrictions[room_id, user_id] = None
        for user_id in now.participants - before.participants:
            self.participants[room_id, user_id] = None
        for invite in _changed_keys(before.invites, now.invites):
            self.invites[room_id, invite] = None

    def forget(self, room: Room, texts: Collection[str]) -> None:
        """Let a room lose these texts as far as it has them from erased events, which lose them too."""
        for sequence, text in drop_texts(room, texts):
            self.forgotten.setdefault((room.room_id, sequence), []).append(text)
