"""The WebSocket transport of one client: an `asyncio.Protocol` between uvicorn's transport and a `Session`.

`parley.common.http.connection.request_turns` has read the request for an upgrade and hands it over with the transport
(RFC 6455, section 4.2). The loop calls `data_received` and the other methods of `asyncio.Protocol`; the session calls
those of `transports.Socket`; `ReadScheduler` calls `read_on`, and `WriteScheduler` `write` and `close_lost`. There is
no task.

| state | `_session` | `_reader` | input | next |
|---|---|---|---|---|
| new | None | None | `upgrade` | open; refused: the answer is an error, and the transport is closed |
| open | set | set | `close`, a CLOSE frame, a protocol error | closing: a CLOSE frame was written, nothing is read |
| open | set | set | the client is gone: `connection_lost`, EOF | lost: `close_lost` ends the session at its turn |
| open | set | set | `abort` | gone |
| closing | None | None | the client closes its side, or `CLOSE_GRACE` passes | gone |
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn import Config

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.packets import Packet
from parley.engineio.reading import FREE_BYTES, FREE_FRAMES, READ_BYTES, READ_FRAMES, UNJOINED_FRAMES
from parley.engineio.request import (
    Refusal,
    TransportRequest,
    accept_key,
    bad_request,
    request_of,
    subprotocol,
    unknown_transport,
)
from parley.engineio.server import CLOSE_GRACE, STATE_KEY, Engine
from parley.engineio.session import Session
from parley.engineio.timer_wheel import TimerEntry
from parley.engineio.websocket import deflate, frames
from parley.engineio.websocket.frames import (
    CLOSE,
    GOING_AWAY,
    NORMAL,
    PING,
    PONG,
    TRY_LATER,
    FrameReader,
    close_frame,
    frame,
)

OPEN_DELAY = 0.005
"""Seconds between the upgrade and OPEN for a client of revision 3."""
DISCARDED = 64 * 1024
"""Bytes that are read and thrown away after a close, until the client closes its side."""
# Attributes of enums are slow, and thousands of clients may be lost in one turn of the loop.
_CLOSED, _FAILED = DisconnectReason.TRANSPORT_CLOSE, DisconnectReason.TRANSPORT_ERROR


class WebSocket(asyncio.Protocol):
    """One client's WebSocket. `pending` frames are written together at the end of a turn of the loop."""

    __slots__ = (
        "_address", "_backlogged", "_connections", "_discarded", "_engine", "_engines", "_held", "_reader", "_session",
        "_timeout", "_transport", "bulk", "compress", "congested", "pending", "revision", "shares_frames",
    )  # fmt: skip

    def __init__(self, config: Config, server_state: Any, app_state: dict[str, Any]) -> None:  # noqa: ARG002 - uvicorn's signature
        self._connections: set[Any] = server_state.connections
        self._engines: dict[bytes, Engine] = app_state[STATE_KEY]
        self._transport: Any = None
        self._session: Session | None = None
        self._reader: FrameReader | None = None
        self._timeout: TimerEntry | None = None
        self._backlogged = False
        self._held = 0
        """The bytes in the reader that the budget counts."""
        self._discarded = 0
        self._address = ""
        """The key of its client's address, also after the session's end: bytes may wait for the client until later."""
        self.revision = 4
        self.compress = False
        self.shares_frames = True
        """Whether it takes the frames that nearly all clients take: revision 4, uncompressed."""
        self.congested = False
        """Whether the client reads slower than it is sent to: the kernel's buffer and the loop's are full."""
        self.bulk = False
        """Whether it waits to be written in the slices of a large broadcast."""
        self.pending: bytes | list[bytes] | None = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Work off the frames that came, as many as this turn of the loop allows (`reading`)."""
        if self._session is None:
            # The session is over. The client's bytes are read up to a bound, so that its close is seen.
            self._discarded += len(data)
            if self._discarded > DISCARDED and self._transport is not None:
                self._transport.pause_reading()
        elif self._backlogged:
            # Reading is paused, but the loop may have had a read under way: it joins the backlog.
            self._work_off(data, 0)
        elif self._engine.input.exhausted:
            # A small read is one event, as a rule, which need not wait for clients that send much. But a compressed one
            # may become large, and a client that has joined no namespace has no events.
            small = len(data) <= FREE_BYTES and not self.compress and self._session.joined
            self._work_off(data, FREE_FRAMES if small else 0)
        else:
            self._work_off(data, READ_FRAMES)

    def read_on(self) -> None:
        """Work off a part of the backlog, and read on once nothing is left of it."""
        self._backlogged = False
        if self._reader is not None and self._reader.waiting:
            self._work_off(b"", READ_FRAMES)
        # Also when the session ended meanwhile: the client's close is still to be read.
        if not self._backlogged and self._transport is not None:
            self._transport.resume_reading()

    def _work_off(self, data: bytes, allowance: int) -> None:
        session, reader = self._session, self._reader
        if session is None or reader is None:
            return
        for opcode, message in reader.feed(data, allowance, READ_BYTES):
            if opcode < CLOSE:
                session.socket_received(self, message)
            elif opcode == CLOSE:  # RFC 6455, section 5.5.1
                session.socket_lost(self, DisconnectReason.TRANSPORT_CLOSE)
                self.close(NORMAL)
            elif session.count_control() and opcode == PING:  # RFC 6455, section 5.5.2
                self._push(frame(PONG, message))  # pyright: ignore[reportArgumentType] - control frames are bytes
            # Any of these may have ended the session; what came after it is nobody's.
            if self._session is None:
                return
        if reader.error is not None:
            self.close(reader.error.code)
            too_big = reader.error.code == frames.TOO_BIG
            session.socket_lost(self, DisconnectReason.MESSAGE_TOO_BIG if too_big else DisconnectReason.PARSE_ERROR)
            return
        if reader.held != self._held and not self._hold(session, reader.held):
            return
        unjoined = not session.joined
        large = len(data) > FREE_BYTES or reader.frames > FREE_FRAMES or reader.worked > FREE_BYTES
        if large or reader.waiting or not data or unjoined:
            self._engine.input.spent(max(reader.frames, UNJOINED_FRAMES) if unjoined else reader.frames, reader.worked)
            if (reader.waiting or len(data) >= READ_BYTES) and not self._backlogged:
                self._backlogged = True
                self._transport.pause_reading()
                self._engine.input.wait(self)

    def _hold(self, session: Session, held: int) -> bool:
        """Tell the budget how many bytes wait in the reader. Return False when that is too much: then it is over."""
        counted = self._engine.budget.hold(session, held, self._held)
        if counted is None:
            self._engine.limited("input_memory")
            self.close(TRY_LATER)
            session.socket_lost(self, DisconnectReason.OVERLOADED)
            return False
        self._held = counted
        return True

    def eof_received(self) -> bool:
        """Have the session ended at its turn, because the client has closed its side: thousands may do so at once.

        True keeps the transport open until then. A TLS transport cannot stay half open.
        """
        if self._session is None or not self._transport.can_write_eof():
            return False
        self._engine.output.lost(self, _CLOSED)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Have the session ended at its turn, because the transport is gone.

        The loop calls this for all connections that are lost at once, without a turn between them.
        """
        transport, self._transport = self._transport, None
        # The loop does not call it for a transport that is gone, and the bytes would be counted as unread for ever.
        if self.congested:
            self.resume_writing()
        if self._session is not None:
            self._engine.output.lost(self, _CLOSED if exc is None else _FAILED, transport)
        else:
            self._connections.discard(self)
            self._cancel_timeout()

    def close_lost(self, reason: str) -> None:
        """End the session, and the transport if it is still there. `WriteScheduler` calls it."""
        self._connections.discard(self)
        session, self._session = self._session, None
        transport, self._transport = self._transport, None
        self.pending = None
        self._cancel_timeout()
        if session is not None:
            self._release(session)
            session.socket_lost(self, reason)
        if transport is not None:
            transport.abort()

    def pause_writing(self) -> None:
        """Note that the client reads slower than it is sent to."""
        self.congested = True

    def resume_writing(self) -> None:
        """Note that the client has caught up, or that nothing waits for it any more."""
        self.congested = False
        self._engine.leaves_unread(self, self._address, 0)

    def unread(self) -> int:
        """Return the bytes that wait for the client in the loop's buffer."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def cut_off(self) -> None:
        """End the session because all clients together read too slowly, or what is left of it after a close."""
        if self._session is not None:
            self._session.fail(DisconnectReason.SLOW)
        elif self._transport is not None:
            self._transport.abort()

    def shutdown(self) -> None:
        """Do nothing when uvicorn stops: the gateway drains its sessions itself."""

    # -- the request -----------------------------------------------------------------------------------------------

    def upgrade(self, transport: Any, scope: dict[str, Any]) -> None:
        """Take the transport over and answer the request (RFC 6455, section 4.2.2)."""
        self._transport = transport
        self._connections.add(self)
        try:
            request = self._read(scope)
            accept = accept_key(request.headers)
            self._engine.check(request)
            session = self._engine.find(request) if request.sid else self._engine.begin(request)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-accept: {accept}\r\n"
        )
        if (offered := request.headers.get("sec-websocket-protocol")) and (chosen := subprotocol(offered)):
            answer += f"sec-websocket-protocol: {chosen}\r\n"
        if self._engine.deflate:
            extensions = deflate.negotiate(request.headers.get("sec-websocket-extensions", ""))
            if extensions is not None:
                self.compress = True
                answer += f"sec-websocket-extensions: {extensions}\r\n"
        self.revision = request.revision
        self.shares_frames = self.revision == 4 and not self.compress
        self._reader = FrameReader(session.max_message, deflate=self.compress)
        # Not written at once, so that it leaves in one write with OPEN.
        self._push(f"{answer}\r\n".encode("latin-1"))
        self._join(session, new=not request.sid)

    def _join(self, session: Session, *, new: bool) -> None:
        self._session = session
        self._address = session.address
        if new:
            # Clients of revision 3 may lose a message that arrives with the answer, before they see the socket open.
            if session.revision == 3:
                asyncio.get_running_loop().call_later(OPEN_DELAY, self._open, session)
            else:
                self._open(session)
        elif session.probe(self):
            self._timeout = self._engine.call_later(self._engine.limits.upgrade_timeout, self._give_up)
        else:
            self.close(NORMAL)

    def _give_up(self) -> None:
        if self._session is not None and self._session.probe_failed(self):
            LIMIT_HITS.labels("upgrade_timeout").inc()

    def _open(self, session: Session) -> None:
        if self._session is None:
            return
        if session.over:
            self.close(GOING_AWAY)
        else:
            session.open(self)
            self._engine.opened(session)

    def _read(self, scope: dict[str, Any]) -> TransportRequest:
        """Read the request and find the engine of its path. Raises `Refusal`."""
        engine = self._engines.get(scope["path"].rstrip("/").encode())
        if engine is None:
            raise Refusal(3, "Not found", 404)
        self._engine = engine
        request = request_of(scope)
        if request.method != "GET":
            raise bad_request()
        if request.transport != "websocket":
            raise unknown_transport()
        return request

    def _refuse(self, refusal: Refusal) -> None:
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(refusal.body)}\r\nconnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + refusal.body)
        self._transport.close()

    # -- transports.Socket -----------------------------------------------------------------------------------------

    def allow(self, size: int) -> None:
        """Accept messages up to this size from now on."""
        if self._reader is not None:
            self._reader.limit = size

    def push(self, packet: Packet) -> None:
        """Write a packet at the end of this turn of the loop, in order."""
        self._push(packet.frames(self.revision, compress=self.compress))

    def _push(self, frames: bytes) -> None:
        pending = self.pending
        if pending is None:
            self.pending = frames
            self._engine.write_soon(self)
        else:
            if isinstance(pending, list):
                pending.append(frames)
            else:
                self.pending = [pending, frames]
            if self.bulk:
                # It waits in a large broadcast; this packet, and what waits before it, need not wait so long.
                self.bulk = False
                self._engine.write_soon(self)

    def write(self) -> None:
        """Write what is pending. A client that leaves more than `max_buffer` bytes unread is ended."""
        pending, transport = self.pending, self._transport
        if pending is None or transport is None:
            return
        self.pending = None
        self.bulk = False
        transport.write(b"".join(pending) if isinstance(pending, list) else pending)
        if self.congested:
            unread = transport.get_write_buffer_size()
            if self._session is not None and unread > self._engine.limits.max_buffer:
                self._session.fail(DisconnectReason.SLOW)
            else:
                self._engine.leaves_unread(self, self._address, unread)

    def close(self, code: int) -> None:
        """Close the session's part, but let the client read what was sent before (RFC 6455, section 7.1.1)."""
        session, transport = self._session, self._transport
        if session is None or self._reader is None:
            return
        self._session = None
        self._cancel_timeout()
        self._release(session)
        if transport is None:
            return
        self.write()
        transport.write(close_frame(code))
        if transport.can_write_eof():
            # To close a socket with unread input resets the connection, which may destroy what is on its way out.
            transport.write_eof()
            if self._backlogged:
                transport.resume_reading()
        else:
            transport.close()
        # A client that never closes its side must not keep the connection open (RFC 6455, section 7.1.1).
        self._timeout = self._engine.call_later(CLOSE_GRACE, transport.abort)

    def abort(self) -> None:
        """Close at once, without a CLOSE frame: the client does not read."""
        if self._session is not None:
            self._release(self._session)
        self._session, self.pending = None, None
        self._cancel_timeout()
        if self._transport is not None:
            self._transport.abort()

    def _release(self, session: Session) -> None:
        """Drop the bytes that were not worked off."""
        self._reader = None
        held, self._held = self._held, 0
        if held:
            self._engine.budget.give_back(session, held)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._engine.cancel(self._timeout)
            self._timeout = None
