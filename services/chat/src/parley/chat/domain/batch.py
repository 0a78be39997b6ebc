"""Deciding a batch, pure: many commands against the loaded state, in order, each on its own.

What an earlier command of the batch changed, a later one sees. A rejected command leaves no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from parley.chat.domain.commands import CreateRoom, InviteUser, JoinRoom, LeaveRoom, RoomCommand
from parley.chat.domain.events import MemberInvited, MemberJoined, MemberLeft, Recorded, RoomCreated, User
from parley.chat.domain.room import Room, decide, evolve, room_id_of
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MembershipChange


@dataclass(frozen=True, slots=True)
class Submission:
    """One command that waits for its decision."""

    command: RoomCommand
    identity: Identity
    correlation: str

    @property
    def room_id(self) -> str:
        """The room it is about."""
        return room_id_of(self.command, self.identity.user_id)

    @property
    def key(self) -> tuple[str, str, str]:
        """What recognises a resend: room, actor and command id."""
        return self.room_id, self.identity.user_id, self.command.id

    @property
    def joins(self) -> bool:
        """Whether it may add a room to those its sender is in."""
        return isinstance(self.command, CreateRoom | JoinRoom)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command's result: the event it led to, now or the first time; None when nothing had to change."""

    room: Room
    recorded: Recorded | None
    sequence: int


Outcome = Accepted | Reject


@dataclass(slots=True)
class Loaded:
    """The state a batch decides against, read under the locks of its rooms."""

    rooms: dict[str, Room]
    first: dict[tuple[str, str, str], Recorded]
    """Events that earlier sends of these commands led to."""
    joined: dict[str, int]
    """How many rooms the senders of joining commands are in."""


@dataclass(slots=True)
class Plan:
    """What a decided batch appends and projects."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    appended: list[Recorded] = field(default_factory=list[Recorded])
    created: dict[str, Room] = field(default_factory=dict[str, Room])
    changed: dict[str, Room] = field(default_factory=dict[str, Room])
    members: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    """The `(room, user)` places that changed; the room's state says to what."""
    confirmed: list[tuple[str, MembershipChange]] = field(default_factory=list[tuple[str, MembershipChange]])
    """Users' moves that were committed earlier; said again, because the first saying may have been lost."""
    repeated: dict[tuple[str, int], Recorded] = field(default_factory=dict[tuple[str, int], Recorded])
    """Events that resent commands led to earlier; published again, for the same reason."""

    @property
    def announces(self) -> bool:
        """Whether there is anything to tell the gateways."""
        return bool(self.appended or self.confirmed or self.repeated)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision takes from outside: the time, fresh event ids, and the limit of rooms per user."""

    now: datetime
    new_id: Callable[[], UUID]
    max_rooms: int


def plan(submissions: list[Submission], loaded: Loaded, around: Surroundings) -> Plan:
    """Decide every submission in order. Never raises for one of them: its outcome is a `Reject`."""
    result = Plan()
    for submission in submissions:
        try:
            outcome: Outcome = _decide_one(submission, loaded, result, around)
            _confirm(submission, outcome, result)
        except Reject as rejection:
            outcome = rejection
        result.outcomes.append(outcome)
    return result


def _confirm(submission: Submission, accepted: Accepted, result: Plan) -> None:
    """A resent join or leave tells the gateways again: its sender may resend because the first telling was lost."""
    if result.appended and accepted.recorded is result.appended[-1]:
        return
    user_id = submission.identity.user_id
    member = accepted.room.members.get(user_id)
    if submission.joins and member and member.joined:
        result.confirmed.append((user_id, MembershipChange(accepted.room.id, True, member.sequence)))
    elif isinstance(submission.command, LeaveRoom) and member is None:
        result.confirmed.append((user_id, MembershipChange(accepted.room.id, False, accepted.sequence)))


def fingerprint(command: RoomCommand) -> str:
    """Sixteen bytes in hex that tell a resent command from another one under the same id."""
    body = type(command).__name__.encode() + msgspec.json.encode(command)
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _decide_one(submission: Submission, loaded: Loaded, result: Plan, around: Surroundings) -> Accepted:
    command, identity = submission.command, submission.identity
    room_id, user_id = submission.room_id, identity.user_id
    room = loaded.rooms.get(room_id)
    mark = fingerprint(command)
    if (first := loaded.first.get(submission.key)) is not None and room is not None:
        if first.fingerprint != mark:
            raise Reject(Code.ID_CONFLICT)
        result.repeated[room_id, first.sequence] = first
        return Accepted(room, first, first.sequence)

    event = decide(command, room, identity)
    if event is None:
        assert room is not None  # noqa: S101 - decide refuses every command but room.create without a room
        subject = command.user.id if isinstance(command, InviteUser) else user_id
        return Accepted(room, None, room.members[subject].sequence)
    if submission.joins:
        if loaded.joined.get(user_id, 0) >= around.max_rooms:
            raise Reject(Code.LIMIT_EXCEEDED, f"You may be in at most {around.max_rooms} rooms.")
        loaded.joined[user_id] = loaded.joined.get(user_id, 0) + 1

    sequence = room.head + 1 if room else 1
    recorded = Recorded(
        room_id, sequence, around.new_id(), event.TYPE, user_id, identity.name, command.id, mark,
        submission.correlation, msgspec.json.encode(event), around.now,
    )  # fmt: skip
    room = evolve(room, event, room_id, sequence, User(user_id, identity.name), around.now)
    loaded.rooms[room_id] = room
    loaded.first[submission.key] = recorded
    result.appended.append(recorded)
    if isinstance(event, RoomCreated):
        result.created[room_id] = room
        result.members[room_id, user_id] = None
    elif room_id not in result.created:
        result.changed[room_id] = room
    if isinstance(event, MemberInvited | MemberJoined | MemberLeft):
        result.members[room_id, event.user.id] = None
    return Accepted(room, recorded, sequence)
