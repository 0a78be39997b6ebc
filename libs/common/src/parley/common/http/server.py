"""The HTTP connections of every service: uvicorn's protocol, within limits of size, time and number.

uvicorn makes an `HttpProtocol` for each connection and calls it on the server's loop. All connections of a server share
an `HttpGate`, which keeps the counts, the deadlines and the turns:

- head and body have a size and a deadline; a request that exceeds one is answered with a status and an error code, and
  its connection is closed (RFC 9110, section 15.5; RFC 6585, section 5);
- the bytes of a connection are parsed in slices, a few in a turn of the loop, and its requests begin when it is the
  turn of their address, so that neither a long pipeline nor many connections own a turn;
- what a trusted proxy says of its client is read here, once, for requests and WebSockets alike.

Most clients only ask for a WebSocket. So that request is read without a parser where possible (`upgrade_request`), and
a connection gets its parser, and all else that answers take, with the first bytes that are something else.

The overridden methods and the attributes without a docstring here are `HttpToolsProtocol`'s, as of uvicorn 0.54.
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportIncompatibleMethodOverride=false
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnnecessaryComparison=false

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from parley.common.http.addresses import address_key, plain_address
from parley.common.http.forwarded import TrustedProxies
from parley.common.http.gate import HTTP_LIMITED, HttpGate, HttpLimits
from parley.common.http.output_budget import SMALL_UNREAD_BYTES
from parley.common.http.problems import refusal
from parley.common.http.upgrade_request import UpgradeRequest, read_upgrade

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than the 60 s of load balancers, which must close first."""
AT_ONCE = 4096
"""Bytes up to which a request for a WebSocket is read at once. Nearly all of them are shorter."""
SLICE = 1024
"""Bytes outside of bodies that are parsed before the connection looks whether a request has begun."""
STEP = 64
"""The same for pipelined requests: each that waits behind another takes twenty times its bytes."""
SLICES = 4
"""Slices of one connection that are parsed before other connections have their turn."""
REQUEST_COST = 512
"""Bytes that a request counts for besides its own, since a short one costs nearly as much as a long one."""
PIECE_COST = 24
"""Bytes that each header, and each piece of a body, counts for besides its own: a chunk may be a single byte."""
DISCARDED = 8 * 1024 * 1024
"""Bytes that are read and thrown away of a refused connection: twice the largest body.

Many clients read no answer before they have sent everything. What this costs is bounded by the turns of the gate.
"""

_errors = logging.getLogger("uvicorn.error.requests")
_errors.setLevel(logging.ERROR)
_gates: WeakKeyDictionary[Any, HttpGate] = WeakKeyDictionary()


def http_options(
    trusted_proxies: str = "127.0.0.1", *, limits: HttpLimits | None = None, keep_alive: int = KEEP_ALIVE
) -> dict[str, Any]:
    """Return uvicorn's options for a server with these limits. `keep_alive` is in seconds."""
    make = _ConnectionMaker(limits or HttpLimits(), TrustedProxies(trusted_proxies))
    return {"http": make, "timeout_keep_alive": keep_alive, "proxy_headers": False}


class _ConnectionMaker:
    """Makes the connections of a server. uvicorn's constructor runs for the first; the others copy its attributes."""

    def __init__(self, limits: HttpLimits, trusted: TrustedProxies) -> None:
        self._limits = limits
        self._trusted = trusted
        self._attributes: dict[str, Any] = {}

    def __call__(self, *, server_state: Any, **options: Any) -> HttpProtocol:
        """Make a connection. `server_state` tells the servers of a process apart."""
        if self._attributes.get("server_state") is not server_state:
            first = HttpProtocol(server_state=server_state, limits=self._limits, trusted=self._trusted, **options)
            self._attributes = dict(first.__dict__)
        made = HttpProtocol.__new__(HttpProtocol)
        made.__dict__.update(self._attributes)
        return made


def _pipelined(data: bytes, position: int) -> bool:
    """Whether the next slice seems to hold the ends of several heads, of pipelined requests."""
    end = position + SLICE
    return data.count(b"\n\r\n", position, end) + data.count(b"\n\n", position, end) > 1


