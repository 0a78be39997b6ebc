"""Token buckets, pure: how fast connections and users may emit."""

from __future__ import annotations

from collections.abc import Hashable


class RateLimiter:
    """A bucket per key, which holds at most `burst` tokens and gains `per_second`; a full one takes no memory."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._full_at: dict[Hashable, float] = {}
        """Per key when its bucket will be full again, which says how many tokens it has now."""

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token. False when there is none; what is refused costs nothing."""
        full_at = max(self._full_at.get(key, now), now) + 1 / self._per_second
        if full_at - now > self._burst / self._per_second:
            return False
        self._full_at[key] = full_at
        return True

    def sweep(self, now: float) -> None:
        """Drop the buckets that are full."""
        for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[key]
