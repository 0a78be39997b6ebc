"""One wheel for the heartbeats of all sessions and the timeouts of the engine, instead of a timer for each (hashed).

`Engine` turns it once per tick. Adding and removing cost the same however many entries there are, and times are exact
to a tick, which is enough for a heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class TimerEntry(Protocol):
    """An entry of the timer wheel."""

    slot: int
    """Where the wheel keeps it; the wheel's own."""

    def beat(self, now: float) -> float | None:
        """Do what is due. Returns when to look again, or None for never."""
        ...


class Timeout:
    """A callback on the wheel."""

    __slots__ = ("__weakref__", "_then", "slot")

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self.slot = 0

    def beat(self, now: float) -> float | None:  # noqa: ARG002 - see `TimerEntry`
        """Call back, once."""
        self._then()
        return None


class TimerWheel:
    """Times are rounded up to whole ticks. An entry that is removed is not referred to any more."""

    def __init__(self, tick: float, now: float) -> None:
        self.tick = tick
        self._slots: dict[int, dict[TimerEntry, None]] = {}
        self._next = self._slot(now)

    def add(self, entry: TimerEntry, at: float) -> None:
        """Look at it at this time. An entry is on the wheel at most once."""
        entry.slot = slot = max(self._slot(at), self._next)
        if (entries := self._slots.get(slot)) is None:
            entries = self._slots[slot] = {}
        entries[entry] = None

    def remove(self, entry: TimerEntry) -> None:
        """Forget an entry; one that is not on the wheel is none of its business."""
        if (entries := self._slots.get(entry.slot)) is not None:
            entries.pop(entry, None)

    def due(self, now: float) -> list[TimerEntry]:
        """Take out everything whose time has come."""
        found: list[TimerEntry] = []
        last = int(now / self.tick)
        while self._next <= last:
            found.extend(self._slots.pop(self._next, ()))
            self._next += 1
        return found

    def _slot(self, at: float) -> int:
        return -int(-at // self.tick)
