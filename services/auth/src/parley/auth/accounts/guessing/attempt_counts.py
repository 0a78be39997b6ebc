"""How often something was tried lately, counted per key in fixed windows: O(1), and in bounded memory. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from parley.auth.settings import AttemptRate
from parley.common.errors import Code, Reject

MAX_KEYS = 65_536
"""Keys counted at a time. One more takes the place of the one whose window is over first."""


class Throttled(Reject):
    """Too many attempts. `retry_after` is in whole seconds."""

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(Code.RATE_LIMITED, f"Too many attempts; try again in {self.retry_after} s.")


class _Window(NamedTuple):
    attempts: int
    ends: float


class AttemptCounts:
    """Attempts per key and window. One is counted before its outcome is known, so that parallel ones cannot slip by."""

    def __init__(self, seconds: float, max_keys: int = MAX_KEYS) -> None:
        self._seconds = seconds
        self._max_keys = max_keys
        self._windows: dict[Hashable, _Window] = {}
        """In the order in which they end: all are of one length, and a new one goes to the end."""

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, key: Hashable, now: float) -> int:
        """Count an attempt; returns how many there are in the key's window. `now` never goes back."""
        window = self._windows.get(key)
        if window is not None and window.ends > now:
            self._windows[key] = _Window(window.attempts + 1, window.ends)
            return window.attempts + 1
        # A window that is over goes to the end again, or the order by which they are dropped would not hold.
        self._windows.pop(key, None)
        self._make_room(now)
        self._windows[key] = _Window(1, now + self._seconds)
        return 1

    def renew(self, key: Hashable, now: float) -> None:
        """Have the key's window begin now with what it holds: whoever goes on stays counted until they pause."""
        if (attempts := self.count(key, now)) > 0:
            del self._windows[key]
            self._windows[key] = _Window(attempts, now + self._seconds)

    def give_back(self, key: Hashable, now: float) -> None:
        """Uncount an attempt that turned out harmless."""
        window = self._windows.get(key)
        if window is None or window.ends <= now:
            return
        if window.attempts > 1:
            self._windows[key] = _Window(window.attempts - 1, window.ends)
        else:
            del self._windows[key]

    def count(self, key: Hashable, now: float) -> int:
        """Attempts in the key's window; 0 once that is over."""
        window = self._windows.get(key)
        return window.attempts if window is not None and window.ends > now else 0

    def left(self, key: Hashable, now: float) -> float:
        """Return seconds until the key's window is over."""
        window = self._windows.get(key)
        return max(0.0, window.ends - now) if window is not None else 0.0

    def _make_room(self, now: float) -> None:
        # Each window is dropped once, so all of this is paid for by what made them.
        while self._windows:
            first = next(iter(self._windows))
            if self._windows[first].ends > now and len(self._windows) < self._max_keys:
                return
            del self._windows[first]


class AttemptLimit:
    """A limit on the attempts per key."""

    def __init__(self, rate: AttemptRate, max_keys: int = MAX_KEYS) -> None:
        self._attempts = rate.attempts
        self._counts = AttemptCounts(rate.seconds, max_keys)

    def take(self, key: Hashable, now: float) -> None:
        """Count an attempt. Raises `Throttled` beyond the limit; what is refused is not counted."""
        if self._counts.count(key, now) >= self._attempts:
            raise Throttled(self._counts.left(key, now))
        self._counts.add(key, now)
