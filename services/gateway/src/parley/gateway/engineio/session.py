"""One Engine.IO client, pure: a state machine between its transports and the layer above.

It is handed packets, polls and the time, and writes to the `Socket` or `Poll` it was given. A client begins on polling
or on a WebSocket; one that polls may probe a WebSocket and move onto it, and what was queued moves along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import msgspec

from parley.gateway.engineio import packets
from parley.gateway.engineio.packets import (
    CLOSE_PACKET,
    NOOP_PACKET,
    PING_PACKET,
    PONG_PACKET,
    Incoming,
    MalformedPayload,
    Packet,
    TooManyPackets,
)
from parley.gateway.engineio.websocket.frames import NORMAL

TRANSPORT_CLOSE = "transport close"
TRANSPORT_ERROR = "transport error"
PING_TIMEOUT = "ping timeout"
PARSE_ERROR = "parse error"
SLOW = "slow"
TOO_BIG = "message too big"
TOO_MANY_PACKETS = "too many packets"
"""Why sessions end, besides the reasons that the layer above gives."""

CHOKED_BYTES = 16 * 1024
"""Bytes waiting for a polling client from which on volatile packets are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    upgrade_timeout: float = 10.0
    max_payload: int = 1_000_000
    max_buffer: int = 1024 * 1024
    max_packets: int = 1000
    max_per_address: int = 10_000


