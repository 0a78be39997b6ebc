"""One Engine.IO client: the state machine between its transports and the layer above. Pure.

Transports call it with packets, polls and POSTs, the `Engine` with the time (`on_due`), the layer above with packets to
send. It writes to the `Socket` or the `Poll` that it was given, and tells the engine (`SessionServer`) of messages and
of its end. A client begins on polling or on a WebSocket; one that polls may probe a WebSocket and move onto it, and the
queued packets move along (Engine.IO v4 protocol, "Upgrade").

Calls are re-entrant: the layer above may close the session while it is told of a message. So methods look at `over`
again after each call to the outside, and once it is over nothing is written any more.

The states, and the state or the answer that each input leads to:

| input | unopened | polling | probing | upgrading | WebSocket | over |
|---|---|---|---|---|---|---|
| `open` | polling, WebSocket | | | | | |
| a poll (GET) | | waits, or takes the queue | the same | answered at once, if need be with NOOP | refused | farewell |
| the last answered poll again | | its answer again | the same | the same | refused | |
| a second poll at once | | over, `transport error` | the same | cannot be | refused | refused |
| the body of a POST | | packets, below | packets | packets | refused | refused |
| a second POST at once | | over, `transport error` | the same | the same | refused | refused |
| a WebSocket comes | | probing | refused | refused | refused | refused |
| `2probe` on it | | | upgrading; the waiting poll gets NOOP | the same again | over, `parse error` | |
| `5` on it | | | polling; the WebSocket is closed | WebSocket; the queue is sent | nothing | |
| anything else on it | nothing | | polling; the WebSocket is closed | the same | packets, below | |
| it is lost, or late | over | | polling | polling | over, `transport close` | |
| the poll is hung up | | over, `transport close` | the same | the same | | |
| `close` | over | over; queue and CLOSE are the farewell | the same | the same | over, once all is written | |
| `fail`, no heartbeat | over | over; a waiting poll gets CLOSE | the same | the same | over | |
| `cut_off` | | over, `slow` | the same | the same | | the farewell is dropped |

Packets (Engine.IO v4 protocol, "Protocol"): MESSAGE goes to the layer above; CLOSE ends the session; PONG (revision 4)
and PING (revision 3) keep it alive; NOOP and UPGRADE are ignored; all others are a `parse error`. Packets other than
messages, and empty messages, are limited to `control_per_second`; a client that sends more is ended as `rate_limited`.
A heartbeat that still waits to be polled was not heard: a PONG then answers no PING, and a further PING (revision 3)
tells of no client that has its PONG. So who polls no more is ended when its heartbeat is due, whatever it posts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from parley.common.http.addresses import address_key
from parley.common.http.output_budget import SMALL_UNREAD_BYTES
from parley.common.rate_limiter import Rate
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio import packets
from parley.engineio.packets import (
    CLOSE_PACKET,
    NOOP_PACKET,
    PING_PACKET,
    PONG_PACKET,
    Incoming,
    MalformedPayload,
    Packet,
    TooManyPackets,
)
from parley.engineio.transports import NotPolling, Poll, Post, SessionServer, Socket
from parley.engineio.websocket.frames import NORMAL, POLICY

CONGESTED_BYTES = SMALL_UNREAD_BYTES
"""Bytes queued for a polling client from which on volatile packets are dropped."""
MAX_ANSWER = 16
"""Packets in the answer to one poll at most: python-engineio's client refuses a payload with more."""


class _Open(msgspec.Struct, rename="camel"):
    """The data of the OPEN packet (Engine.IO v4 protocol, "Handshake"); times are in milliseconds."""

    sid: str
    upgrades: list[str]
    ping_interval: int
    ping_timeout: int
    max_payload: int


NOTHING: Mapping[str, str] = MappingProxyType({})


class RequestInfo(NamedTuple):
    """The part of the request that began a session that is kept with it. `headers` are only those that are exposed."""

    address: str
    query: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    secure: bool = False


