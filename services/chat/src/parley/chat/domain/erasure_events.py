"""The event by which everybody who follows a room learns that events of it were erased."""

from __future__ import annotations

from typing import ClassVar

from parley.chat.domain.events import EventData


class EventsErased(EventData, frozen=True):
    """Events of this room were erased, those in these ranges of sequences: clients and consumers drop what they keep.

    No person wrote it, so it is never erased itself.
    """

    TYPE: ClassVar[str] = "events.erased"
    NUMBER: ClassVar[int] = 8
    CHANGES_DECISIONS: ClassVar[bool] = False

    ranges: list[tuple[int, int]]
