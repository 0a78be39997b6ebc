"""What all events of rooms have in common. Events are facts in the past tense, stored once and shown to clients."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec

DataT = TypeVar("DataT")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone. The annotation makes the documents say so."""
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A function that turns the data of one version of an event into those of the next version."""


class NamedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user as an event names them: under the name that they had then, whatever limits on names hold today."""

    id: str
    name: str | None = None


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of one type of event.

    `TYPE` is its name on the wire, `NUMBER` its name in the log; neither ever changes nor is used again. A new version
    is needed when old data do not fit the fields any more, or when a default changes: it comes with an upcaster, and
    the current version is the number of upcasters plus one. `IS_MESSAGE` gives the event the room's next message
    number. `CHANGES_DECISIONS` says that decisions read what the event changes, so that what a writer knew of the room
    is outdated.
    """

    TYPE: ClassVar[str]
    NUMBER: ClassVar[int]
    UPCASTERS: ClassVar[tuple[Upcaster, ...]] = ()
    IS_MESSAGE: ClassVar[bool] = False
    CHANGES_DECISIONS: ClassVar[bool] = True


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
