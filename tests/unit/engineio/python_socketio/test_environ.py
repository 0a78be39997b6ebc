"""What connect handlers of python-socketio read of a request; python-engineio's own translation is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from engineio.async_drivers.asgi import translate_request

from parley.engineio.python_socketio.environ import environ_of

SCOPE: dict[str, Any] = {
    "type": "websocket", "scheme": "ws", "path": "/socket.io/", "query_string": b"EIO=4&transport=websocket&a=%20b",
    "client": ("192.0.2.1", 4711), "server": ("192.0.2.2", 443), "method": "GET",
    "headers": [
        (b"host", b"example.com"), (b"content-type", b"text/plain"), (b"x-twice", b"one"), (b"x-twice", b"two"),
        (b"cookie", b"a=b"), (b"x-latin", b"Z\xfcrich"),
    ],
}  # fmt: skip


async def test_it_has_what_python_engineio_would_say():
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(_message: Any) -> None:
        pass

    made, wanted = environ_of(SCOPE), await translate_request(SCOPE, receive, send)
    names = ("PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_METHOD", "asgi.scope", "CONTENT_TYPE", "HTTP_HOST")
    assert {name: made[name] for name in names} == {name: wanted[name] for name in names}
    assert made["HTTP_X_TWICE"] == "one,two"
    assert made["HTTP_X_LATIN"] == "Zürich"
    assert (made["REMOTE_ADDR"], made["REMOTE_PORT"]) == ("192.0.2.1", "4711")


@pytest.mark.parametrize(("scheme", "shown"), [("ws", "http"), ("wss", "https"), ("http", "http"), ("https", "https")])
def test_a_websocket_has_the_scheme_of_its_request(scheme: str, shown: str):
    assert environ_of(SCOPE | {"scheme": scheme})["wsgi.url_scheme"] == shown


def test_a_request_over_a_unix_socket_has_no_address():
    environ = environ_of(SCOPE | {"client": None, "server": None, "query_string": b""})
    assert (environ["REMOTE_ADDR"], environ["RAW_URI"]) == ("", "/socket.io/")
