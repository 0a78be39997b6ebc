"""Token buckets, which limit how fast connections, users and addresses may do something. Pure: time is an argument.

A bucket is one number: the time at which it will be full again. It tells how many tokens there are now, and buckets
that are full need not be kept.
"""

from __future__ import annotations

from collections.abc import Hashable


class Rate:
    """How many tokens per second a bucket gains, and how many it holds."""

    __slots__ = ("_each", "_window")

    def __init__(self, per_second: float, burst: float) -> None:
        self._each = 1 / per_second
        self._window = burst / per_second

    def spend(self, full_at: float, now: float, tokens: float = 1) -> float:
        """Take tokens from a bucket. Return when it will be full again, or 0 when it has too few and keeps those."""
        # A bucket that was full is full now, however long ago.
        full_at = max(now, full_at) + tokens * self._each
        # A refusal costs nothing, or somebody who tries on would never be let through again.
        return 0.0 if full_at - now > self._window else full_at


class RateLimiter:
    """A bucket for each key. Full buckets take no memory after `sweep`."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate = Rate(per_second, burst)
        self._full_at: dict[Hashable, float] = {}
        """The bucket of each key: the time at which it will be full again."""

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token. Return False when there is none."""
        full_at = self._rate.spend(self._full_at.get(key, now), now)
        if not full_at:
            return False
        self._full_at[key] = full_at
        return True

    def sweep(self, now: float) -> None:
        """Drop the buckets that are full. The owner calls it now and then."""
        for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[key]
