"""The WebSocket shell: an `asyncio.Protocol` that uvicorn makes when a request asks for an upgrade.

uvicorn has parsed the request and hands it on as it would stand on the wire; from then on the transport is ours.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_remote_addr, is_ssl

from parley.gateway.engineio.packets import Packet
from parley.gateway.engineio.request import Refusal, Request, accept_key, bad_request, read_request, unknown_transport
from parley.gateway.engineio.server import CLOSE_GRACE, STATE_KEY, Engine
from parley.gateway.engineio.session import PARSE_ERROR, SLOW, TOO_BIG, TRANSPORT_CLOSE, TRANSPORT_ERROR, Session
from parley.gateway.engineio.websocket import deflate, frames
from parley.gateway.engineio.websocket.frames import CLOSE, NORMAL, PING, PONG, FrameReader, close_frame, frame
from parley.gateway.metrics import LIMIT_HITS

OPEN_DELAY = 0.005
"""Seconds between the upgrade and the greeting of an older client."""

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class WebSocket(asyncio.Protocol):
    """One client's WebSocket: `pending` frames are written together at the end of a tick."""

    __slots__ = (
        "_connections", "_engine", "_engines", "_reader", "_session", "_transport", "_trusted",
        "bulk", "choked", "compress", "pending", "plain", "revision",
    )  # fmt: skip

    def __init__(self, config: Config, server_state: Any, app_state: dict[str, Any]) -> None:
        self._trusted: Any = _trusted(str(config.forwarded_allow_ips)) if config.proxy_headers else ()
        self._connections: set[Any] = server_state.connections
        self._engines: dict[bytes, Engine] = app_state[STATE_KEY]
        self._transport: Any = None
        self._session: Session | None = None
        self._reader: FrameReader | None = None
        self.revision = 4
        self.compress = False
        self.plain = True
        self.choked = False
        self.bulk = False
        self.pending: bytes | list[bytes] | None = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Take the transport over."""
        self._transport = transport
        self._connections.add(self)
        # uvicorn's protocol and its parser refer to each other, and here nobody else parts them.
        asyncio.get_running_loop().call_soon(setattr, transport.get_protocol(), "parser", None)

    def data_received(self, data: bytes) -> None:
        """The request first, then frames."""
        reader = self._reader
        if reader is None:
            self._begin(data)
            return
        session = self._session
        if session is None:
            return
        for opcode, message in reader.feed(data):
            if opcode < CLOSE:
                session.socket_received(self, message)
            elif opcode == PING:
                self._push(frame(PONG, message))  # pyright: ignore[reportArgumentType] - control frames are bytes
            elif opcode == CLOSE:
                session.socket_lost(self, TRANSPORT_CLOSE)
                self.close(NORMAL)
            if self._session is None:
                return
        if reader.error is not None:
            self.close(reader.error.code)
            session.socket_lost(self, TOO_BIG if reader.error.code == frames.TOO_BIG else PARSE_ERROR)

    def eof_received(self) -> bool:
        """The client is gone. Thousands may go at once, so closing the transport waits for its turn, where it can."""
        if self._session is None or not self._transport.can_write_eof():
            return False
        self._engine.output.lost(self, TRANSPORT_CLOSE)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone. The loop calls this for all that went at once, so everything else waits."""
        self._transport = None
        if self._session is not None:
            self._engine.output.lost(self, TRANSPORT_CLOSE if exc is None else TRANSPORT_ERROR)
        else:
            self._connections.discard(self)

    def let_go(self, reason: str) -> None:
        """See `output.LostSocket`."""
        self._connections.discard(self)
        session, self._session = self._session, None
        transport, self._transport = self._transport, None
        self.pending = None
        if session is not None:
            session.socket_lost(self, reason)
        if transport is not None:
            transport.abort()

    def pause_writing(self) -> None:
        """The client reads slower than it is sent to."""
        self.choked = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.choked = False

    def shutdown(self) -> None:
        """Uvicorn stops; the gateway drains its sessions itself."""

    # -- the request -----------------------------------------------------------------------------------------------

    def _begin(self, head: bytes) -> None:
        try:
            request = self._read(head)
            accept = accept_key(request.headers)
            self._engine.check(request)
            session = self._engine.find(request) if request.sid else self._engine.begin(request)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        extensions = None
        if self._engine.deflate:
            extensions = deflate.negotiate(request.headers.get("sec-websocket-extensions", ""))
        self.revision = request.revision
        self.compress = extensions is not None
        self.plain = self.revision == 4 and not self.compress
        self._reader = FrameReader(self._engine.limits.max_payload, deflate=self.compress)
        # Leaves together with the greeting.
        self._push(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
            + accept.encode()
            + (b"\r\nsec-websocket-extensions: " + extensions.encode() if extensions else b"")
            + b"\r\n\r\n"
        )
        self._join(session, new=not request.sid)

    def _join(self, session: Session, *, new: bool) -> None:
        self._session = session
        if new:
            # Clients as old as revision 3 may look for messages only once they have seen the connection open.
            if session.revision == 3:
                asyncio.get_running_loop().call_later(OPEN_DELAY, self._open, session)
            else:
                self._open(session)
        elif session.probe(self):
            self._engine.call_later(self._engine.limits.upgrade_timeout, lambda: self._give_up(session))
        else:
            self.close(NORMAL)

    def _give_up(self, session: Session) -> None:
        if session.probe_failed(self):
            LIMIT_HITS.labels("upgrade_timeout").inc()

    def _open(self, session: Session) -> None:
        if not session.over and self._transport is not None:
            session.open(self)
            self._engine.opened(session)

    def _read(self, head: bytes) -> Request:
        lines = head.split(b"\r\n")
        method, target, _ = lines[0].split(b" ", 2)
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines[1:] if line)]
        path, _, query = target.partition(b"?")
        engine = self._engines.get(path.rstrip(b"/"))
        if engine is None:
            raise Refusal(3, "Not found", 404)
        self._engine = engine
        address, scheme = self._client(headers)
        request = read_request(method.decode("latin-1"), query, headers, address, scheme)
        if request.method != "GET":
            raise bad_request()
        if request.transport != "websocket":
            raise unknown_transport()
        return request

    def _client(self, headers: list[tuple[bytes, bytes]]) -> tuple[str, str]:
        """The client's address and scheme, as a trusted proxy tells them, by uvicorn's own rules."""
        address = str((get_remote_addr(self._transport) or ("", 0))[0])
        scheme = "https" if is_ssl(self._transport) else "http"
        trusted = self._trusted
        if address in trusted:
            forwarded = b", ".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
            if forwarded:
                address = str(trusted.get_trusted_client_address(forwarded)[0]) or address
            told = next((value for name, value in headers if name == b"x-forwarded-proto"), b"").strip()
            scheme = {b"https": "https", b"wss": "https", b"http": "http", b"ws": "http"}.get(told, scheme)
        return address, scheme

    def _refuse(self, refusal: Refusal) -> None:
        reason = _REASONS[refusal.status]
        head = (
            f"HTTP/1.1 {refusal.status} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(refusal.body)}\r\nconnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + refusal.body)
        self._transport.close()

    # -- session.Socket --------------------------------------------------------------------------------------------

    def push(self, packet: Packet) -> None:
        """See `session.Socket`."""
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
                # It waits behind a large room's members; this packet does not.
                self.bulk = False
                self._engine.write_soon(self)

    def write(self) -> None:
        """Write what is pending."""
        pending, transport = self.pending, self._transport
        if pending is None or transport is None:
            return
        self.pending = None
        self.bulk = False
        transport.write(b"".join(pending) if isinstance(pending, list) else pending)
        if (
            self.choked
            and self._session is not None
            and transport.get_write_buffer_size() > self._engine.limits.max_buffer
        ):
            self._session.end(SLOW)

    def close(self, code: int) -> None:
        """See `session.Socket`: nothing is taken from the client any more, but it may read what was sent before."""
        if self._session is None or self._reader is None:
            return
        self._session = None
        transport = self._transport
        if transport is None:
            return
        self.write()
        transport.write(close_frame(code))
        if transport.can_write_eof():
            # Closing with unread input would reset the connection and could destroy what is still on its way out.
            transport.write_eof()
        else:
            transport.close()
        self._engine.call_later(CLOSE_GRACE, transport.abort)

    def abort(self) -> None:
        """See `session.Socket`."""
        self._session, self.pending = None, None
        if self._transport is not None:
            self._transport.abort()


@cache
def _trusted(hosts: str) -> Any:
    """The proxies whose word is taken, by uvicorn's own rules."""
    unused: Any = None
    return ProxyHeadersMiddleware(unused, trusted_hosts=hosts).trusted_hosts
