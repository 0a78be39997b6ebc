"""How a server is run with these connections: uvicorn's options.

uvicorn makes an `HttpProtocol` for each connection and calls it on the server's loop; all connections of a server share
an `HttpGate`.
"""

from __future__ import annotations

from typing import Any

from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.request_reader import HttpProtocol
from parley.common.http.forwarded import TrustedProxies

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than the 60 s of load balancers, which must close first."""


def http_options(
    trusted_proxies: str = "127.0.0.1", *, limits: HttpLimits | None = None, keep_alive: int = KEEP_ALIVE
) -> dict[str, Any]:
    """Return uvicorn's options for a server with these limits. `keep_alive` is in seconds."""
    make = _ConnectionMaker(limits or HttpLimits(), TrustedProxies(trusted_proxies))
    return {"http": make, "timeout_keep_alive": keep_alive, "proxy_headers": False}


class _ConnectionMaker:
    """Makes the connections of a server. uvicorn's constructor runs for the first; the others copy its attributes."""

    def __init__(self, limits: HttpLimits, trusted: TrustedProxies) -> None:
        self._limits = limits
        self._trusted = trusted
        self._attributes: dict[str, Any] = {}

    def __call__(self, *, server_state: Any, **options: Any) -> HttpProtocol:
        """Make a connection. `server_state` tells the servers of a process apart."""
        if self._attributes.get("server_state") is not server_state:
            first = HttpProtocol(server_state=server_state, limits=self._limits, trusted=self._trusted, **options)
            self._attributes = dict(first.__dict__)
        made = HttpProtocol.__new__(HttpProtocol)
        made.__dict__.update(self._attributes)
        return made