class Socket(Protocol):
    """A WebSocket, as a session uses it."""

    @property
    def choked(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        ...

    def push(self, packet: Packet) -> None:
        """Write soon, in order."""
        ...

    def close(self, code: int) -> None:
        """Write what is left, then close."""
        ...

    def abort(self) -> None:
        """Close at once; the client does not read anyway."""
        ...


class Poll(Protocol):
    """A polling request that waits for its answer."""

    def answer(self, packets: list[Packet]) -> None:
        """Complete the request; without a packet the session is gone."""
        ...


class Owner(Protocol):
    """What a session tells its server."""

    limits: Limits

    def clock(self) -> float:
        """Monotonic seconds."""
        ...

    def received(self, session: Session, data: str | bytes) -> None:
        """The client sent a message."""
        ...

    def ended(self, session: Session, reason: str) -> None:
        """The session is over; called once."""
        ...

    def write_soon(self, session: Session) -> None:
        """Call `write` at the end of this tick."""
        ...

    def dropped(self) -> None:
        """A volatile packet was not sent."""
        ...


class NotPolling(Exception):
    """A polling request for a session that is on a WebSocket, over, or polled twice at once."""


class _Open(msgspec.Struct, rename="camel"):
    sid: str
    upgrades: list[str]
    ping_interval: int
    ping_timeout: int
    max_payload: int


NOTHING: Mapping[str, str] = MappingProxyType({})


class RequestInfo(NamedTuple):
    """What is remembered of the request that began a session: no header but those that are asked for."""

    address: str
    query: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    secure: bool = False


class Session:
    """See the module. `socket` is None while the client polls."""

    __slots__ = (
        "_awaiting", "_due", "_owner", "_poll", "_probe", "_queue", "_queued", "_upgrading",
        "base64_only", "client", "joined", "origin", "over", "revision", "sid", "socket",
    )  # fmt: skip

    def __init__(self, owner: Owner, sid: str, revision: int, origin: RequestInfo, *, base64_only: bool) -> None:
        self.sid = sid
        self.revision = revision
        self.origin = origin
        """The request that began it."""
        self.base64_only = base64_only
        self.client: Any = None
        """What the layer above hangs on it."""
        self.joined = False
        """Whether the layer above has let it in."""
        self.over = False
        self.socket: Socket | None = None
        self._owner = owner
        self._queue: list[Packet] | None = None
        self._queued = 0
        self._poll: Poll | None = None
        self._probe: Socket | None = None
        self._upgrading = False
        self._awaiting = False
        limits = owner.limits
        first = limits.ping_interval if revision == 4 else limits.ping_interval + limits.ping_timeout
        self._due = owner.clock() + first

    def open(self, socket: Socket | None) -> None:
        """Greet the client, on a WebSocket or in the answer to its first poll."""
        self.socket = socket
        limits = self._owner.limits
        opening = _Open(
            self.sid,
            [] if socket else ["websocket"],
            round(limits.ping_interval * 1000),
            round(limits.ping_timeout * 1000),
            limits.max_payload,
        )
        self.send(Packet.of(b"0" + msgspec.json.encode(opening)))

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, packet: Packet, *, volatile: bool = False) -> None:
        """Send in order. A client that does not take what waits for it loses volatile packets, then the session."""
        if self.over:
            return
        socket = self.socket
        if volatile and self.congested:
            self._owner.dropped()
        elif socket is not None:
            socket.push(packet)
        elif self._queued and self._queued + packet.size > self._owner.limits.max_buffer:
            self.end(SLOW)
        else:
            self._enqueue(packet)
            self._owner.write_soon(self)

    @property
    def congested(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        return self._queued > CHOKED_BYTES if self.socket is None else self.socket.choked

    def _enqueue(self, packet: Packet) -> None:
        if self._queue is None:
            self._queue = []
        self._queue.append(packet)
        self._queued += packet.size

    def write(self) -> None:
        """Answer a waiting poll with what is queued."""
        if self._poll is not None and self._queue:
            self._answer(self._taken())

    def _taken(self) -> list[Packet]:
        taken, self._queue, self._queued = self._queue or [], None, 0
        return taken

    def _answer(self, answer: list[Packet]) -> None:
        if (poll := self._poll) is not None:
            self._poll = None
            poll.answer(answer)

    # -- ending ----------------------------------------------------------------------------------------------------

    def close(self, reason: str, code: int = NORMAL) -> None:
        """End it from this side, once what was sent has been written.

        Some stock clients that poll stay away for good after a CLOSE, so they get one only with the code for that; else
        their requests fail, and they connect again.
        """
        if self.over:
            return
        if self.socket is None:
            if code == NORMAL:
                self._enqueue(CLOSE_PACKET)
            if self._poll is not None:
                self._answer(self._taken())
        self._end(reason, code)

    def end(self, reason: str, code: int = NORMAL) -> None:
        """It is over for the client's fault, or gone already: nothing more is said than a WebSocket's close code."""
        if not self.over:
            self._taken()
            self._end(reason, code)

    def _end(self, reason: str, code: int) -> None:
        self.over = True
        socket, self.socket = self.socket, None
        probe, self._probe = self._probe, None
        if socket is not None:
            if reason == SLOW:
                socket.abort()
            else:
                socket.close(code)
        if probe is not None:
            probe.close(NORMAL)
        self._answer([CLOSE_PACKET])
        self._owner.ended(self, reason)

    @property
    def has_farewell(self) -> bool:
        """Whether a closed polling client has something left to be told."""
        return self.over and bool(self._queue)

    def farewell(self) -> list[Packet]:
        """Take what a closed polling client has not been told yet."""
        return self._taken()

    # -- polling ---------------------------------------------------------------------------------------------------

    def poll(self, poll: Poll) -> None:
        """A GET came. Raises `NotPolling`."""
        if self.over or self.socket is not None:
            raise NotPolling
        if self._poll is not None:
            self.end(TRANSPORT_ERROR)
            raise NotPolling
        self._poll = poll
        if self._queue:
            self.write()
        elif self._upgrading:
            self._answer([NOOP_PACKET])

    def poll_cancelled(self, poll: Poll) -> None:
        """The client hung up on a GET."""
        if self._poll is poll:
            self._poll = None
            self.end(TRANSPORT_CLOSE)

    def post(self, body: bytes, *, binary: bool) -> None:
        """A POST came. Raises `NotPolling`, or `MalformedPayload` when that ended the session."""
        if self.over or self.socket is not None:
            raise NotPolling
        try:
            incoming = packets.decode_payload(body, self.revision, binary=binary, limit=self._owner.limits.max_packets)
            for packet in incoming:
                self._receive(packet)
        except MalformedPayload as error:
            self.end(TOO_MANY_PACKETS if isinstance(error, TooManyPackets) else PARSE_ERROR)
            raise

    # -- WebSocket -------------------------------------------------------------------------------------------------

    def probe(self, socket: Socket) -> bool:
        """A WebSocket came for this session. False when it may not have one."""
        if self.over or self.socket is not None or self._probe is not None:
            return False
        self._probe = socket
        return True

    def socket_received(self, socket: Socket, message: str | bytes) -> None:
        """A WebSocket of this session received a message."""
        try:
            packet = packets.parse_message(message, self.revision)
            if socket is self.socket:
                self._receive(packet)
            elif socket is self._probe:
                self._probed(socket, packet)
        except MalformedPayload:
            if socket is self.socket:
                self.end(PARSE_ERROR)
            else:
                self.probe_failed(socket)

    def socket_lost(self, socket: Socket, reason: str) -> None:
        """A WebSocket of this session is gone."""
        if socket is self.socket:
            self.end(reason)
        elif socket is self._probe:
            self._probe, self._upgrading = None, False

    def probe_failed(self, socket: Socket) -> bool:
        """An upgrade took too long or went wrong; the session goes on polling. False when that is over already."""
        if socket is not self._probe:
            return False
        self._probe, self._upgrading = None, False
        socket.close(NORMAL)
        return True

    def _probed(self, socket: Socket, packet: Incoming) -> None:
        if packet.kind == packets.PING and packet.data == "probe":
            self._upgrading = True
            socket.push(Packet.of(b"3probe"))
            # The client moves only once its poll has returned.
            self._answer([NOOP_PACKET])
        elif packet.kind == packets.UPGRADE and self._upgrading:
            # No poll waits any more: since the probe, each was answered as it came.
            self._probe, self._upgrading, self.socket = None, False, socket
            for waiting in self._taken():
                socket.push(waiting)
        else:
            raise MalformedPayload("not a probe")

    # -- packets and time ------------------------------------------------------------------------------------------

    def _receive(self, packet: Incoming) -> None:
        if self.over:
            return
        kind = packet.kind
        if kind == packets.MESSAGE:
            self._owner.received(self, packet.data)
        elif kind == packets.CLOSE:
            self._answer([NOOP_PACKET])
            self.end(TRANSPORT_CLOSE)
        elif kind == packets.PONG and self.revision == 4:
            if self._awaiting:
                self._awaiting = False
                self._due += self._owner.limits.ping_interval - self._owner.limits.ping_timeout
        elif kind == packets.PING and self.revision == 3:
            limits = self._owner.limits
            self._due = self._owner.clock() + limits.ping_interval + limits.ping_timeout
            self.send(PONG_PACKET)
        elif kind not in {packets.NOOP, packets.UPGRADE}:
            raise MalformedPayload("a packet that only servers send")

    def beat(self, now: float) -> float | None:
        """Ping the client or end the session if it is time. Returns when to look again, or None once it is over."""
        if self.over:
            return None
        if now < self._due:
            return min(self._due, now + self._owner.limits.ping_interval)
        if self._awaiting or self.revision == 3:
            self.end(PING_TIMEOUT)
            return None
        self._awaiting = True
        timeout = self._owner.limits.ping_timeout
        # However late the ping is, after a stall of this process, clients get half the time to answer it.
        self._due = max(self._due + timeout, now + timeout / 2)
        self.send(PING_PACKET)
        return None if self.over else min(self._due, now + self._owner.limits.ping_interval)
