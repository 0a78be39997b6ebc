"""How requests are read off a connection: uvicorn's protocol, in slices and within limits of size.

The bytes of a connection are parsed in slices, a few in a turn of the loop, so that a long pipeline does not own one.
What a trusted proxy says of its client is read once, when a head is complete. A connection gets its parser, and all
else that answers take, with the first bytes that are not a request for a WebSocket.

The overridden methods and the attributes without a docstring here are `HttpToolsProtocol`'s, as of uvicorn 0.54.
"""
# pyright: reportUnnecessaryComparison=false

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parley.common.http.connection.counted_connection import HeldFlow
from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.request_turns import SLICE, ConnectionInTurns
from parley.common.http.forwarded import TrustedProxies

STEP = 64
"""A `SLICE` of pipelined requests, each of which takes twenty times its bytes where it waits behind another."""
SLICES = 4
"""Slices of one connection that are parsed before other connections have their turn."""
REQUEST_COST = 512
"""Bytes that a request counts for besides its own, since a short one costs nearly as much as a long one."""
PIECE_COST = 24
"""Bytes that each header, and each piece of a body, counts for besides its own: a chunk may be a single byte."""


def _pipelined(data: bytes, position: int) -> bool:
    """Whether the next slice seems to hold the ends of several heads, of pipelined requests."""
    end = position + SLICE
    return data.count(b"\n\r\n", position, end) + data.count(b"\n\n", position, end) > 1


