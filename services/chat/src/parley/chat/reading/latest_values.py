"""Values that change faster than they need to be stored, pure: of each key the last one counts, one per interval.

| state of a key | input         | what happens                                                                |
|----------------|---------------|-----------------------------------------------------------------------------|
| unknown        | `put`         | waiting: the next `take` returns it                                         |
| waiting        | `put`         | waiting, with the new value, or with what `merge` makes of both             |
| waiting        | `take`        | resting: for an interval nothing of this key is taken                       |
| resting        | `put`         | resting and waiting: taken when the interval is over                        |
| resting        | time passes   | unknown                                                                     |
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class LatestValues(Generic[KeyT, ValueT]):
    """Keeps the last value of each key until it is taken. Time is an argument, in seconds."""

    def __init__(self, interval: float, most: int, merge: Callable[[ValueT, ValueT], ValueT]) -> None:
        self._interval = interval
        self._most = most
        self._merge = merge
        self._waiting: dict[KeyT, ValueT] = {}
        self._resting: dict[KeyT, float] = {}
        """Until when nothing of a key is taken, in the order of these times."""

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value of a key that waits."""
        return self._waiting.get(key)

    def put(self, key: KeyT, value: ValueT) -> bool:
        """Keep a value. Returns False, and keeps nothing, if too many keys wait."""
        before = self._waiting.get(key)
        if before is None and len(self._waiting) >= self._most:
            return False
        self._waiting[key] = value if before is None else self._merge(before, value)
        return True

    def drop(self, key: KeyT) -> None:
        """Forget the value of a key that waits."""
        self._waiting.pop(key, None)

    def take(self, now: float, most: int) -> dict[KeyT, ValueT]:
        """Return values whose time has come, and let their keys rest."""
        while self._resting and (oldest := next(iter(self._resting.items())))[1] <= now:
            del self._resting[oldest[0]]
        taken: dict[KeyT, ValueT] = {}
        for key in self._waiting:
            if len(taken) >= most:
                break
            if key not in self._resting:
                taken[key] = self._waiting[key]
        for key in taken:
            del self._waiting[key]
            self._resting[key] = now + self._interval
        return taken

    def take_all(self) -> dict[KeyT, ValueT]:
        """Return whatever waits, whether its time has come or not."""
        taken, self._waiting = self._waiting, {}
        return taken

    def put_back(self, values: dict[KeyT, ValueT]) -> None:
        """Let values wait again that could not be stored; later ones count more. They are not bounded again."""
        for key, value in values.items():
            later = self._waiting.get(key)
            self._waiting[key] = value if later is None else self._merge(value, later)
