"""The heads that nearly all WebSocket clients send, read at once, pure: a GET that asks for an upgrade, in one read.

Parser, request and connection of an HTTP server cost more than everything else in an upgrade. So what is beyond doubt
such a request, by the strict grammar of RFC 7230 (section 3) and without a body, is read here; all else, malformed
heads among it, is `None` here and the HTTP parser's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# In origin form (RFC 7230, section 5.3.1), and header fields without what some parsers take for something else: folded
# lines, spaces before the colon, characters beyond ASCII.
_HEAD = re.compile(rb"GET (/(?!/)[!$-;=?-Z_a-z~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n")
_BODY = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class UpgradeRequest(NamedTuple):
    """Names of headers are in lower case."""

    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]


def read_upgrade(data: bytes) -> UpgradeRequest | None:
    """Read a whole request for a WebSocket; None for anything else."""
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
    # A list, of which browsers send `Upgrade` alone, or after `keep-alive`.
    if asked != b"websocket" or b"upgrade" not in map(bytes.strip, connection.split(b",")):
        return None
    path, _, query = target.partition(b"?")
    return None if b"%" in path else UpgradeRequest(path.decode("ascii"), query, headers)
