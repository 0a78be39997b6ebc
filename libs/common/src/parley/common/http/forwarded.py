"""Who asks, and for which host, by one rule for every request: a trusted proxy's `X-Forwarded-*`, or the peer.

The `Host` that a request names without a proxy is believed, whatever it is: where a name is pointed at this server by
somebody else (DNS rebinding), their page counts as the server's own. Deployments that mind put a proxy in front that
answers its own names only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from parley.common.http.addresses import SCHEMES


class RequestSource(NamedTuple):
    """Whom a request comes from. `host` is what its page was asked for, None where the Host header says so itself."""

    address: str
    scheme: str
    host: str | None = None


class TrustedProxies:
    """The proxies whose word is taken: addresses and networks, separated by commas, or `*`, by uvicorn's own rules."""

    def __init__(self, proxies: str) -> None:
        unused: Any = None
        self._hosts: Any = ProxyHeadersMiddleware(unused, trusted_hosts=proxies).trusted_hosts

    def __contains__(self, address: str) -> bool:
        return address in self._hosts

    def client(self, peer: str, scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestSource:
        """Say whom a request comes from; its headers have lower-case names."""
        if peer not in self._hosts:
            return RequestSource(peer, scheme)
        addresses: list[bytes] = []
        address, host = peer, None
        for name, value in headers:
            if name == b"x-forwarded-for":
                addresses.append(value)
            elif name == b"x-forwarded-proto":
                # Each proxy of a chain appends its own; the client spoke to the first.
                scheme = SCHEMES.get(_first(value).lower(), scheme)
            elif name == b"x-forwarded-host":
                host = _first(value) or None
        if addresses:
            told = self._hosts.get_trusted_client_address(b", ".join(addresses).decode("latin-1"))
            address = str(told[0]) or peer
        return RequestSource(address, scheme, host)


def _first(value: bytes) -> str:
    return value.split(b",", 1)[0].decode("latin-1").strip()
