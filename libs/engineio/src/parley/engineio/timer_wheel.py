"""A hashed timing wheel for the heartbeats of all sessions and the timeouts of the engine, instead of a timer for each.

The `Engine` turns it once per tick. To add or to remove an entry costs the same however many there are, and times are
exact to a tick, which is enough for a heartbeat. The caller passes the time in; the wheel has no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class TimerEntry(Protocol):
    """An entry of the timer wheel."""

    slot: int
    """The slot in which the wheel keeps the entry; only the wheel uses it."""

    def on_due(self, now: float) -> float | None:
        """Do what is due. Return when to be called again, or None for never."""
        ...


class Timeout:
    """An entry that calls back once. `Engine.call_later` makes it."""

    __slots__ = ("__weakref__", "_then", "slot")

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self.slot = 0

    def on_due(self, now: float) -> float | None:  # noqa: ARG002 - of `TimerEntry`
        """Call back."""
        self._then()
        return None


class TimerWheel:
    """The entries by the tick at which they are due. Times are rounded up to whole ticks."""

    def __init__(self, tick: float, now: float) -> None:
        self.tick = tick
        self._slots: dict[int, dict[TimerEntry, None]] = {}
        self._next = self._slot(now)

    def add(self, entry: TimerEntry, at: float) -> None:
        """Add an entry that is due at this time. An entry must be on the wheel at most once."""
        # Never behind the hand: a slot that was turned already does not come up again.
        entry.slot = slot = max(self._slot(at), self._next)
        if (entries := self._slots.get(slot)) is None:
            entries = self._slots[slot] = {}
        entries[entry] = None

    def remove(self, entry: TimerEntry) -> None:
        """Remove an entry, if it is on the wheel. The wheel does not refer to it any more."""
        if (entries := self._slots.get(entry.slot)) is not None:
            entries.pop(entry, None)

    def due(self, now: float) -> list[TimerEntry]:
        """Take out the entries that are due."""
        found: list[TimerEntry] = []
        last = int(now / self.tick)
        while self._next <= last:
            found.extend(self._slots.pop(self._next, ()))
            self._next += 1
        return found

    def _slot(self, at: float) -> int:
        # Rounded up, so that nothing is called before its time.
        return -int(-at // self.tick)
