"""Which types of events a consumer is handed, pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import get_args

from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.room import ChatEvent


def matching(pattern: str) -> list[int]:
    """Return the numbers of the types of events that match: `*`, `message.*`, or several patterns separated by commas.

    If any type matches, so does `events.erased`: a consumer has to learn which events it may not keep.
    """
    parts = [part.strip() for part in pattern.split(",")]
    found = {kind.NUMBER for kind in get_args(ChatEvent) if any(fnmatchcase(kind.TYPE, part) for part in parts)}
    return sorted(found | {EventsErased.NUMBER}) if found else []
