"""Serves an app with uvicorn so that the engine itself reads the WebSockets on one path.

A WebSocket on any other path goes to uvicorn's own protocol, with its request as it came, and so to the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from uvicorn import Config
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.server import http_options
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.python_socketio.engine_server import EngineServer
from parley.engineio.server import STATE_KEY
from parley.engineio.websocket.frames import GOING_AWAY
from parley.engineio.websocket.protocol import WebSocket


def server_options(eio: EngineServer, path: str, trusted_proxies: str, limits: HttpLimits | None) -> dict[str, Any]:
    """Return uvicorn's options; see `AsyncServer.server_options`."""
    limits = limits or HttpLimits(body_bytes=max(HttpLimits().body_bytes, eio.max_http_buffer_size))
    return {
        "ws": _UpgradeMaker(eio, f"/{path.strip('/')}"),
        **http_options(trusted_proxies, limits=limits),
        # For the app's own WebSockets: what `http_options` has read of a proxy is lost on the way through `_head`.
        "proxy_headers": True,
        "forwarded_allow_ips": trusted_proxies,
    }


class _UpgradeMaker:
    """Takes the place of uvicorn's WebSocket protocol class, of which uvicorn makes an object for each request."""

    def __init__(self, eio: EngineServer, path: str) -> None:
        self._eio = eio
        self._path = path

    def __call__(self, config: Config, server_state: Any, app_state: dict[str, Any]) -> asyncio.Protocol:
        """Make the protocol of one request. Its path is known only when `upgrade` is called."""
        return _Upgrade(self._eio, self._path, config, server_state, app_state)


class _Upgrade(asyncio.Protocol):
    """A request for a WebSocket, until its path tells whose it is."""

    def __init__(
        self, eio: EngineServer, path: str, config: Config, server_state: Any, app_state: dict[str, Any]
    ) -> None:
        self._eio = eio
        self._path = path
        self._config = config
        self._server_state = server_state
        self._app_state = app_state

    def upgrade(self, transport: Any, scope: dict[str, Any]) -> None:
        """Hand the transport over to the engine's protocol, or to uvicorn's."""
        if scope["path"].rstrip("/") == self._path:
            engines = {self._path.encode(): self._eio.engine}
            websocket = _WebSocket(self._config, self._server_state, {STATE_KEY: engines})
            transport.set_protocol(websocket)
            # Apps read the scope as `asgi.scope`, and expect the type that an ASGI server would give it.
            websocket.upgrade(transport, {**scope, "type": "websocket"})
        elif AutoWebSocketsProtocol is None:
            transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            transport.close()
        else:
            theirs: Any = AutoWebSocketsProtocol(
                config=self._config, server_state=self._server_state, app_state=self._app_state
            )
            theirs.connection_made(transport)
            transport.set_protocol(theirs)
            theirs.data_received(_head(scope))


class _WebSocket(WebSocket):
    """The engine's WebSocket, which ends when uvicorn stops: there is no gateway that drains sessions."""

    __slots__ = ()

    def shutdown(self) -> None:
        """Close the session. uvicorn calls it when it stops."""
        if self._session is not None:
            self._session.close(DisconnectReason.SHUTDOWN, GOING_AWAY)
        elif self._transport is not None:
            # The session is closed already, and uvicorn waits for the transport. An engine that was shut down has no
            # timer any more that would end it.
            self._transport.close()


def _head(scope: Mapping[str, Any]) -> bytes:
    """Return the head of the request as it came."""
    target = quote(scope["path"]).encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    lines = [b"GET %b HTTP/1.1" % target, *(b"%b: %b" % header for header in scope["headers"])]
    return b"\r\n".join(lines) + b"\r\n\r\n"
