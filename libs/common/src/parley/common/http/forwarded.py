"""Whom a request comes from, and for which host: by `X-Forwarded-*` of a trusted proxy, else by the connection.

The `Host` header of a request without a proxy is believed, whatever it names. So if somebody else points a name at this
server (DNS rebinding), their page counts as the server's own. A deployment that minds has a proxy in front that serves
only its own names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from parley.common.http.addresses import SCHEMES, plain_address


class RequestSource(NamedTuple):
    """The client's address, scheme and host. `host` is None when the request's `Host` header is the client's own."""

    address: str
    scheme: str
    host: str | None = None


class TrustedProxies:
    """The trusted proxies: addresses and networks, separated by commas, or `*` (uvicorn's `forwarded_allow_ips`)."""

    def __init__(self, proxies: str) -> None:
        # uvicorn has these rules only inside of its middleware, which wants an app that is not called here.
        unused: Any = None
        self._hosts: Any = ProxyHeadersMiddleware(unused, trusted_hosts=proxies).trusted_hosts

    def __contains__(self, address: str) -> bool:
        return plain_address(address) in self._hosts

    def client(self, peer: str, scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestSource:
        """Return whom a request comes from. `peer` is the connection's address; header names are in lower case."""
        peer = plain_address(peer)
        if peer not in self._hosts:
            return RequestSource(peer, scheme)
        addresses: list[str] = []
        address, host = peer, None
        for name, value in headers:
            if name == b"x-forwarded-for":
                addresses += [plain_address(address.strip()) for address in value.decode("latin-1").split(",")]
            elif name == b"x-forwarded-proto":
                # Each proxy of a chain appends its own; the client spoke to the first.
                scheme = SCHEMES.get(_first(value).lower(), scheme)
            elif name == b"x-forwarded-host":
                host = _first(value) or None
        if addresses:
            found = self._hosts.get_trusted_client_address(", ".join(addresses))
            address = str(found[0]) or peer
        return RequestSource(address, scheme, host)


def _first(value: bytes) -> str:
    return value.split(b",", 1)[0].decode("latin-1").strip()
