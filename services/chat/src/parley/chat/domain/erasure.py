"""Erasure, pure: what it covers, and what remains of an event.

An erasure removes what a person wrote from the log for good.

| state     | begins when                                 | what it means                                              |
|-----------|---------------------------------------------|------------------------------------------------------------|
| requested | the request is committed                    | nobody can read what it covers; its user's commands, and   |
|           |                                             | commands for its room, are refused                         |
| executing | the ledger outside the database has it      | events are overwritten batch by batch; each batch is final |
| completed | the executor has gone through the whole log | neither log nor projections have it; the user's commands   |
|           |                                             | are accepted again                                         |

There is no way back, and none out of `completed`: asking again begins another erasure.

An erased event keeps its type, sequence, number, time and event id, so that sequences and numbers have no gaps and a
resent command is still recognised. Its data keep only what other people's rooms could not be rebuilt without.
`log.erasure` executes erasures and decides when.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args
from uuid import UUID

import msgspec

from parley.chat.domain.custom_data import custom_text
from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.events import NamedUser, WhenErased
from parley.chat.domain.membership import MemberLeft
from parley.chat.domain.room import ChatEvent, evolve
from parley.chat.domain.rooms import RoomCreated, RoomUpdated
from parley.chat.domain.state import Room


def _types(holds: Callable[[WhenErased], Any]) -> frozenset[str]:
    return frozenset(kind.TYPE for kind in get_args(ChatEvent) if holds(kind.WHEN_ERASED))


# All of this follows from what the types of events say of themselves (`WhenErased`).
ABOUT_USERS = _types(lambda rule: rule.about_user)
"""The types of events that are about one user each, whoever the actor is; they name the user in `user`."""
ABOUT_MESSAGES = _types(lambda rule: rule.about_message)
"""The types of events of which it stays known which message they were about."""
TEXT_TYPES = _types(lambda rule: rule.message_text)
"""The types of events that hold the text of a message."""
NAMING_TYPES = _types(lambda rule: rule.room_texts)
"""The types of events that give a room its name, its topic and its custom data."""
KEEPING_TYPES = _types(lambda rule: rule.keeps or rule.room_texts)
"""The types of events of which something is left."""
NEVER_COVERED = _types(lambda rule: not rule.covered)
"""The types of events that nobody wrote."""
TEXTS = RoomCreated.WHEN_ERASED.room_texts
"""The texts that a room has by these events; custom data is one, as JSON."""
_PRIVATE = b'{"name":"","kind":"private"}'


class ErasureScope(StrEnum):
    """What an erasure is about: all that a user wrote, one message, a room, or the messages before some moment."""

    USER = "user"
    MESSAGE = "message"
    ROOM = "room"
    AGE = "age"


class ErasureState(StrEnum):
    """The states of the table above."""

    REQUESTED = "requested"
    EXECUTING = "executing"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. Its scope decides which of the fields from `user_id` to `before` it has.

    `noted` says that the ledger outside of the database has it, `repeated` that the ledger had it before the database
    did. The executor is done with everything before `at_room`, `at_sequence`; `events` counts what it has erased so
    far.
    """

    id: UUID
    scope: ErasureScope
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
        """Which state the erasure is in."""
        if self.completed_at is not None:
            return ErasureState.COMPLETED
        return ErasureState.REQUESTED if self.started_at is None else ErasureState.EXECUTING

    def covers(self, recorded: Recorded) -> bool:
        """Return whether the erasure covers an event, whatever state the erasure is in.

        One that is erased is covered again by what is left in it of somebody else, and by its room.
        """
        match self.scope:
            case ErasureScope.USER:
                return self.user_id in {recorded.actor_id, _subject(recorded.type, recorded.data)}
            case ErasureScope.MESSAGE:
                # Whoever goes through the log adds the edits of the message, which come after it.
                return self.event_id == recorded.event_id
            case ErasureScope.ROOM:
                return self.room_id == recorded.room_id and recorded.type not in NEVER_COVERED
            case ErasureScope.AGE:
                assert self.before is not None  # noqa: S101 - follows from the scope
                return recorded.type in TEXT_TYPES and recorded.recorded_at < self.before

    def erase(self, recorded: Recorded, *, keeps: Collection[str] = ()) -> Recorded:
        """Return what remains of an event that the erasure covers.

        `keeps` has which of `TEXTS` the room has from this event while others are in the room: they are
        theirs by now, and stay until the room has others or nobody is in it (`drop_texts`). A room that is erased
        itself becomes private, so that it exists for nobody.
        """
        data = recorded.data
        if self.scope is ErasureScope.ROOM:
            # Nothing of its messages is left, so no thread and no pin is any more.
            stays = data if CODEC.kind(recorded.type).WHEN_ERASED.outlives_room else NOTHING
            data = _PRIVATE if recorded.type == RoomCreated.TYPE else redacted(recorded.type, stays)
        elif self.user_id is not None and _subject(recorded.type, data) == self.user_id:
            data = NOTHING
        else:
            data = redacted(recorded.type, data, keeps)
        return _without(recorded, data)