class _Flow(FlowControl):
    """uvicorn's flow control, which resumes reading only when nothing waits here to be parsed either."""

    held = False
    """Whether something waits to be parsed."""

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection. Whatever has nothing to do with limits is left to uvicorn's protocol, its base class."""

    def __init__(self, *arguments: Any, limits: HttpLimits, trusted: TrustedProxies, **options: Any) -> None:
        super().__init__(*arguments, **options)
        gate = _gates.get(self.server_state)
        if gate is None:
            gate = _gates[self.server_state] = HttpGate(limits, self.loop)
        # uvicorn logs a warning for each malformed request, which anybody may send without end.
        self.logger = _errors
        self.parser = cast("Any", None)
        self._gate = gate
        self._trusted = trusted
        self._from_proxy = False
        self._peer = ""
        self._key = ""
        self._counted = False
        self._running: Any = None
        """The request that is being answered; uvicorn's `cycle` is the one that came last."""
        self._new = True
        """Whether the connection has not completed a head yet."""
        self._rest = b""
        """The bytes that were read and are not parsed yet."""
        self._in_head = False
        self._in_body = False
        self._progress = False
        """Whether the parser came to the end of a head or of a request with the present bytes."""
        self._head_size = 0
        self._body_size = 0
        self._pieces = 0
        """Pieces of bodies that came out of the present bytes."""
        self._body_left = 0
        """Bytes of a body with a Content-Length that are still to come."""
        self._asks_for_websocket = False
        self._upgrading = False
        self._refused = False
        self._refusal: tuple[int, str, str] | None = None
        """Status, limit and message of a refusal that waits until the requests before it were answered."""
        self._discarded = 0
        self._queued = False
        """Whether the connection waits for its turn to parse on."""
        self._held = 0
        """The bytes waiting here that the gate was told of."""
        self._unread_by = ""
        """The address of the client that leaves an answer unread."""

    def _begin_to_parse(self) -> None:
        """Make the parser and all else that a request takes, unless that was done before."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            # As uvicorn does: the first of several requests in one read may ask for the connection to be closed.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.pipeline = deque()
            self.flow = _Flow(self.transport)

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Take over the transport and count the connection.

        This does what uvicorn does, but asks the kernel for the server's address only once: it is the same for all.
        """
        self.connections.add(cast("Any", self))
        self.transport = transport
        transport.set_write_buffer_limits(high=SMALL_UNREAD_BYTES)
        peer = get_remote_addr(transport)
        self.client = (plain_address(peer[0]), peer[1]) if peer else None
        if self._gate.server is None:
            self._gate.server = get_local_addr(transport)
        self.server = self._gate.server
        self.scheme = "https" if is_ssl(transport) else "http"
        self._peer = self.client[0] if self.client else ""
        self._key = address_key(self._peer)
        self._counted = True
        self._from_proxy = self._peer in self._trusted
        if not self._gate.connected(self, self._key, proxy=self._from_proxy):
            self._refuse(429, "connections", "Too many connections from this address.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer and tell the app that its client is gone."""
        self._uncount()
        self._rest = b""
        self.pipeline.clear()
        if (running := self._running) is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin the time that a client may leave its answer unread."""
        super().pause_writing()
        self._gate.answers.start(self, self._gate.clock())
        client = (self.scope or {}).get("client")
        self._unread_by = address_key(str(client[0])) if client else self._key
        self._gate.unread.count(self, self._unread_by, self.unread())

    def resume_writing(self) -> None:
        """End that time: the client reads again."""
        super().resume_writing()
        self._gate.answers.stop(self)
        self._gate.unread.count(self, self._unread_by, 0)

    def unread(self) -> int:
        """Return the bytes of answers that wait for the client."""
        return self.transport.get_write_buffer_size()

    def cut_off(self) -> None:
        """End a connection because all clients together leave too much unread."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, at once or in slices, or throw it away after a refusal."""
        if self._refused:
            # Paused until the gate calls `discard_on`: a refused client must not own a turn by sending.
            self._discarded += len(data)
            self.transport.pause_reading()
            if self._discarded <= DISCARDED:
                self._gate.discard_later(self._key, self.discard_on)
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
            end = position + max(STEP if _pipelined(rest, position) else SLICE, self._body_left)
            self._parse(rest[position:end])
            if self._upgrading:
                # A client sends no frames before it has the server's answer (RFC 6455, section 4.1).
                self._rest = b""
                return
            position = end
        # Of refused connections nothing is kept, since many of them may linger.
        self._rest = b"" if self._refused or self.transport.is_closing() else rest[position:]
        flow = cast("_Flow", self.flow)
        flow.held = bool(self._rest)
        self._hold()
        if flow.held:
            flow.pause_reading()
        elif not self.pipeline and (self.cycle is None or self.cycle.response_complete):
            flow.resume_reading()

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
            self.flow = _Flow(self.transport)
            self.flow.pause_reading()

    def _hold(self) -> None:
        """Tell the gate how many bytes wait here, if that is more than nearly everybody's whole request."""
        held = len(self._rest) + (self._head_size if self._in_head else 0)
        held = held if held > SLICE else 0
        if held != self._held and self._counted:
            self._held = held
            self._gate.holds(self, held)

    def _parse(self, data: bytes) -> None:
        self._begin_to_parse()
        self._progress = False
        gate = self._gate
        gate.parsed(min(len(data), SLICE))
        super().data_received(data)
        if self._pieces:
            gate.parsed(self._pieces * PIECE_COST)
            self._pieces = 0
        if self._refused or self.transport.is_closing():
            return
        if self._in_body:
            gate.bodies.start(self, gate.clock())
        elif self._in_head or not self._progress:
            self._head_size += len(data)
            # Measured in slices, the first of which may belong to the request before, hence one slice of tolerance;
            # `on_headers_complete` measures a whole head exactly.
            if self._head_size > gate.limits.head_bytes + SLICE:
                self._head_too_large()
            else:
                gate.heads.start(self, gate.clock())
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
        if len(self.headers) >= self._gate.limits.headers:
            limit = self._gate.limits.headers
            # Trailers, behind a chunked body (RFC 9112, section 7.1.2), come here as well.
            self._refuse(431, "headers", f"A request has at most {limit} headers.", own=self._in_body)
        else:
            super().on_header(name, value)

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
        self._body_left = 0
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

    def _take_in_forwarded(self) -> None:
        client = self._trusted.client(self._peer, self.scheme or "http", self.headers)
        scope = cast("dict[str, Any]", self.scope)
        scope["client"] = (client.address, 0)
        scope["scheme"] = client.scheme
        if client.host is not None:
            # In place, since the scope has the same list.
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", client.host.encode("latin-1")))

    # -- requests begin when it is their turn ----------------------------------------------------------------------

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        self._gate.begin(self._turn_key, partial(self._start, cycle, app))

    def _start(self, cycle: Any, app: Any) -> None:
        if not self.transport.is_closing():
            super()._start_asgi_task(cycle, app)

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
            cast("_Flow", self.flow).held = False
            self.flow.resume_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a service without WebSockets answers such a request like any other."""

    # -- refusing --------------------------------------------------------------------------------------------------

    def expired(self, limit: str) -> None:
        """Refuse a head or a body that did not come in time. End a connection that reads nothing, or asks nothing."""
        transport = self.transport
        if limit == "answer_seconds":
            # Also where it is closing already: it would wait for its client to read for ever.
            transport.abort()
            return
        if transport.is_closing():
            return
        if limit == "head_seconds" and (self._in_head or self._head_size):
            self._refuse(408, "", "The request did not come in time.")
        elif limit == "body_seconds":
            self._refuse(408, "", "The body did not come in time.", own=True)
        else:
            transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not an HTTP request. uvicorn calls it."""
        if not self._refused:
            self._refuse(400, "", msg, own=self._in_body)

    def _head_too_large(self) -> None:
        self._refuse(431, "head_bytes", f"A request's head is at most {self._gate.limits.head_bytes} bytes.")

    def _too_large(self, *, own: bool) -> None:
        limit = self._gate.limits.body_bytes
        self._refuse(413, "body_bytes", f"A body is at most {limit} bytes.", own=own)

    def _refuse(self, status: int, limit: str, message: str, *, own: bool = False) -> None:
        """Answer with a status, after the answers that are due, and close.

        `own` says that the request that is refused was handed to the app already, with an incomplete body.
        """
        # HTTP/1.1 answers in the order of the requests (RFC 9112, section 9.3.2), so a refusal waits for earlier ones.
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if own and self.pipeline:
                # The request waits behind others and has not begun, so the app does not know it.
                self.pipeline.popleft()
                own = False
            if not own:
                self._refused, self._rest = True, b""
                self._refusal = status, limit, message
                self._stop_deadlines()
                return
            if cycle.response_started:
                # A part of its answer is out, and a status after that would be taken for the answer's body.
                self._refused = True
                self.transport.abort()
                return
            # The app must not answer any more; for it the client is gone.
            cycle.disconnected = True
            cycle.message_event.set()
        elif own:
            # The request was answered before its body was complete, so there is nobody to refuse.
            self._linger()
            return
        self._answer_refusal(status, limit, message)

    def _answer_refusal(self, status: int, limit: str, message: str) -> None:
        if limit:
            HTTP_LIMITED.labels(limit).inc()
        self.transport.write(refusal(status, message))
        self._linger()

    def _linger(self) -> None:
        """Close this side, but read on for a moment.

        To close a socket with unread input resets the connection, which may destroy the answer on its way to the client
        (RFC 9112, section 9.6).
        """
        self._begin_to_parse()
        self._refused = True
        self._rest = b""
        # A head of many small headers takes several times its bytes.
        self.headers, self.scope = [], cast("Any", {})
        if self.cycle is not None:
            self.cycle.body = bytearray()
        self._unset_keepalive_if_required()
        self._stop_deadlines()
        if self.transport.can_write_eof():
            self._gate.linger(self)
            self.transport.write_eof()
            cast("_Flow", self.flow).held = False
            self.flow.resume_reading()
        else:
            self.transport.close()

    def discard_on(self) -> None:
        """Read another piece, which `data_received` throws away. The gate calls it."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _stop_deadlines(self) -> None:
        self._gate.heads.stop(self)
        self._gate.bodies.stop(self)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self._gate.disconnected(self, self._key)
            self._gate.unread.count(self, self._unread_by, 0)
            if self._new:
                self._new = False
                self._gate.first_head(self, self._key)
