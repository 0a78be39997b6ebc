"""Bounds the bytes that clients leave unread, in sum and for each address. Pure: `call_soon` is its owner's loop.

Every client has a bound of its own, but how many clients there are is an attacker's to choose. So transports and
sessions tell an `OutputBudget` how much waits for their clients as soon as that is more than
`SMALL_UNREAD_BYTES`, which costs nothing for the others. Where a sum is exceeded, the address that leaves most unread
has its largest holder cut off, again and again, until nothing is exceeded. So whoever fills the memory loses it, and a
slow client elsewhere stays.

| sum | limit |
|---|---|
| of an address | a share: a `SHARES`th of the whole, or room for four of the largest holders |
| of all | the whole |

It is done on a later turn of the loop, since what is cut off tells the layers above, and these may be in the middle of
sending. `engineio.reading.InputBudget` does for input what this does for output; it refuses what has come last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

SMALL_UNREAD_BYTES = 16 * 1024
"""Bytes up to which a holder is not counted. Transports report from here on, by their high-water mark."""
SHARES = 4
"""One address may leave this part of the whole unread (a quarter)."""
AT_ONCE = 64
"""Holders that are cut off in a turn of the loop."""


class UnreadHolder(Protocol):
    """A session or a connection that holds what its client has not read."""

    def unread(self) -> int:
        """Return the bytes that wait for the client now, which may be fewer than were counted last."""
        ...

    def cut_off(self) -> None:
        """Drop what waits, and the client with it."""
        ...


class OutputBudget:
    """The holders that leave more than `SMALL_UNREAD_BYTES` bytes unread, by their addresses."""

    def __init__(
        self,
        total: int,
        *,
        largest: int,
        call_soon: Callable[[Callable[[], None]], object],
        cut: Callable[[], object],
    ) -> None:
        """`total` is in bytes, `largest` what one holder may have at most. `cut` is called for each that is cut off."""
        self._total = total
        # However small the whole is, an address must be able to leave a few of the largest messages unread.
        self._share = max(total // SHARES, 4 * largest)
        self._call_soon = call_soon
        self._cut = cut
        self._by_address: dict[str, dict[UnreadHolder, int]] = {}
        self._sums: dict[str, int] = {}
        self._scheduled = False
        self.held = 0
        """The bytes that are counted."""

    def count(self, holder: UnreadHolder, address: str, size: int) -> None:
        """Count the bytes that a holder leaves unread in place of those before.

        Up to `SMALL_UNREAD_BYTES` it is forgotten.
        """
        holders = self._by_address.get(address)
        before = holders.get(holder, 0) if holders else 0
        if size <= SMALL_UNREAD_BYTES:
            size = 0
        if size == before:
            return
        if holders is None:
            holders = self._by_address[address] = {}
        if size:
            holders[holder] = size
        else:
            del holders[holder]
        self.held += size - before
        self._sums[address] = self._sums.get(address, 0) + size - before
        if not holders:
            del self._by_address[address], self._sums[address]
        elif size > before and not self._scheduled and self._exceeded(address):
            self._scheduled = True
            self._call_soon(self._shed)

    def _exceeded(self, address: str) -> bool:
        return self.held > self._total or self._sums[address] > self._share

    def _shed(self) -> None:
        self._scheduled = False
        exact = set[str]()
        for _ in range(AT_ONCE):
            # By addresses and not by holders: thousands that leave little each are found as one that leaves much.
            address = max(self._sums, key=self._sums.__getitem__, default=None)
            if address is None or not self._exceeded(address):
                return
            holders = self._by_address[address]
            if address not in exact:
                # Transports report what is written, and not what has been read since.
                exact.add(address)
                # A copy: to count a holder that has caught up takes it out of the dict.
                for holder in list(holders):
                    self.count(holder, address, holder.unread())
                continue
            largest = max(holders, key=holders.__getitem__)
            # Not counted from now on, before it is told: what it does when it is cut off must not count it again.
            self.count(largest, address, 0)
            self._cut()
            largest.cut_off()
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._shed)