def redacted(kind: str, data: bytes, keeps: Collection[str] = ()) -> bytes:
    """Return what a room needs of an event's data without texts and names, but for those of its texts that it `keeps`.

    That is which user moved to where or follows which thread, which kind of room it is, which of its texts changed,
    which message is a reply in which thread, and which one was deleted or pinned.
    """
    if kind in NAMING_TYPES:
        return forget_texts(kind, data, [text for text in TEXTS if text not in keeps])
    rule = CODEC.kind(kind).WHEN_ERASED
    found: dict[str, Any] = msgspec.json.decode(data)
    kept = {name: found[name] for name in rule.keeps if name in found}
    if rule.about_user and kept.keys().isdisjoint({"user", "role"}):
        return NOTHING
    if "user" in kept:
        kept["user"] = {"id": kept["user"]["id"]}
    return msgspec.json.encode(kept)


def forget_texts(kind: str, data: bytes, texts: Collection[str]) -> bytes:
    """Return the data of an event that names its room with these of its texts empty, if it has them."""
    event = CODEC.read(kind, data)
    empty: dict[str, Any] = {text: type(said)() for text in texts if (said := getattr(event, text)) is not None}
    return CODEC.encode(msgspec.structs.replace(event, **empty)).data


def text_of(event: ChatEvent, text: str) -> str:
    """Return one of the texts that an event gives its room, as the room keeps it; an empty one if it gives none."""
    said: str | dict[str, Any] | None = getattr(event, text)
    return custom_text(said) if isinstance(said, dict) else said or ""


def drop_texts(room: Room, texts: Collection[str]) -> list[tuple[int, str]]:
    """Take these texts out of a room as far as erased events hold them. Returns the events' sequences with the texts.

    Whoever calls this removes the texts from these events in the same transaction.
    """
    found: list[tuple[int, str]] = []
    for text in texts:
        sequence: int | None = getattr(room, f"{text}_kept_in")
        if sequence is not None:
            found.append((sequence, text))
            setattr(room, text, "")
            setattr(room, f"{text}_kept_in", None)
    return found


def texts_dropped_by(room: Room, event: ChatEvent) -> Collection[str]:
    """Return the texts that a room does not keep when an event is appended, which is not applied to it yet.

    These are the texts that others replace, and all when the last member leaves.
    """
    if isinstance(event, RoomUpdated):
        return [text for text in TEXTS if getattr(event, text) is not None]
    last = isinstance(event, MemberLeft) and room.member_count == 1 and room.is_in(event.user.id)
    return TEXTS if last else ()


def hidden(recorded: Recorded) -> Recorded:
    """Return an event as it is read while an open erasure covers it. Gateways still learn who joined or left by it."""
    return _without(recorded, redacted(recorded.type, recorded.data))


def evolve_recorded(room: Room | None, recorded: Recorded) -> Room:
    """Return the room after an event, erased or not.

    It changes `room` in place, except for the event that creates the room.
    """
    place = recorded.room_id, recorded.sequence
    actor = NamedUser(recorded.actor_id, recorded.actor_name)
    if not recorded.erased:
        return evolve(room, recorded.event(), *place, actor, recorded.recorded_at)
    if recorded.type == RoomCreated.TYPE:
        room = evolve(None, recorded.event(), *place, actor, recorded.recorded_at)
        # An erased creator has left since, and is not known any more.
        room.members.clear()
        room.participants.clear()
        room.member_count = 0
        return _keeping(room, recorded)
    # What such an event says of others still holds; everything else only moves the head and the counts.
    if recorded.applies:
        return _keeping(evolve(room, recorded.event(), *place, actor, recorded.recorded_at), recorded)
    if room is None:
        raise ValueError(f"room {recorded.room_id} begins with {recorded.type}")
    kind = CODEC.kind(recorded.type)
    room.head = recorded.sequence
    room.messages += kind.IS_MESSAGE
    if kind.CHANGES_DECISIONS:
        room.changed = recorded.sequence
    return room


def _keeping(room: Room, erased: Recorded) -> Room:
    """Return the room, which is told what texts of its own an erased event still holds."""
    if erased.type in NAMING_TYPES:
        event = erased.event()
        for text in TEXTS:
            if getattr(event, text):
                setattr(room, f"{text}_kept_in", erased.sequence)
    return room


def ranges(sequences: list[int]) -> list[tuple[int, int]]:
    """Return sorted sequences as ranges, each with its first and its last."""
    found: list[tuple[int, int]] = []
    for sequence in sequences:
        if found and found[-1][1] == sequence - 1:
            found[-1] = found[-1][0], sequence
        else:
            found.append((sequence, sequence))
    return found


def _subject(kind: str, data: bytes) -> str | None:
    """Return the user whom an event is about; None for events that are about no user."""
    if kind not in ABOUT_USERS:
        return None
    return msgspec.json.decode(data).get("user", {}).get("id")


def _without(recorded: Recorded, data: bytes) -> Recorded:
    return recorded._replace(data=data, actor_id="", actor_name="", command_id="", fingerprint=0, erased=True)
