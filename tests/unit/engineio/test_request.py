"""Requests that begin or continue a session: what is read of them, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import accept_key as their_accept_key
from websockets.utils import generate_key

from parley.engineio import request as handshake
from parley.engineio.request import MAX_QUERY, Refusal, TransportRequest, accept_key, read_request


def request(
    query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None, scheme: str = "http"
) -> TransportRequest:
    return read_request("GET", query, headers or [], "203.0.113.9", scheme)


def test_a_first_request_names_revision_and_transport():
    read = request(b"EIO=4&transport=polling&t=abc")
    assert (read.method, read.address, read.scheme) == ("GET", "203.0.113.9", "http")
    assert (read.revision, read.transport, read.sid, read.base64_only) == (4, "polling", "", False)
    assert read.query == {}


def test_a_later_request_names_its_session():
    assert request(b"EIO=3&transport=websocket&sid=a.b-c_d%2B").sid == "a.b-c_d+"


@pytest.mark.parametrize(
    ("eio", "revision"), [(b"4", 4), (b"3", 3), (b"", 0), (b"2", 0), (b"5", 0), (b"44", 0), (b"abc", 0), (b"%34", 4)]
)
def test_only_whole_revisions_that_exist_are_known(eio: bytes, revision: int):
    assert request(b"EIO=" + eio).revision == revision
    assert request(b"").revision == 0


@pytest.mark.parametrize(
    ("b64", "expected"), [(b"1", True), (b"true", True), (b"0", False), (b"false", False), (b"", False)]
)
def test_old_clients_may_ask_for_base64(b64: bytes, expected: bool):
    assert request(b"EIO=3&b64=" + b64).base64_only is expected


@pytest.mark.parametrize(
    "query",
    [b"a" * (MAX_QUERY + 1), b"&".join([b"a=b"] * 101), "EIO=é".encode(), b"\xff"],
    ids=["long", "many fields", "not ASCII", "not text"],
)
def test_a_query_that_no_client_makes_is_refused(query: bytes):
    with pytest.raises(Refusal) as caught:
        request(query)
    assert json.loads(caught.value.body) == {"code": 3, "message": "Bad request"}
    assert caught.value.status == 400


def test_a_long_token_in_the_query_of_an_old_client_is_read():
    assert request(b"EIO=3&token=" + b"x" * 8000).revision == 3


@given(st.binary(max_size=200), st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=4))
def test_any_query_and_headers_are_read_or_refused(query: bytes, headers: list[tuple[bytes, bytes]]):
    try:
        read = request(query, headers)
    except Refusal:
        return
    assert read.revision in {0, 3, 4}
    assert isinstance(read.own_origin, str)


@pytest.mark.parametrize(
    ("headers", "scheme", "expected"),
    [
        ([(b"host", b"chat.example")], "http", "http://chat.example"),
        ([(b"host", b"chat.example:8443")], "https", "https://chat.example:8443"),
        ([(b"host", b"Chat.Example:443")], "https", "https://chat.example"),
        ([(b"host", b"chat.example:80")], "http", "http://chat.example"),
        ([(b"host", b"chat.example:80")], "https", "https://chat.example:80"),
        # What proxies say is taken in before; here it is what anybody may have sent.
        ([(b"host", b"10.0.0.1"), (b"x-forwarded-proto", b"https")], "http", "http://10.0.0.1"),
        ([(b"host", b"10.0.0.1"), (b"x-forwarded-host", b"chat.example")], "http", "http://10.0.0.1"),
        ([], "http", "http://"),
    ],
)
def test_a_page_of_this_server_has_its_scheme_and_host(headers: list[tuple[bytes, bytes]], scheme: str, expected: str):
    assert request(b"", headers, scheme).own_origin == expected


def test_the_origin_is_what_the_browser_says():
    for told in (b"https://chat.example", b"wss://chat.example", b"HTTPS://Chat.example:443"):
        assert request(b"", [(b"origin", told)]).origin == "https://chat.example"
    for told in (b"http://chat.example", b"ws://chat.example:80"):
        assert request(b"", [(b"origin", told)]).origin == "http://chat.example"
    assert request(b"", [(b"origin", b"null")]).origin == "null"
    assert request().origin is None


def test_a_websocket_key_is_accepted_as_the_oracle_accepts_it():
    for _ in range(20):
        key = generate_key()
        assert accept_key({"sec-websocket-key": key, "sec-websocket-version": "13"}) == their_accept_key(key)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="},
        {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "8"},
        {"sec-websocket-version": "13"},
        {"sec-websocket-key": "", "sec-websocket-version": "13"},
        {"sec-websocket-key": "c2hvcnQ=", "sec-websocket-version": "13"},
        {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ", "sec-websocket-version": "13"},
        {"sec-websocket-key": "é" * 22 + "==", "sec-websocket-version": "13"},
        {"sec-websocket-key": "dGhlIHNhbXBs\nZSBub25jZQ==", "sec-websocket-version": "13"},
    ],
)
def test_what_is_no_websocket_request_is_refused(headers: dict[str, str]):
    with pytest.raises(Refusal) as caught:
        accept_key(headers)
    assert caught.value.status == 400


@given(st.text(max_size=40))
def test_any_key_is_accepted_or_refused(key: str):
    try:
        assert len(accept_key({"sec-websocket-key": key, "sec-websocket-version": "13"})) == 28
    except Refusal:
        return


@pytest.mark.parametrize(
    ("refusal", "status", "code", "message"),
    [
        (handshake.unknown_transport(), 400, 0, "Transport unknown"),
        (handshake.unknown_session(), 400, 1, "Session ID unknown"),
        (handshake.bad_method(), 400, 2, "Bad handshake method"),
        (handshake.bad_request(), 400, 3, "Bad request"),
        (handshake.forbidden(), 403, 4, "Forbidden"),
        (handshake.forbidden("Going away", 503), 503, 4, "Going away"),
        (handshake.unsupported_revision(), 400, 5, "Unsupported protocol version"),
    ],
)
def test_refusals_have_the_codes_that_clients_know(refusal: Refusal, status: int, code: int, message: str):
    assert refusal.status == status
    assert json.loads(refusal.body) == {"code": code, "message": message}
