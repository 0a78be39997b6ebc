"""Requests to addresses that somebody else named: a page to preview, a browser's push service.

Whoever names an address must not have this process ask what only this process can reach (server-side request forgery).
So what is checked is the address that a connection is made to, at the moment it is made: a name that resolves to
something else a moment later (DNS rebinding) changes nothing, and every redirect is a request that is checked anew.
Answers are bounded in time and in size, are not decompressed, and no cookie, credential or proxy setting is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urljoin, urlsplit

import httpcore

MAX_URL = 2048
PORTS = {"http": 80, "https": 443}
"""The schemes that are asked, each on its own port alone: on others there is seldom a public page."""
CONNECT_SECONDS = 3.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is given out of IPv6 so far (RFC 4291, section 2.4). What leads to IPv4, as 64:ff9b::/96, is outside."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a name."""


class RefusedAddress(Exception):
    """A URL, or an address that its name stands for, that is not asked. The text says why, and not what is there."""


class Unfetched(Exception):
    """There was no answer that is one: none in time, a broken one, or too much of it."""


class Fetched(NamedTuple):
    """An answer, and the URL that it came from in the end. `complete` says whether the body was read to its end."""

    url: str
    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet, and so may be asked by anybody. Pure."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        # Addresses of IPv4 in the clothes of IPv6 lead to where the former do.
        inner = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if found.teredo is not None or found not in _UNICAST:
            return False
    return found.is_global and not found.is_multicast and not found.is_unspecified


def check_url(url: str, schemes: Iterable[str] = PORTS) -> None:
    """Refuse a URL that is not plainly one of a public page. Raises `RefusedAddress`. Pure."""
    if len(url) > MAX_URL or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise RefusedAddress("this is no URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedAddress("this is no URL") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise RefusedAddress("only pages of the web are fetched")
    if "@" in parts.netloc or "\\" in url:
        raise RefusedAddress("a URL may hold no user and no password")
    if port is not None and port != PORTS[parts.scheme]:
        raise RefusedAddress("only the usual ports are asked")


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def plain_backend() -> httpcore.AsyncNetworkBackend:
    """Return what connects to any address, on asyncio."""
    # httpcore defines this one where anyio is installed, which no type checker sees.
    return cast("Any", httpcore).AnyIOBackend()


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses alone: it resolves a name once, and connects to what it has looked at."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend, resolve: Resolve = _resolve) -> None:
        self._inner = inner
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a name's first address that answers. Raises `RefusedAddress` if any of them is not public."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        # All of them: a name that stands for an inner address as well is a trap, or an inner name.
        if not addresses or not all(map(is_public, addresses)):
            raise RefusedAddress(f"{host} is not an address of the public internet")
        error: Exception = httpcore.ConnectError(host)
        for address in addresses[:3]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - httpcore's signature
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: what listens on a path is never public."""
        raise RefusedAddress("sockets of this machine are not asked")

    async def sleep(self, seconds: float) -> None:
        """Wait, between two attempts of the pool."""
        await self._inner.sleep(seconds)


class PublicFetcher:
    """Asks public addresses. One for a process; it is closed by its owner."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend | None = None, *, connections: int = 20) -> None:
        # Nothing is kept alive: who asks the same server again is a matter of chance, and an idle one costs a socket.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=0,
            network_backend=backend or PublicBackend(plain_backend()),
        )

    async def close(self) -> None:
        """End all requests that are under way."""
        await self._pool.aclose()

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        max_bytes: int,
        seconds: float,
        redirects: int = 0,
        schemes: Iterable[str] = PORTS,
        wanted: Callable[[Fetched], bool] = lambda _: True,
    ) -> Fetched:
        """Ask, following at most so many redirects.

        The body is read up to `max_bytes`; `complete` tells if that is all.

        `wanted` is asked with the head of the final answer whether the body is read at all. Raises `RefusedAddress` and
        `Unfetched`.
        """
        try:
            async with asyncio.timeout(seconds):
                # Each address anew: a public page may redirect to a private one.
                for _ in range(redirects + 1):
                    check_url(url, schemes)
                    answer = await self._once(method, url, headers or {}, content, max_bytes, wanted)
                    if answer.status not in REDIRECTS or not redirects:
                        return answer
                    url = urljoin(url, answer.headers.get("location", ""))
                raise Unfetched("it redirects too often")
        except (TimeoutError, OSError, ValueError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Unfetched(f"{type(error).__name__}: {error}") from error
        except (httpcore.TimeoutException, httpcore.UnsupportedProtocol) as error:
            raise Unfetched(type(error).__name__) from error

    async def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        max_bytes: int,
        wanted: Callable[[Fetched], bool],
    ) -> Fetched:
        # `identity`: a small answer that unpacks to gigabytes would pass every limit of bytes.
        sent = {"host": urlsplit(url).netloc, "accept-encoding": "identity", "connection": "close", **headers}
        times = {"connect": CONNECT_SECONDS, "pool": CONNECT_SECONDS}
        async with self._pool.stream(
            method, url, headers=list(sent.items()), content=content or None, extensions={"timeout": times}
        ) as response:
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            head = Fetched(url, response.status, told, b"", complete=False)
            if response.status in REDIRECTS or not wanted(head):
                return head
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > max_bytes:
                    return head._replace(body=bytes(body[:max_bytes]))
            return head._replace(body=bytes(body), complete=True)
