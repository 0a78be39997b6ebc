"""Reads the heads that nearly all WebSocket clients send: a GET that asks for an upgrade, whole in one read. Pure.

The parser and the request objects of an HTTP server cost more than everything else in an upgrade. So a request that is
beyond doubt such a one, by the strict grammar of RFC 9112 (sections 3 and 5) and without a body, is read here. For all
else, malformed heads among it, `read_upgrade` returns None, and the HTTP parser decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# A target in origin form (RFC 9112, section 3.2.1), and header fields without anything that parsers read differently:
# folded lines, spaces before the colon, characters beyond ASCII.
_HEAD = re.compile(rb"GET (/(?!/)[!$-;=?-Z_a-z~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n")
_BODY = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class UpgradeRequest(NamedTuple):
    """A request for a WebSocket. The names of its headers are in lower case."""

    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]


def read_upgrade(data: bytes) -> UpgradeRequest | None:
    """Read a whole request for a WebSocket. Return None for anything else."""
    if (found := _HEAD.fullmatch(data)) is None:
        return None
    target, lines = found.groups()
    headers: list[tuple[bytes, bytes]] = []
    asked = connection = b""
    for line in lines[:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        headers.append((name, value))
        if name == b"upgrade":
            asked = value.lower()
        elif name == b"connection":
            connection = value.lower()
        elif name in _BODY:
            return None
    # `Connection` is a list (RFC 9110, section 7.6.1): Firefox sends `keep-alive, Upgrade`.
    if asked != b"websocket" or b"upgrade" not in map(bytes.strip, connection.split(b",")):
        return None
    path, _, query = target.partition(b"?")
    # Percent-encoded paths are rare, and decoded by what handles all other requests.
    return None if b"%" in path else UpgradeRequest(path.decode("ascii"), query, headers)
