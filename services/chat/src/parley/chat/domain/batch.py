"""Decides a batch of commands in order, pure. The writer calls it with the rooms' locks held.

A command sees what earlier commands of the same batch changed. A rejected command changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.invite_codes import code_of
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import LogSecret, event_id
from parley.chat.domain.erasure import drop_texts, texts_dropped_by
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.amendments import amend
from parley.chat.domain.messages.decisions import MessageEvent
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.people.invites import CreateInvite
from parley.chat.domain.room import (
    ChatCommand,
    ChatEvent,
    changed_member,
    decide,
    evolve,
    needs,
    room_of,
    sequence_when_done,
)
from parley.chat.domain.rooms import CreateRoom, RoomArchived, RoomCreated, RoomUnarchived
from parley.chat.domain.state import (
    NO_UPLOADS,
    DecisionContext,
    Invite,
    Needs,
    Restrictions,
    Room,
    Screened,
    UserLimits,
)
from parley.common.errors import Code, Reject
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


def decide_batch(submissions: list[Submission], loaded: LoadedState, limits: UserLimits) -> BatchDecision:
    """Decide every command in order. Never raises for one of them: the outcome of a refused command is its `Reject`."""
    result = BatchDecision()
    for submission in submissions:
        try:
            outcome: Outcome = _decide_one(submission, loaded, limits, result)
        except Reject as rejection:
            outcome = rejection
        result.outcomes.append(outcome)
    return result


def _decide_one(submission: Submission, loaded: LoadedState, limits: UserLimits, result: BatchDecision) -> Accepted:
    command, identity, room_id = submission.command, submission.identity, submission.room_id
    room = loaded.rooms.get(room_id)
    # Looked up before anything is decided: a resent command gets its first result, even if it would be refused by now.
    # A room that its sender may not lock is not loaded, so nobody learns by a guessed id what others have sent.
    if room is not None and (earlier := loaded.earlier.get(submission.key)) is not None:
        return _again(submission, room, earlier, loaded, result)
    if (of_room := loaded.erasing.get(submission.key)) is not None:
        # In the words for a room that does not exist: from the request on, an erased room exists for nobody.
        if of_room:
            raise Reject(Code.NOT_FOUND, "There is no such room.")
        raise Reject(Code.FORBIDDEN, "What this user wrote is being erased.")
    context = DecisionContext(
        identity,
        limits,
        loaded.joined.get(identity.user_id, 0),
        loaded.invitations.get((room_id, identity.user_id), 0),
        loaded.now,
        loaded.messages.setdefault(room_id, RoomMessages()),
        restricted=loaded.restricted.get(room_id, 0),
        posted=loaded.posted.get((room_id, identity.user_id)),
        blocks=loaded.blocks,
        absent=loaded.absent,
        screened=submission.screened,
        uploads=loaded.uploads.get(identity.user_id, NO_UPLOADS),
    )
    events = decide(command, room, context)
    if events:
        recorded = [_append(submission, index, event, loaded, result) for index, event in enumerate(events)]
        # So that a resend later in the same batch finds it.
        loaded.earlier[submission.key] = recorded
        told = _acked_event(recorded)
        shown = _shown(submission, loaded.rooms[room_id])
        return Accepted(shown, told, told.sequence, submission.code(told.sequence))
    assert room is not None  # noqa: S101 - without a room, decide either makes one or refuses
    remembered = Remembered(submission.fingerprint, sequence_when_done(command, room, context))
    loaded.earlier[submission.key] = remembered
    result.remembered[submission.key] = room_id, remembered
    _confirm(submission, room, remembered.sequence, result)
    return Accepted(_shown(submission, room), None, remembered.sequence)


def _again(
    submission: Submission, room: Room, earlier: list[Recorded] | Remembered, loaded: LoadedState, result: BatchDecision
) -> Accepted:
    """Return the first result of a command that is sent again. Raises `Reject(id_conflict)` for another command."""
    events = [] if isinstance(earlier, Remembered) else earlier
    first = earlier if isinstance(earlier, Remembered) else earlier[0]
    # An erased event has lost its fingerprint, so its id alone has to recognise the command.
    if first.fingerprint != submission.fingerprint and not (events and events[0].erased):
        raise Reject(Code.ID_CONFLICT)
    for recorded in events:
        result.repeated[room.room_id, recorded.sequence] = recorded
    _confirm(submission, room, first.sequence, result)
    shown = None if submission.key in loaded.erasing else _shown(submission, room)
    if not events:
        return Accepted(shown, None, first.sequence)
    told = _acked_event(events)
    return Accepted(shown, told, told.sequence, submission.code(told.sequence))


def _acked_event(events: list[Recorded]) -> Recorded:
    """Return the event of a command that its ack tells of."""
    return next((one for one in events if one.type == MessageSent.TYPE), events[0])


def _shown(submission: Submission, room: Room) -> Room | None:
    """Return the room for the command's ack, or None.

    A sender who has left a private room since the first send sees nothing.
    """
    user_id = submission.identity.user_id
    return room.as_seen_by(user_id) if submission.command.SHOWS_ROOM and room.visible_to(user_id) else None


def _confirm(submission: Submission, room: Room, sequence: int, result: BatchDecision) -> None:
    """Publish a resent join or leave again. Its sender may resend it because the first publication was lost."""
    user_id = submission.identity.user_id
    member = room.members.get(user_id)
    if isinstance(submission.command, CreateRoom | JoinRoom | OpenDirect) and member and member.joined:
        result.confirmed.append((user_id, MembershipChange(room.id, True, member.sequence)))
    elif isinstance(submission.command, LeaveRoom) and member is None:
        result.confirmed.append((user_id, MembershipChange(room.id, False, sequence)))


def _append(
    submission: Submission, index: int, event: ChatEvent, loaded: LoadedState, result: BatchDecision
) -> Recorded:
    command, identity, room_id = submission.command, submission.identity, submission.room_id
    before = loaded.rooms.get(room_id)
    sequence, messages = (before.head + 1, before.messages) if before else (1, 0)
    recorded = Recorded(
        room_id, sequence, messages + event.IS_MESSAGE, submission.event_id(index), event.TYPE, identity.user_id,
        identity.name, command.id, submission.fingerprint, CODEC.encode(event).data, loaded.now,
    )  # fmt: skip
    # Later commands of this batch are decided by the same counts of rooms and invitations, so each event keeps them
    # right: its user's membership is subtracted as it was, and added as it is afterwards.
    user_id = changed_member(event, identity.user_id)
    _uncount(loaded, before, user_id, archived=isinstance(event, RoomArchived))
    people = People.of(before) if event.CHANGES_DECISIONS else None
    if before is not None:
        result.forget(before, texts_dropped_by(before, event))
    room = evolve(before, event, room_id, sequence, NamedUser(identity.user_id, identity.name), loaded.now)
    _count(loaded, room, user_id, unarchived=isinstance(event, RoomUnarchived))
    if isinstance(event, MessageEvent):
        messages = loaded.messages.setdefault(room_id, RoomMessages())
        amend(messages, event, sequence, NamedUser(identity.user_id, identity.name), loaded.now)
        result.messages[room_id] = messages
    loaded.rooms[room_id] = room
    if event.IS_MESSAGE:
        loaded.posted[room_id, identity.user_id] = loaded.now
    if people is not None:
        result.note_people(people, room)
        loaded.restricted[room_id] = (
            loaded.restricted.get(room_id, 0) + len(room.restrictions) - len(people.restrictions)
        )
    result.appended.append(recorded)
    if isinstance(event, RoomCreated):
        result.created[room_id] = room
    elif room_id not in result.created:
        result.changed_rooms[room_id] = room
    if user_id is not None:
        result.members[room_id, user_id] = None
    if isinstance(event, MessageSent) and event.attachments:
        for one in event.attachments:
            # So that a later message of this batch does not find it any more.
            del loaded.uploads[identity.user_id][one.id]
            result.attached[one.id] = room_id, sequence
    return recorded


def _uncount(loaded: LoadedState, room: Room | None, user_id: str | None, *, archived: bool) -> None:
    """Subtract the membership that an event changes from the counts.

    An archived room takes all of its memberships with it.
    """
    if room is None:
        return
    for moved in room.members if archived else (user_id,):
        member = room.members.get(moved or "")
        if member is None:
            continue
        if member.joined and not room.archived and member.user_id in loaded.joined:
            loaded.joined[member.user_id] -= 1
        if member.invited_by is not None and (room.room_id, member.invited_by) in loaded.invitations:
            loaded.invitations[room.room_id, member.invited_by] -= not archived


def _count(loaded: LoadedState, room: Room, user_id: str | None, *, unarchived: bool) -> None:
    """Add the membership that an event made to the counts. A room that is open again brings all of its memberships."""
    for moved in room.members if unarchived else (user_id,):
        member = room.members.get(moved or "")
        if member is None:
            continue
        if member.joined and not room.archived and member.user_id in loaded.joined:
            loaded.joined[member.user_id] += 1
        if member.invited_by is not None and (room.room_id, member.invited_by) in loaded.invitations:
            loaded.invitations[room.room_id, member.invited_by] += not unarchived
