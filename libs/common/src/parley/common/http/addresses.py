"""Client addresses and origins in the one form in which they are counted and compared. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
"""The scheme of the page's origin, by a request's scheme: a page on `https` opens WebSockets on `wss`."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_MAPPED = "::ffff:"
"""How a socket that takes IPv4 and IPv6 names a peer of IPv4 (RFC 4291, section 2.5.5.2)."""


def plain_address(address: str) -> str:
    """Write an IPv4 address as such, however the socket that it came to or a proxy writes it; others as they are."""
    if not address.lower().startswith(_MAPPED):
        return address
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


def address_key(address: str) -> str:
    """Return the key by which connections are counted: an IPv4 address, or the /64 network of an IPv6 address.

    Providers give each customer a /64 or more, so one host can use any address of it (RFC 6177).
    """
    return address if ":" not in address else _network(address)


def network_key(key: str) -> str:
    """Return the key of the network that an address is in, of which `key` is the key: a /24, or a /48 of IPv6."""
    return _site(key) if ":" in key else key.rpartition(".")[0]


@lru_cache(maxsize=4096)
def _site(key: str) -> str:
    try:
        return str(ipaddress.IPv6Network(key).supernet(new_prefix=48))
    except ValueError:
        return key


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    # A dual-stack socket shows an IPv4 client as `::ffff:192.0.2.1`.
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


@lru_cache(maxsize=4096)
def normal_origin(origin: str) -> str:
    """Return an origin (RFC 6454, section 6.2) in lower case, with `https` for `wss` and without its default port."""
    scheme, separator, host = origin.strip().lower().partition("://")
    if not separator:
        return origin.strip()
    scheme = SCHEMES.get(scheme, scheme)
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, '/'))}"
