"""Addresses and origins in the one form in which they are counted and compared, pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
"""What each scheme is to a page: a WebSocket has the origin of its HTTP twin."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def address_key(address: str) -> str:
    """What connections are counted by: an IPv4 address, or the network that one IPv6 host owns wholly, a /64."""
    return address if ":" not in address else _network(address)


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


@lru_cache(maxsize=4096)
def normal_origin(origin: str) -> str:
    """Write an origin (RFC 6454) as it is compared: `https` for `wss`, in lower case, without the default port."""
    scheme, separator, host = origin.strip().lower().partition("://")
    if not separator:
        return origin.strip()
    scheme = SCHEMES.get(scheme, scheme)
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, '/'))}"
