"""An HTTP connection that is counted from its first moment, and how it is refused and ended.

All connections of a server share an `HttpGate`, which keeps the counts and the deadlines. A head or a body that exceeds
its size or its deadline is answered with a status and an error code, and its connection is closed (RFC 9110, section
15.5; RFC 6585, section 5). To close is a way of its own: the answers that are due come first, and the client's bytes
are read for a moment longer, since a reset would take the answer from it.

The overridden methods and the attributes without a docstring here are `HttpToolsProtocol`'s, as of uvicorn 0.54.
"""
# pyright: reportUnnecessaryComparison=false

from __future__ import annotations

import logging
from collections import deque
from typing import Any, cast
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from parley.common.http.addresses import address_key, plain_address
from parley.common.http.connection.gate import HTTP_LIMITED, HttpGate, HttpLimits
from parley.common.http.forwarded import TrustedProxies
from parley.common.http.output_budget import SMALL_UNREAD_BYTES
from parley.common.http.problems import refusal

DISCARDED = 8 * 1024 * 1024
"""Bytes that are read and thrown away of a refused connection: twice the largest body.

Many clients read no answer before they have sent everything. What this costs is bounded by the turns of the gate.
"""

_errors = logging.getLogger("uvicorn.error.requests")
_errors.setLevel(logging.ERROR)
# By uvicorn's state of a server, which all connections of that server share, and which goes with it.
_gates: WeakKeyDictionary[Any, HttpGate] = WeakKeyDictionary()


class HeldFlow(FlowControl):
    """uvicorn's flow control, which resumes reading only when nothing waits here to be parsed either."""

    held = False
    """Whether something waits to be parsed."""

    def resume_reading(self) -> None:
        """Read on, unless something waits."""
        if not self.held:
            super().resume_reading()


class CountedConnection(HttpToolsProtocol):
    """One HTTP connection, as far as it is counted and can be refused. What it reads is its subclasses'."""

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
        self._in_head = self._in_body = False
        self._head_size = 0
        self._refused = False
        self._refusal: tuple[int, str, str] | None = None
        """Status, limit and message of a refusal that waits until the requests before it were answered."""
        self._discarded = 0
        self._unread_by = ""
        """The address of the client that leaves an answer unread."""

    def _begin_to_parse(self) -> None:
        """Make the parser and all else that a request takes, unless that was done before."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            # As uvicorn does: the first of several requests in one read may ask for the connection to be closed.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.pipeline = deque()
            self.flow = HeldFlow(self.transport)

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

    def _take_in_forwarded(self) -> None:
        client = self._trusted.client(self._peer, self.scheme or "http", self.headers)
        scope = cast("dict[str, Any]", self.scope)
        scope["client"] = (client.address, 0)
        scope["scheme"] = client.scheme
        if client.host is not None:
            # In place, since the scope has the same list.
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", client.host.encode("latin-1")))

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
            try:
                self.transport.write_eof()
            except OSError:
                self.transport.abort()  # the client is gone, unnoticed because nothing was read
                return
            cast("HeldFlow", self.flow).held = False
            self.flow.resume_reading()
        else:
            self.transport.close()

    def _discard(self, data: bytes) -> None:
        # Paused until the gate calls `discard_on`: a refused client must not own a turn by sending.
        self._discarded += len(data)
        self.transport.pause_reading()
        if self._discarded <= DISCARDED:
            self._gate.discard_later(self._key, self.discard_on)

    def discard_on(self) -> None:
        """Read another piece, which `data_received` throws away. The gate calls it."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _stop_deadlines(self) -> None:
        self._gate.heads.stop(self)
        self._gate.bodies.stop(self)

    def _uncount(self) -> None:
        # Once, whichever comes first: the hand-over to a WebSocket, or the end.
        if self._counted:
            self._counted = False
            self._gate.disconnected(self, self._key)
            self._gate.unread.count(self, self._unread_by, 0)
            if self._new:
                self._new = False
                self._gate.first_head(self, self._key)
