"""What all events of rooms have in common. Events are facts in the past tense, stored once and shown to clients."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec

DataT = TypeVar("DataT")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone. The annotation makes the documents say so."""
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A function that turns the data of one version of an event into those of the next version."""


Membership = Literal["", "joins", "leaves", "invited"]


class NamedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user as an event names them: under the name that they had then, whatever limits on names hold today."""

    id: str
    name: str | None = None


class WhenErased(NamedTuple):
    """What is left of the events of one type when they are erased, and whether that still counts.

    - `keeps`: the fields that stay, because rooms could not be rebuilt without them; they say nothing of a person. An
      event that is about a user names them in `user`: of that the id stays, until this user is erased.
    - `room_texts`: the fields that name its room. They become empty, unless the room still has them from this event.
    - `applied`: whether what is left is applied to the room: `if kept`, only if anything is left.
    - `outlives_room`: what is left stays even if the room is erased.
    - `message_text`: it has a message's text, which is erased with the message, and by age.
    - `covered`: whether any erasure covers it; none does if no person wrote it.

    All other fields are lost, texts and names among them, and so is a new field that nobody thought of.
    """

    keeps: tuple[str, ...] = ()
    room_texts: tuple[str, ...] = ()
    applied: Literal["never", "if kept", "always"] = "never"
    outlives_room: bool = False
    message_text: bool = False
    covered: bool = True

    @property
    def about_user(self) -> bool:
        """Whether the event is about one user, whoever the actor is."""
        return "user" in self.keeps

    @property
    def about_message(self) -> bool:
        """Whether it stays known of which message the event was."""
        return not self.about_user and not {"message", "thread"}.isdisjoint(self.keeps)


def about_user(*keeps: str) -> WhenErased:
    """Return what is left of an event about a user: the user's id and these fields."""
    return WhenErased(("user", *keeps), applied="if kept")


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of one type of event.

    `TYPE` is its name on the wire, `NUMBER` its name in the log; neither ever changes nor is used again. A new version
    is needed when old data do not fit the fields any more, or when a default changes: it comes with an upcaster, and
    the current version is the number of upcasters plus one. `IS_MESSAGE` gives the event the room's next message
    number. `CHANGES_DECISIONS` says that decisions read what the event changes, so that what a writer knew of the room
    is outdated. `MEMBERSHIP` says what becomes of the event's user, which is told to them alone too; with a new room,
    its actor joins. `WHEN_ERASED` says what an erasure leaves of it: each type says so itself, or the codec refuses it.
    """

    TYPE: ClassVar[str]
    NUMBER: ClassVar[int]
    UPCASTERS: ClassVar[tuple[Upcaster, ...]] = ()
    IS_MESSAGE: ClassVar[bool] = False
    CHANGES_DECISIONS: ClassVar[bool] = True
    MEMBERSHIP: ClassVar[Membership] = ""
    WHEN_ERASED: ClassVar[WhenErased]


class ClientEvent(msgspec.Struct, Generic[DataT], frozen=True, omit_defaults=True):
    """`{type, room, sequence, event_id, at, actor: {id, name}, data, id, number?, erased?}`.

    `id` is the id of the command that led to the event, by which the sender recognises it. Messages have a `number`: it
    is 1 for the room's first message, and has no gaps. An event that is `erased` keeps its type, room, sequence, number
    and time; its `data` is `{}`, and the ids of its actor and command are empty.
    """

    type: str
    room: str
    sequence: int
    event_id: UUID
    at: Instant
    actor: NamedUser
    data: DataT
    id: str
    number: int | None = None
    erased: bool = False
