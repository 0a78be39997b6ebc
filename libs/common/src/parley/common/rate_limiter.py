"""Token buckets, pure: how fast connections, users and addresses may do something."""

from __future__ import annotations

from collections.abc import Hashable


class Rate:
    """How fast a bucket fills, and how much it holds. A bucket itself is one number: when it will be full again."""

    __slots__ = ("_each", "_window")

    def __init__(self, per_second: float, burst: float) -> None:
        self._each = 1 / per_second
        self._window = burst / per_second

    def spend(self, full_at: float, now: float, tokens: float = 1) -> float:
        """Take tokens from a bucket. When it is full again then, or 0 when it has too few: what is refused is free."""
        full_at = (max(now, full_at)) + tokens * self._each
        return 0.0 if full_at - now > self._window else full_at


class RateLimiter:
    """A bucket per key; a full one takes no memory."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate = Rate(per_second, burst)
        self._full_at: dict[Hashable, float] = {}
        """Per key when its bucket will be full again, which says how many tokens it has now."""

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token. False when there is none; what is refused costs nothing."""
        full_at = self._rate.spend(self._full_at.get(key, now), now)
        if not full_at:
            return False
        self._full_at[key] = full_at
        return True

    def sweep(self, now: float) -> None:
        """Drop the buckets that are full."""
        for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[key]
