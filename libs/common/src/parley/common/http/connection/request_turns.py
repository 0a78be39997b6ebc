"""How the requests of a connection begin: when it is the turn of their address, a WebSocket's by handing over.

Neither a long pipeline nor many connections may own a turn of the loop, so each request asks the gate whether it may
begin. Most clients only ask for a WebSocket: that request is read without a parser where possible (`upgrade_request`).

The overridden methods and the attributes without a docstring here are `HttpToolsProtocol`'s, as of uvicorn 0.54.
"""
# pyright: reportUnnecessaryComparison=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import httptools

from parley.common.http.addresses import address_key
from parley.common.http.connection.counted_connection import CountedConnection, HeldFlow
from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.upgrade_request import UpgradeRequest, read_upgrade
from parley.common.http.forwarded import TrustedProxies

SLICE = 1024
"""Bytes outside of bodies that are parsed before the connection looks whether a request has begun."""
AT_ONCE = 4096
"""Bytes up to which a request for a WebSocket is read at once. Nearly all of them are shorter."""


class ConnectionInTurns(CountedConnection):
    """A connection whose requests, and whose upgrade to a WebSocket, begin when it is their turn."""

    def __init__(self, *arguments: Any, limits: HttpLimits, trusted: TrustedProxies, **options: Any) -> None:
        super().__init__(*arguments, limits=limits, trusted=trusted, **options)
        self._asks_for_websocket = False
        self._upgrading = False

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        self._gate.begin(self._turn_key, partial(self._start, cycle, app))

    def _start(self, cycle: Any, app: Any) -> None:
        # Its turn may come late, when the client is gone or was refused.
        if not self.transport.is_closing():
            super()._start_asgi_task(cycle, app)

    def _at_once(self, data: bytes) -> UpgradeRequest | None:
        """Read a whole request for a WebSocket; None when the bytes are something else or have to wait."""
        gate = self._gate
        # Longer requests, and those of many headers, are parsed in slices, so that others have their turn in between.
        if self.ws_protocol_class is None or gate.exhausted or len(data) > AT_ONCE:
            return None
        found = read_upgrade(data)
        if found is None or len(found.headers) > gate.limits.headers:
            return None
        gate.parsed(min(len(data), SLICE))
        return found

    def _begin_upgrade(self, request: UpgradeRequest) -> None:
        """Begin the upgrade of a request that was read at once, as the parser's callbacks do it for others."""
        self._new = False
        self._gate.heads.stop(self)
        self._gate.first_head(self, self._key)
        self.headers = request.headers
        scope = {"method": "GET", "client": self.client, "scheme": self.scheme, "headers": self.headers}
        self.scope = cast("Any", {**scope, "path": request.path, "query_string": request.query})
        if self._from_proxy:
            self._take_in_forwarded()
        if not self._gate.begin(self._turn_key, self._hand_over):
            self.flow = HeldFlow(self.transport)
            self.flow.pause_reading()

    def _should_upgrade(self) -> bool:
        return self._asks_for_websocket

    def handle_websocket_upgrade(self) -> None:
        """Hand transport and request over to the WebSocket protocol when it is their turn, by its method `upgrade`."""
        self._upgrading = True
        if not self._gate.begin(self._turn_key, self._upgrade):
            self.flow.pause_reading()

    @property
    def _turn_key(self) -> str:
        client = self.scope["client"]
        return address_key(str(client[0])) if client else ""

    def _upgrade(self) -> None:
        transport, scope = self.transport, cast("dict[str, Any]", self.scope)
        if transport.is_closing():
            return
        try:
            target = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            target = None
        if target is None or (self.cycle is not None and not self.cycle.response_complete):
            # An upgrade behind a request that is not answered yet would put frames before the answer.
            self.send_400_response("Invalid HTTP request received.")
            return
        scope["path"] = unquote(target.path.decode("latin-1"))
        scope["query_string"] = target.query or b""
        self._hand_over()

    def _hand_over(self) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        self.connections.discard(cast("Any", self))
        self._uncount()
        self._unset_keepalive_if_required()
        make: Callable[..., Any] = cast("Any", self.ws_protocol_class)
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.app_state)
        transport.set_protocol(protocol)
        # Parser and protocol refer to each other: without this the pair would wait for the garbage collector.
        self.parser = cast("Any", None)
        protocol.upgrade(transport, self.scope)
        if self.flow is not None:  # there is none where nothing was parsed
            # Reading was paused while the request waited for its turn.
            cast("HeldFlow", self.flow).held = False
            self.flow.resume_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a service without WebSockets answers such a request like any other."""
