"""Erasure, pure: what it covers, and what is left of an event. It takes what a person wrote out of the log for good.

| state     | begins when                             | what it means                                                  |
|-----------|-----------------------------------------|----------------------------------------------------------------|
| requested | the request is committed                | nobody reads what it covers any more; its user's commands, and |
|           |                                         | those for its room, are refused                                |
| executing | the ledger outside the database has it  | batch after batch is overwritten; what is done stays done      |
| completed | all of the log has been gone through    | it is neither in the log nor in its projections; commands of   |
|           |                                         | the user are taken again                                       |

There is no way back, and none from `completed`: who asks again asks for another one.

An erased event keeps its type, place, time and event id: sequences and numbers stay gapless, and a command that is sent
again is still recognised. Of its data only that is left without which a room could not be made from its log any more,
about other people than the one who was erased. Who erases, and who may ask, is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MembershipEvent
from parley.chat.domain.room import evolve
from parley.chat.domain.rooms import RoomArchived, RoomCreated, RoomUpdated
from parley.chat.domain.state import Room

MEMBERSHIP_TYPES = frozenset(kind.TYPE for kind in get_args(MembershipEvent))
NAMING_TYPES = frozenset((RoomCreated.TYPE, RoomUpdated.TYPE))
"""Types of events that give a room its name and its topic."""
_TOLD = frozenset((RoomUpdated.TYPE, RoomArchived.TYPE))
_PRIVATE = b'{"name":"","kind":"private"}'


class Scope(StrEnum):
    """What an erasure is of: all that a user wrote, one message, a room, or messages older than a moment."""

    USER = "user"
    MESSAGE = "message"
    ROOM = "room"
    AGE = "age"


class ErasureState(StrEnum):
    """How far an erasure is; see the table above."""

    REQUESTED = "requested"
    EXECUTING = "executing"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. Which of the fields in the middle it has follows from its scope.

    The ledger outside of the database has it if it is `noted`, and had it before the database if it is `repeated`.
    What is before the place `at_room`, `at_sequence` is done; `events` counts what was erased so far.
    """

    id: UUID
    scope: Scope
    user_id: str | None
    room_id: int | None
    event_id: UUID | None
    before: datetime | None
    requested_at: datetime
    noted: bool = False
    repeated: bool = False
    started_at: datetime | None = None
    completed_at: datetime | None = None
    at_room: int | None = None
    at_sequence: int = 0
    events: int = 0

    @property
    def state(self) -> ErasureState:
        """How far it is."""
        if self.completed_at is not None:
            return ErasureState.COMPLETED
        return ErasureState.REQUESTED if self.started_at is None else ErasureState.EXECUTING

    def covers(self, recorded: Recorded) -> bool:
        """Whether an event that is not erased falls under it, whatever its state."""
        match self.scope:
            case Scope.USER:
                return self.user_id in {recorded.actor_id, _subject(recorded.type, recorded.data)}
            case Scope.MESSAGE:
                return self.event_id == recorded.event_id
            case Scope.ROOM:
                return self.room_id == recorded.room_id and recorded.type != EventsErased.TYPE
            case Scope.AGE:
                assert self.before is not None  # noqa: S101 - follows from the scope
                return CODEC.kind(recorded.type).IS_MESSAGE and recorded.recorded_at < self.before

    def erase(self, recorded: Recorded, *, names_room: bool = False) -> Recorded:
        """What is left of an event that it covers.

        One that `names_room`, in which there are others, keeps the name and the topic, which are theirs by now. A room
        that is erased itself exists for nobody any more, and so is private.
        """
        data = recorded.data
        if self.scope is Scope.ROOM:
            data = _PRIVATE if recorded.type == RoomCreated.TYPE else residue(recorded.type, b"{}")
        elif self.user_id is not None and _subject(recorded.type, data) == self.user_id:
            data = NOTHING
        elif not (names_room and recorded.type in NAMING_TYPES):
            data = residue(recorded.type, data)
        return _without(recorded, data)


def residue(kind: str, data: bytes) -> bytes:
    """What rooms need of an event's data without its texts and names: who was moved to where, and a room's kind."""
    if kind == RoomUpdated.TYPE:
        return b'{"name":""}'
    if kind not in MEMBERSHIP_TYPES and kind != RoomCreated.TYPE:
        return NOTHING
    found: dict[str, Any] = msgspec.json.decode(data)
    if kind == RoomCreated.TYPE:
        return msgspec.json.encode({"name": "", "kind": found["kind"]})
    if "user" not in found:
        return NOTHING
    return msgspec.json.encode({**found, "user": {"id": found["user"]["id"]}})


def hidden(recorded: Recorded) -> Recorded:
    """An event as it is read while an erasure covers it that is not completed. Whom it moves, gateways still learn."""
    return _without(recorded, residue(recorded.type, recorded.data))


def evolve_recorded(room: Room | None, recorded: Recorded) -> Room:
    """The room after an event, erased or not. Changes `room` in place, except for the event that makes it."""
    place = recorded.room_id, recorded.sequence
    actor = NamedUser(recorded.actor_id, recorded.actor_name)
    if not recorded.erased:
        return evolve(room, recorded.event(), *place, actor, recorded.recorded_at)
    if recorded.type == RoomCreated.TYPE:
        room = evolve(None, recorded.event(), *place, actor, recorded.recorded_at)
        # Its maker has left since, and is not known any more.
        room.members.clear()
        room.member_count = 0
        return room
    if recorded.type in _TOLD or (recorded.type in MEMBERSHIP_TYPES and recorded.data != NOTHING):
        return evolve(room, recorded.event(), *place, actor, recorded.recorded_at)
    if room is None:
        raise ValueError(f"room {recorded.room_id} begins with {recorded.type}")
    kind = CODEC.kind(recorded.type)
    room.head = recorded.sequence
    room.messages += kind.IS_MESSAGE
    if kind.CHANGES_DECISIONS:
        room.changed = recorded.sequence
    return room


def ranges(sequences: list[int]) -> list[tuple[int, int]]:
    """Sorted sequences as ranges, first and last of each."""
    found: list[tuple[int, int]] = []
    for sequence in sequences:
        if found and found[-1][1] == sequence - 1:
            found[-1] = found[-1][0], sequence
        else:
            found.append((sequence, sequence))
    return found


def _subject(kind: str, data: bytes) -> str | None:
    """The user whom an event of membership is about."""
    if kind not in MEMBERSHIP_TYPES:
        return None
    return msgspec.json.decode(data).get("user", {}).get("id")


def _without(recorded: Recorded, data: bytes) -> Recorded:
    return recorded._replace(data=data, actor_id="", actor_name="", command_id="", fingerprint=0, erased=True)
