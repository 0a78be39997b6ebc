"""How often one address or one user may try, counted in this process's memory."""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from parley.common.errors import Code, Reject


class Throttled(Reject):
    """Too many attempts. `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(Code.RATE_LIMITED, f"Too many attempts; try again in {retry_after} s.")
        self.retry_after = retry_after


class AttemptThrottle:
    """One limit over many keys. An attempt is counted before its outcome is known, so parallel ones cannot slip by."""

    def __init__(self, name: str, limit: RateLimitItem) -> None:
        self._name = name
        self._limit = limit
        self._storage = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)

    async def take(self, key: str) -> None:
        """Count an attempt. Raises `Throttled` beyond the limit."""
        if not await self._limiter.hit(self._limit, self._name, key):
            window = await self._limiter.get_window_stats(self._limit, self._name, key)
            raise Throttled(max(1, math.ceil(window.reset_time - time.time())))

    async def give_back(self, key: str) -> None:
        """Uncount an attempt that turned out harmless."""
        await self._storage.decr(self._limit.key_for(self._name, key))


def address_key(host: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 /64, which is what one subscriber is given."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