class HttpProtocol(ConnectionInTurns):
    """One HTTP connection. Whatever has nothing to do with limits is left to uvicorn's protocol."""

    def __init__(self, *arguments: Any, limits: HttpLimits, trusted: TrustedProxies, **options: Any) -> None:
        super().__init__(*arguments, limits=limits, trusted=trusted, **options)
        self._progress = False
        """Whether the parser came to the end of a head or of a request with the present bytes."""
        self._body_size = 0
        self._pieces = 0
        """Pieces of bodies that came out of the present bytes."""
        self._body_left = 0
        """Bytes of a body with a Content-Length that are still to come."""
        self._queued = False
        """Whether the connection waits for its turn to parse on."""
        self._held = 0
        """The bytes waiting here that the gate was told of."""

    def data_received(self, data: bytes) -> None:
        """Parse what came, at once or in slices, or throw it away after a refusal."""
        if self._refused:
            self._discard(data)
        elif self.parser is None and not self._rest and (found := self._at_once(data)):
            self._begin_upgrade(found)
        elif self._rest:
            self._rest += data
            self._hold()
        elif len(data) <= SLICE and not self._gate.exhausted and not _pipelined(data, 0):
            self._parse(data)
        else:
            self._rest = data
            self.parse_on()

    def parse_on(self) -> None:
        """Parse what waits, until a request has to wait for an answer before it, or others have their turn."""
        self._begin_to_parse()
        self._queued = False
        gate, rest, position, left = self._gate, self._rest, 0, SLICES
        while position < len(rest) and not (self.pipeline or self._refused or self.transport.is_closing()):
            if not self._body_left and (gate.exhausted or not left):
                self._queued = True
                gate.parse_later(self._key, self.parse_on)
                break
            left -= 1
            # A body of a known length is one slice, however long it is: it is copied, and not parsed.
            end = position + max(STEP if _pipelined(rest, position) else SLICE, self._body_left)
            self._parse(rest[position:end])
            if self._upgrading:
                # A client sends no frames before it has the server's answer (RFC 6455, section 4.1).
                self._rest = b""
                return
            position = end
        # Of refused connections nothing is kept, since many of them may linger.
        self._rest = b"" if self._refused or self.transport.is_closing() else rest[position:]
        flow = cast("HeldFlow", self.flow)
        flow.held = bool(self._rest)
        self._hold()
        if flow.held:
            flow.pause_reading()
        elif not self.pipeline and (self.cycle is None or self.cycle.response_complete):
            flow.resume_reading()

    def _hold(self) -> None:
        """Tell the gate how many bytes wait here, if that is more than nearly everybody's whole request."""
        held = len(self._rest) + (self._head_size if self._in_head or self._in_body else 0)
        held = held if held > SLICE else 0
        if held != self._held and self._counted:
            self._held = held
            self._gate.holds(self, held)

    def _parse(self, data: bytes) -> None:
        self._begin_to_parse()
        self._progress = False
        gate = self._gate
        gate.parsed(min(len(data), SLICE))
        body_size = self._body_size
        super().data_received(data)
        if self._pieces:
            gate.parsed(self._pieces * PIECE_COST)
            self._pieces = 0
        if self._refused or self.transport.is_closing():
            return
        if self._in_body and body_size != self._body_size:
            self._head_size = 0
            gate.bodies.start(self, gate.clock())
        elif self._in_body or self._in_head or not self._progress:
            # Also what a chunked body has besides its bytes (RFC 9112, section 7.1): the parser keeps a trailer whole.
            self._head_size += len(data)
            # Measured in slices, the first of which may belong to the request before, hence one slice of tolerance;
            # `on_headers_complete` measures a whole head exactly.
            if self._head_size > gate.limits.head_bytes + SLICE:
                self._head_too_large(own=self._in_body)
            else:
                (gate.bodies if self._in_body else gate.heads).start(self, gate.clock())
        if not self._rest:
            self._hold()

    # -- the parser's callbacks ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request: its first bytes have come."""
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or refuse the request if it has too many."""
        if self._refused:
            return
        if self._in_body:
            self._pieces += 1  # a trailer, which must not be taken for a header (RFC 9110, section 6.5.1)
        elif len(self.headers) >= self._gate.limits.headers:
            limit = self._gate.limits.headers
            self._refuse(431, "headers", f"A request has at most {limit} headers.")
        else:
            # By its name: `super()` would look through two more classes, for each header of each request.
            HttpToolsProtocol.on_header(self, name, value)

    def on_headers_complete(self) -> None:
        """Read what a proxy says of its client, and refuse a body that is too long before it comes."""
        if self._refused:
            return
        self._in_head, self._in_body, self._progress = False, True, True
        long, self._head_size = self._head_size > self._gate.limits.head_bytes - SLICE, 0
        self._body_size = self._body_left = 0
        self._asks_for_websocket = False
        self._gate.heads.stop(self)
        self._gate.parsed(REQUEST_COST + len(self.headers) * PIECE_COST)
        if self._new:
            self._new = False
            self._gate.first_head(self, self._key)
        if self._from_proxy:
            self._take_in_forwarded()
        for name, value in self.headers:
            if name == b"content-length":
                # Digits, and one length alone: the parser refuses all else (RFC 9112, section 6.3).
                self._body_left = int(value)
            elif name == b"upgrade":
                # Found out once: uvicorn would search the headers three times in each request that upgrades.
                self._asks_for_websocket = self.ws_protocol_class is not None and self._get_upgrade() == b"websocket"
        if long and self._head_bytes() > self._gate.limits.head_bytes:
            self._head_too_large()
        elif self._body_left > self._gate.limits.body_bytes:
            self._too_large(own=False)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces += 1
        if self._refused:
            return
        self._body_size += len(body)
        self._body_left = max(0, self._body_left - len(body))
        if self._body_size > self._gate.limits.body_bytes:
            self._too_large(own=True)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the reading of a request that is complete."""
        self._in_body, self._progress = False, True
        self._body_left = self._head_size = 0
        self._gate.bodies.stop(self)
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits behind the answer. Close a connection whose request was answered before its end."""
        more = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._refusal is not None:
            if not more:
                self._answer_refusal(*self._refusal)
        elif self._in_body and self.cycle.response_complete:
            # Nobody reads the rest of the body.
            self._linger()
            return
        if self.cycle.response_complete and not self._in_head:
            # The request's objects take many times what an idle connection takes, and it may be idle for long.
            self.cycle = self._running = cast("Any", None)
            self.headers, self.scope = [], cast("Any", {})
        if self._rest and not self.pipeline and not self._queued:
            self._queued = True
            self._gate.parse_later(self._key, self.parse_on)

    def _head_bytes(self) -> int:
        request_line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n")
        return request_line + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _head_too_large(self, *, own: bool = False) -> None:
        what = "What is sent besides a body's bytes" if own else "A request's head"
        self._refuse(431, "head_bytes", f"{what} is at most {self._gate.limits.head_bytes} bytes.", own=own)

    def _too_large(self, *, own: bool) -> None:
        limit = self._gate.limits.body_bytes
        self._refuse(413, "body_bytes", f"A body is at most {limit} bytes.", own=own)
