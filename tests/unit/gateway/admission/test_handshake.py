"""What services are told of a request: what they ask for, nothing secret, and not too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.engineio.session import RequestInfo, Session
from parley.gateway.admission.handshake import MAX_BYTES, encoded, handshake_of
from parley.gateway.connections.connection import Connection

ORIGIN = RequestInfo("192.0.2.1", {"room": "7", "token": "secret"}, {"accept-language": "en", "cookie": "secret"}, True)


def connection(socket: Any = None) -> Connection:
    session = cast("Session", SimpleNamespace(origin=ORIGIN, socket=socket))
    return Connection("sid", session, "/chat", Identity("u_ann", "Ann"), 12.5)


def test_no_token_and_nothing_of_parleys_own_is_passed_on():
    said = {"token": "secret", "cursors": {}, "log": "x", "pid": "p", "offset": "o", "device": "phone"}
    handshake = handshake_of(connection(), said, ["accept-language", "x-not-sent"])
    assert (handshake.query, handshake.auth) == ({"room": "7"}, {"device": "phone"})
    assert handshake.headers == {"accept-language": "en"}
    assert b"secret" not in encoded(handshake)


@pytest.mark.parametrize(("socket", "transport"), [(None, "polling"), (object(), "websocket")])
def test_it_says_how_the_client_is_connected_at_the_moment(socket: Any, transport: str):
    handshake = handshake_of(connection(socket), {}, [])
    assert (handshake.transport, handshake.secure, handshake.address) == (transport, True, "192.0.2.1")
    assert handshake.connected_at == 12.5


def test_who_says_too_much_is_refused():
    fits = handshake_of(connection(), {"a": "x" * (MAX_BYTES // 2)}, [])
    assert len(encoded(fits)) <= MAX_BYTES
    with pytest.raises(Reject) as refused:
        encoded(handshake_of(connection(), {"a": "x" * MAX_BYTES}, []))
    assert refused.value.code is Code.PAYLOAD_TOO_LARGE
