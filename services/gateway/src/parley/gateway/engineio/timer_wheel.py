"""One wheel for the heartbeats of all sessions, instead of a timer for each."""

from __future__ import annotations

from typing import Protocol


class TimerEntry(Protocol):
    """Something that wants to be looked at now and then."""

    def beat(self, now: float) -> float | None:
        """Do what is due. Returns when to look again, or None for never."""
        ...


class TimerWheel:
    """Times are rounded up to whole ticks; what ended meanwhile is dropped when its turn comes."""

    def __init__(self, tick: float, now: float) -> None:
        self.tick = tick
        self._slots: dict[int, list[TimerEntry]] = {}
        self._next = self._slot(now)

    def add(self, beating: TimerEntry, at: float) -> None:
        """Look at it at this time."""
        self._slots.setdefault(max(self._slot(at), self._next), []).append(beating)

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
