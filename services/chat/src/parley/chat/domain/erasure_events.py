"""The event that tells everybody who follows a room that events of it were erased."""

from __future__ import annotations

from typing import ClassVar

from parley.chat.domain.events import EventData, WhenErased


class EventsErased(EventData, frozen=True):
    """The events of this room in these ranges of sequences were erased. Clients and consumers drop their copies.

    No person wrote this event, so it is never erased itself.
    """

    TYPE: ClassVar[str] = "events.erased"
    NUMBER: ClassVar[int] = 8
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(covered=False)

    ranges: list[tuple[int, int]]
