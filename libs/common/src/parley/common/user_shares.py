"""Shares the places that a process has for work which lasts as long as a client makes it last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from parley.common.errors import Code, Reject


class UserShares:
    """So many places, of which one user has a few: who sends or reads slowly, or not at all, keeps nobody else out."""

    def __init__(self, places: int, each: int) -> None:
        self._places = places
        self._each = each
        self._taken: Counter[str] = Counter()

    def check(self, user_id: str) -> None:
        """Raise `Reject(rate_limited)` for who has a full share, `overloaded` if there is no place for anybody."""
        if self._taken[user_id] >= self._each:
            raise Reject(Code.RATE_LIMITED, f"At most {self._each} of these at a time.")
        if self._taken.total() >= self._places:
            raise Reject(Code.OVERLOADED)

    @contextmanager
    def place(self, user_id: str) -> Generator[None]:
        """Hold a place."""
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            # So that the number of keys is that of users at work, and not of all there ever were.
            if not self._taken[user_id]:
                del self._taken[user_id]
