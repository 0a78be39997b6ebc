"""Ranges of addresses (CIDR), pure: whether an address is in one takes a look-up for each length of prefix there is."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from functools import lru_cache

from parley.common.wire.address_bans import AddressBan

AddressRange = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_range(text: str) -> AddressRange:
    """A range such as `192.0.2.0/24` or `2001:db8::/32`; an address alone is a range of one.

    Bits behind the prefix are cut off, and an IPv4 address in IPv6's clothes is taken for what it is. Raises
    `ValueError`.
    """
    found = ipaddress.ip_network(text.strip(), strict=False)
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is None or found.prefixlen < 96:
        return found
    return ipaddress.IPv4Network((mapped, found.prefixlen - 96))


class AddressRanges:
    """A set of ranges, each until a moment of a clock of the caller's; one without an end has infinity."""

    def __init__(self, ranges: Iterable[tuple[str, float]] = ()) -> None:
        """Raises `ValueError` for what is no range."""
        self._by_length: dict[tuple[int, int], dict[int, float]] = {}
        for text, until in ranges:
            found = parse_range(text)
            shift = found.max_prefixlen - found.prefixlen
            ends = self._by_length.setdefault((found.version, shift), {})
            key = int(found.network_address) >> shift
            ends[key] = max(until, ends.get(key, -math.inf))

    @classmethod
    def of_bans(cls, bans: Iterable[AddressBan], now: float) -> AddressRanges:
        """The ranges that are banned at this moment of the caller's clock, each for as long as it says."""
        return cls((ban.range, now + ban.ends_in if ban.ends_in else math.inf) for ban in bans)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def hold(self, address: str, now: float) -> bool:
        """Whether an address is in a range that has not ended; what is no address is in none."""
        if not self._by_length:
            return False
        parsed = _parsed(address)
        if parsed is None:
            return False
        version, number = parsed
        return any(
            ends.get(number >> shift, -math.inf) > now
            for (its_version, shift), ends in self._by_length.items()
            if its_version == version
        )


@lru_cache(maxsize=4096)
def _parsed(address: str) -> tuple[int, int] | None:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    # A socket that listens on `::` sees IPv4 clients so, and a ban of theirs is of the IPv4 range.
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.version, int(found)
