"""Requests for a WebSocket that are read at once: the same as the HTTP parser reads, and nothing it would refuse."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.common.http.connection.upgrade_request import read_upgrade

BROWSER = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: chat.example.com\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Pragma: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nUpgrade: websocket\r\n"
    b"Origin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\nCookie: a=b; c=d\r\nX-Empty:\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HEAD = b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


class Parsed:
    """What the HTTP parser finds."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.upgrades = False
        parser: Any = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.upgrades = True
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))


def check_same(data: bytes) -> bool:
    """Whether it is read at once; then the parser must have found the same."""
    if (found := read_upgrade(data)) is None:
        return False
    parsed = Parsed(data)
    target: Any = httptools.parse_url(parsed.url)
    assert parsed.upgrades
    assert parsed.method == b"GET"
    assert found.headers == parsed.headers
    assert (found.path.encode(), found.query) == (target.path, target.query or b"")
    return True


@pytest.mark.parametrize("data", [BROWSER, HEAD + b"\r\n", HEAD.replace(b"websocket", b" \tWebSocket \t") + b"\r\n"])
def test_what_clients_send_is_read_as_the_parser_reads_it(data: bytes) -> None:
    assert check_same(data)


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD + b"\r\nmore",
        HEAD + b"\r\n\r\n",
        HEAD + b"Content-Length: 0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Expect: 100-continue\r\n\r\n",
        HEAD + b" folded\r\n\r\n",
        HEAD + b"Space : x\r\n\r\n",
        HEAD + b": nameless\r\n\r\n",
        HEAD + b"Bare: a\rb\r\n\r\n",
        HEAD + b"Bare: a\nb\r\n\r\n",
        HEAD + b"Null: \0\r\n\r\n",
        HEAD + b"Latin: \xe9\r\n\r\n",
        HEAD.replace(b"GET", b"POST") + b"\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"\r\n",
        HEAD.replace(b"/socket.io/", b"//socket.io/") + b"\r\n",
        HEAD.replace(b"/socket.io/", b"http://x/socket.io/") + b"\r\n",
        HEAD.replace(b"/socket.io/", b"/socket%2eio/") + b"\r\n",
        HEAD.replace(b"/socket.io/", b"/socket.io/#x") + b"\r\n",
        HEAD.replace(b"websocket", b"h2c") + b"\r\n",
        HEAD.replace(b"Connection: Upgrade", b"Connection: close") + b"\r\n",
        HEAD.replace(b"Connection: Upgrade", b"Connection: up grade") + b"\r\n",
    ],
)
def test_all_else_is_left_to_the_parser(data: bytes) -> None:
    assert read_upgrade(data) is None


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(BROWSER)), st.integers(0, 3), st.binary(max_size=3))
@example(0, 0, b"\r\n")
def test_nothing_is_read_that_the_parser_reads_otherwise(at: int, removed: int, inserted: bytes) -> None:
    check_same(BROWSER[:at] + inserted + BROWSER[at + removed :])