class Session:
    """One client's session; its states are in the module's docstring. `socket` is None while the client polls."""

    __slots__ = (
        "_answered", "_awaiting", "_controls", "_due", "_heartbeat_unpolled", "_joined", "_owner", "_poll", "_post",
        "_probe", "_queue", "_queued", "_stamp", "_stamped", "_unread", "_upgrading", "address", "base64_only",
        "client", "held", "opened", "origin", "over", "revision", "sid", "slot", "socket",
    )  # fmt: skip

    def __init__(
        self, owner: SessionServer, sid: str, revision: int, origin: RequestInfo, *, base64_only: bool
    ) -> None:
        self.sid = sid
        self.revision = revision
        self.origin = origin
        """The request that began it. It is not the request's `Origin` header."""
        self.address = address_key(origin.address)
        """The key by which clients of one address are counted."""
        self.base64_only = base64_only
        self.client: Any = None
        """The layer above keeps here what it knows of this client."""
        self.opened = False
        """Whether the client was greeted."""
        self.over = False
        self.held = 0
        """The bytes of this client that count against the input budget (`reading.InputBudget`)."""
        self.slot = 0
        """The timer wheel's own."""
        self.socket: Socket | None = None
        self._owner = owner
        self._joined = False
        self._queue: deque[Packet] | None = None
        self._queued = 0
        self._unread = 0
        """The memory of what waits to be polled, and of the last answer, which the client may not have got."""
        self._poll: Poll | None = None
        self._stamp = ""
        """The stamp (`t` in the query) of the last poll."""
        self._stamped = False
        """Whether the client gives each poll another stamp, as stock clients do."""
        self._answered: list[Packet] = []
        """The answer to the last poll, in case that the client's HTTP library repeats the request."""
        self._post: Post | None = None
        self._probe: Socket | None = None
        self._upgrading = False
        self._awaiting = False
        self._heartbeat_unpolled = False
        """Whether the last heartbeat still waits to be polled."""
        self._controls = 0.0
        """The token bucket of control packets: the time at which it will be full again (`rate_limiter.Rate`)."""
        limits = owner.limits
        # In revision 3 the client pings: its first PING is due after an interval, and may be late by the timeout.
        first = limits.ping_interval if revision == 4 else limits.ping_interval + limits.ping_timeout
        self._due = owner.clock() + first

    @property
    def joined(self) -> bool:
        """Whether the client has joined a namespace. The layer above sets it, which raises the session's limits."""
        return self._joined

    @joined.setter
    def joined(self, joined: bool) -> None:
        if joined and not self._joined:
            # Before `_joined` changes, by which the budget knows from which sum to take the session's bytes.
            if not self.over:
                self._owner.joining(self)
            self._joined = True
            if self.socket is not None:
                self.socket.allow(self.max_message)

    @property
    def max_message(self) -> int:
        """The bytes that one message or one polling request may have at most."""
        limits = self._owner.limits
        return limits.max_payload if self._joined else min(limits.max_unjoined, limits.max_payload)

    def open(self, socket: Socket | None) -> None:
        """Send OPEN, on a WebSocket or in the answer to the first poll (Engine.IO v4 protocol, "Handshake")."""
        self.socket = socket
        self.opened = True
        limits = self._owner.limits
        opening = _Open(
            self.sid,
            [] if socket or not limits.upgrades else ["websocket"],
            round((limits.ping_interval + limits.ping_grace) * 1000),
            round(limits.ping_timeout * 1000),
            limits.max_payload,
        )
        self.send(Packet.of(b"0" + msgspec.json.encode(opening)))

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, packet: Packet, *, volatile: bool = False) -> None:
        """Send a packet, in order. A client that does not read loses volatile packets first, and then its session."""
        if self.over:
            return
        socket = self.socket
        if volatile and self.congested:
            self._owner.dropped()
        elif socket is not None:
            socket.push(packet)
        # When nothing else waits, a packet is queued whatever its size: otherwise it could never be sent.
        elif self._queued and self._queued + packet.size > self._owner.limits.max_buffer:
            self.fail(DisconnectReason.SLOW)
        else:
            self._enqueue(packet)
            self._owner.write_soon(self)

    @property
    def congested(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        return self._queued > CONGESTED_BYTES if self.socket is None else self.socket.congested

    def _enqueue(self, packet: Packet) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(packet)
        self._queued += packet.size
        self._leave(packet.weight)

    def _leave(self, more: int) -> None:
        """Note that the client leaves so many bytes more unread, or less if it is negative."""
        # Most clients leave little unread, and the owner is not told of them: only of those above the bound, and of one
        # that has just come below it.
        before, self._unread = self._unread, self._unread + more
        if before > SMALL_UNREAD_BYTES or self._unread > SMALL_UNREAD_BYTES:
            self._owner.unread(self, self._unread)

    def unread(self) -> int:
        """Return the memory of what a polling client has not read, in bytes."""
        return self._unread

    def cut_off(self) -> None:
        """End the session because all clients together read too slowly, or drop what is left for its last polls."""
        if self.over:
            self._clear()
        else:
            self.fail(DisconnectReason.SLOW)

    def write(self) -> None:
        """Answer a waiting poll with the packets that are queued."""
        if self._poll is not None and self._queue:
            self._answer(self._next_answer())

    def _next_answer(self) -> list[Packet]:
        """Take the packets for the next answer from the queue: at most `MAX_ANSWER`, and CLOSE in one of its own.

        JavaScript clients act on CLOSE at once, but on packets before it in the same payload a turn later, which would
        be too late.
        """
        answer: list[Packet] = []
        queue, room, taken = self._queue, MAX_ANSWER, 0
        while queue and room:
            packet = queue.popleft()
            if packet is CLOSE_PACKET and answer:
                queue.appendleft(packet)
                break
            if len(packet.parts) > room:
                # Of a packet that many share, the weights of the two may not be that of the whole.
                taken += packet.weight
                packet, rest = packet.cut(room)
                queue.appendleft(rest)
                taken -= rest.weight + packet.weight
            answer.append(packet)
            room -= len(packet.parts)
            self._queued -= packet.size
            taken += packet.weight
            if packet is PING_PACKET or packet is PONG_PACKET:
                self._heartbeat_unpolled = False
        if not queue:
            self._queue = None
        self._leave(-taken)
        return answer

    def _clear(self) -> Sequence[Packet]:
        cleared, self._queue, self._queued = self._queue or (), None, 0
        self._heartbeat_unpolled = False
        self._leave(-sum(packet.weight for packet in cleared))
        return cleared

    def _answer(self, answer: list[Packet]) -> None:
        if (poll := self._poll) is not None:
            self._poll = None
            # Kept only for a client whose repeated poll can be told from a new one by its stamp.
            if self._stamped and not self.over:
                self._answered = answer
                self._leave(sum(packet.weight for packet in answer))
            poll.answer(answer)

    def _forget_answer(self) -> None:
        if self._answered:
            self._leave(-sum(packet.weight for packet in self._answered))
            self._answered = []

    # -- ending ----------------------------------------------------------------------------------------------------

    def close(self, reason: str, code: int = NORMAL) -> None:
        """Close the session once everything that was sent has been written.

        `code` is the WebSocket's close code. A polling client is sent CLOSE only with `NORMAL`, since some stock
        clients stay away for good after it. With other codes, such as that of a shutdown, its requests fail, and it
        connects again.
        """
        if self.over:
            return
        if self.socket is None:
            if code == NORMAL:
                self._enqueue(CLOSE_PACKET)
            if self._poll is not None:
                self._answer(self._next_answer())
        self._finish(reason, code)

    def fail(self, reason: str, code: int = NORMAL) -> None:
        """Fail the session: drop the queued packets and close the transport with `code`."""
        if not self.over:
            self._clear()
            self._finish(reason, code)

    def _finish(self, reason: str, code: int) -> None:
        # First of all: what the layer above sends while it is told of the end must go nowhere.
        self.over = True
        socket, self.socket = self.socket, None
        probe, self._probe = self._probe, None
        if socket is not None:
            if reason == DisconnectReason.SLOW:
                # A client that does not read would never read a CLOSE frame either.
                socket.abort()
            else:
                socket.close(code)
        if probe is not None:
            probe.close(NORMAL)
        self._answer([CLOSE_PACKET])
        self._forget_answer()
        post, self._post = self._post, None
        if post is not None:
            post.abandon()
        self._owner.ended(self, reason)

    @property
    def has_farewell(self) -> bool:
        """Whether packets are left for a polling client whose session was closed."""
        return self.over and bool(self._queue)

    def farewell(self) -> list[Packet]:
        """Take the packets for the next poll of a client whose session was closed."""
        return self._next_answer()

    # -- polling ---------------------------------------------------------------------------------------------------

    def poll(self, poll: Poll, stamp: str = "") -> None:
        """Begin a long poll. Raises `NotPolling` if the session is over, on a WebSocket, or polled already.

        HTTP libraries and browsers repeat a GET whose connection broke, and the client above them does not notice, so
        the packets of the lost answer would be lost. Such a poll has the stamp of the one before, and is given the same
        answer.
        """
        if self.over or self.socket is not None:
            raise NotPolling
        if self._answered and self._poll is None and stamp == self._stamp:
            poll.answer(self._answered)
            return
        # Of a client that gives all its polls the same stamp, nobody can tell whether it repeats one.
        self._stamped, self._stamp = self._stamp not in {"", stamp}, stamp
        self._forget_answer()
        if self._poll is not None:
            # Engine.IO v4 protocol, "HTTP long-polling": a second GET at once closes the session.
            self.fail(DisconnectReason.TRANSPORT_ERROR)
            raise NotPolling
        self._poll = poll
        if self._queue:
            self.write()
        elif self._upgrading:
            # Engine.IO v4 protocol, "Upgrade": no poll may hang while the client waits to move.
            self._answer([NOOP_PACKET])

    def poll_cancelled(self, poll: Poll) -> None:
        """End the session, because the client hung up on a poll."""
        if self._poll is poll:
            self._poll = None
            self.fail(DisconnectReason.TRANSPORT_CLOSE)

    def begin_post(self, post: Post) -> None:
        """Begin a POST. Raises `NotPolling`, and ends the session when another POST is not over."""
        if self.over or self.socket is not None:
            raise NotPolling
        if self._post is not None:
            self.fail(DisconnectReason.TRANSPORT_ERROR)
            raise NotPolling
        self._post = post

    def post_over(self, post: Post) -> None:
        """End a POST whose packets were all taken, or that was refused. The next may begin."""
        if self._post is post:
            self._post = None

    def post_cancelled(self, post: Post) -> None:
        """End the session, because the body of a POST will not come, and with it messages of the client."""
        if self._post is post:
            self._post = None
            self.fail(DisconnectReason.TRANSPORT_ERROR)

    def decode_post(self, body: bytes, *, binary: bool) -> Sequence[Incoming]:
        """Return the packets in the body of a POST. Raises `NotPolling`, or `MalformedPayload`, and then it is over."""
        if self.over or self.socket is not None:
            raise NotPolling
        try:
            return packets.decode_payload(body, self.revision, binary=binary, limit=self._owner.limits.max_packets)
        except MalformedPayload as error:
            many = isinstance(error, TooManyPackets)
            self.fail(DisconnectReason.TOO_MANY_PACKETS if many else DisconnectReason.PARSE_ERROR)
            raise

    def take(self, incoming: Iterable[Incoming]) -> None:
        """Take packets of a POST. Raises `MalformedPayload` when one of them was malformed, and then it is over."""
        try:
            for packet in incoming:
                self._receive(packet)
        except MalformedPayload:
            self.fail(DisconnectReason.PARSE_ERROR)
            raise

    # -- WebSocket -------------------------------------------------------------------------------------------------

    def probe(self, socket: Socket) -> bool:
        """Begin an upgrade to a WebSocket. Return False when the session may not have this one."""
        if self.over or self.socket is not None or self._probe is not None or not self._owner.limits.upgrades:
            return False
        self._probe = socket
        return True

    def socket_received(self, socket: Socket, message: str | bytes) -> None:
        """Take a message that came on a WebSocket of this session."""
        # Nearly all are MESSAGE packets with text, which need no `Incoming`. `__class__` is faster than `isinstance`.
        if socket is self.socket and message.__class__ is str and message[:1] == packets.MESSAGE and message[1:2]:
            if not self.over:
                self._owner.received(self, message[1:])
            return
        try:
            packet = packets.parse_message(message, self.revision)
            if socket is self.socket:
                self._receive(packet)
            elif socket is self._probe:
                self._probed(socket, packet)
        except MalformedPayload:
            if socket is self.socket:
                self.fail(DisconnectReason.PARSE_ERROR)
            else:
                self.probe_failed(socket)

    def socket_lost(self, socket: Socket, reason: str) -> None:
        """End the session, or its upgrade, because a WebSocket of it is gone."""
        if socket is self.socket or not self.opened:
            self.fail(reason)
        elif socket is self._probe:
            self._probe, self._upgrading = None, False

    def probe_failed(self, socket: Socket) -> bool:
        """Give up an upgrade that took too long or went wrong. Return False when there is none on this WebSocket."""
        if socket is not self._probe:
            return False
        self._probe, self._upgrading = None, False
        socket.close(NORMAL)
        return True

    def _probed(self, socket: Socket, packet: Incoming) -> None:
        # Engine.IO v4 protocol, "Upgrade": the client sends `2probe`, the server `3probe`, the client `5`. Until then
        # the client polls, and may give up the WebSocket.
        if packet.kind == packets.PING and packet.data == "probe":
            self._upgrading = True
            socket.push(Packet.of(b"3probe"))
            # The client sends `5` only once its waiting poll was answered.
            self._answer([NOOP_PACKET])
        elif packet.kind == packets.UPGRADE and self._upgrading:
            # No poll waits any more: since `2probe`, each was answered at once.
            self._probe, self._upgrading, self.socket = None, False, socket
            self._forget_answer()
            socket.allow(self.max_message)
            for waiting in self._clear():
                socket.push(waiting)
        else:
            raise MalformedPayload("not a probe")

    # -- packets and time ------------------------------------------------------------------------------------------

    def _receive(self, packet: Incoming) -> None:
        if self.over:
            return
        kind = packet.kind
        if kind == packets.MESSAGE:
            # An empty message is as much work as any other, and has none of the bytes that the rates count.
            if packet.data or self.count_control():
                self._owner.received(self, packet.data)
        elif not self.count_control():
            return
        elif kind == packets.CLOSE:
            # The poll that waits ends with NOOP, as the protocol's own suite wants it.
            self._answer([NOOP_PACKET])
            self.fail(DisconnectReason.TRANSPORT_CLOSE)
        elif kind == packets.PONG and self.revision == 4:
            if self._awaiting and not self._heartbeat_unpolled:
                self._awaiting = False
                # The next ping is due one interval after the last one was, however long its PONG took.
                self._due += self._owner.limits.ping_interval - self._owner.limits.ping_timeout
        elif kind == packets.PING and self.revision == 3:
            # In revision 3 the heartbeat is the client's: its PING shows that it lives (Engine.IO v3 protocol, "ping").
            if not self._heartbeat_unpolled:
                limits = self._owner.limits
                self._due = self._owner.clock() + limits.ping_interval + limits.ping_timeout
                self._heartbeat_unpolled = self.socket is None
            self.send(PONG_PACKET)
        elif kind not in {packets.NOOP, packets.UPGRADE}:
            raise MalformedPayload("a packet that only servers send")

    def count_control(self) -> bool:
        """Count a packet or frame that carries no message. Return False when it was one too many: then it is over."""
        limits, now = self._owner.limits, self._owner.clock()
        full_at = Rate(limits.control_per_second, limits.control_burst).spend(self._controls, now)
        if not full_at:
            self._owner.limited("control_packets")
            self.fail(DisconnectReason.RATE_LIMITED, POLICY)
            return False
        self._controls = full_at
        return True

    def on_due(self, now: float) -> float | None:
        """Send PING or end the session, if it is time (Engine.IO v4 protocol, "Heartbeat").

        Return when to call again, or None once the session is over. The engine calls it by its timer wheel.
        """
        if self.over:
            return None
        if now < self._due:
            return min(self._due, now + self._owner.limits.ping_interval)
        if self._awaiting or self.revision == 3:
            self.fail(DisconnectReason.PING_TIMEOUT)
            return None
        self._awaiting = True
        timeout = self._owner.limits.ping_timeout
        # However late this ping is, after a stall of this process, the client has half the timeout to answer it.
        self._due = max(self._due + timeout, now + timeout / 2)
        self._heartbeat_unpolled = self.socket is None
        self.send(PING_PACKET)
        return None if self.over else min(self._due, now + self._owner.limits.ping_interval)
