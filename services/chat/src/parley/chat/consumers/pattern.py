"""Which types of events a consumer gets, pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import get_args

from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.room import Event


def matching(pattern: str) -> list[int]:
    """The numbers of the types of events that match: `*`, `message.*`, or several with commas between them.

    With any of them goes `events.erased`: whoever is handed events has to hear which of them it may not keep.
    """
    parts = [part.strip() for part in pattern.split(",")]
    found = {kind.NUMBER for kind in get_args(Event) if any(fnmatchcase(kind.TYPE, part) for part in parts)}
    return sorted(found | {EventsErased.NUMBER}) if found else []
