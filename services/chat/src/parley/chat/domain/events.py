"""What all events of rooms have in common: facts, in the past tense, as they are stored and as clients see them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec

DataT = TypeVar("DataT")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment, with its zone; documents then say that it is one."""
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the data of one version those of the next."""


class NamedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user named in an event: as they were called then, whatever today's limits are."""

    id: str
    name: str | None = None


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one type of event holds.

    `TYPE` is its name on the wire and `NUMBER` its name in the log; neither ever changes, nor is it used again. A
    change of fields that old data do not fit, or of a default, is a new version: it comes with an upcaster, and the
    version is one more than their number. `IS_MESSAGE` gives the event the next number of a message.
    `CHANGES_DECISIONS` says that decisions read what it changes: what is known of the room from before is out of date.
    """

    TYPE: ClassVar[str]
    NUMBER: ClassVar[int]
    UPCASTERS: ClassVar[tuple[Upcaster, ...]] = ()
    IS_MESSAGE: ClassVar[bool] = False
    CHANGES_DECISIONS: ClassVar[bool] = True


class ClientEvent(msgspec.Struct, Generic[DataT], frozen=True, omit_defaults=True):
    """`{type, room, sequence, event_id, at, actor: {id, name}, data, id, number?, erased?}`.

    `id` is the id of the command that led to it, for its sender to recognise. Messages have a `number`: 1 is the room's
    first message, and none is left out. Of one that is `erased` only type, room, places and time are left: `data` is
    `{}`, and the ids of actor and command are empty.
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
