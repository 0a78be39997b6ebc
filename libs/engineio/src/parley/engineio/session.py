"""One Engine.IO client, pure: a state machine between its transports and the layer above.

It is handed packets, polls and the time, and writes to the `Socket` or `Poll` it was given. A client begins on polling
or on a WebSocket; one that polls may probe a WebSocket and move onto it, and what was queued moves along (Engine.IO
protocol, "Upgrade"). The states, and what leads from one to the next:

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
| `end`, no heartbeat | over | over; a waiting poll gets CLOSE | the same | the same | over | |

Packets (Engine.IO protocol, "Packet types"): MESSAGE goes to the layer above; CLOSE ends the session; PONG (revision 4)
and PING (revision 3) keep it alive; NOOP and UPGRADE are nothing; all others are a `parse error`. Packets that are no
messages, and messages without content, may come at `control_per_second` in the long run, else it ends `rate_limited`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import msgspec

from parley.common.http.addresses import address_key
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
from parley.engineio.transports import Limits, NotPolling, Poll, Post, Socket
from parley.engineio.websocket.frames import NORMAL, POLICY

CHOKED_BYTES = 16 * 1024
"""Bytes waiting for a polling client from which on volatile packets are dropped."""
MAX_ANSWER = 16
"""Packets in the answer to one poll: python-engineio's clients take no more of one payload."""


class SessionServer(Protocol):
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

    def limited(self, limit: str) -> None:
        """The session is ended because of a limit of this name."""
        ...

    def joining(self, session: Session) -> None:
        """The layer above is about to let the session in."""
        ...


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
    """One client's session; the module has its states. `socket` is None while the client polls."""

    __slots__ = (
        "_answered", "_awaiting", "_controls", "_due", "_joined", "_owner", "_poll", "_post", "_probe", "_queue",
        "_queued", "_stamp", "_stamped", "_upgrading", "address", "base64_only", "client", "held", "opened", "origin",
        "over", "revision", "sid", "slot", "socket",
    )  # fmt: skip

    def __init__(
        self, owner: SessionServer, sid: str, revision: int, origin: RequestInfo, *, base64_only: bool
    ) -> None:
        self.sid = sid
        self.revision = revision
        self.origin = origin
        """The request that began it."""
        self.address = address_key(origin.address)
        """Who counts as one address, for limits and shares."""
        self.base64_only = base64_only
        self.client: Any = None
        """For the layer above: what it knows of this client."""
        self.opened = False
        """Whether the client was greeted."""
        self.over = False
        self.held = 0
        """Bytes of it that count against the budget; see `reading.InputBudget`."""
        self.slot = 0
        self.socket: Socket | None = None
        self._owner = owner
        self._joined = False
        self._queue: deque[Packet] | None = None
        self._queued = 0
        self._poll: Poll | None = None
        self._stamp = ""
        """That of the last poll."""
        self._stamped = False
        """Whether the client gives each poll a stamp of its own."""
        self._answered: list[Packet] = []
        """The answer to the last poll, which its client's HTTP library may not have got."""
        self._post: Post | None = None
        self._probe: Socket | None = None
        self._upgrading = False
        self._awaiting = False
        self._controls = 0.0
        """When its allowance of control packets is whole again, which says how many it may send now."""
        limits = owner.limits
        first = limits.ping_interval if revision == 4 else limits.ping_interval + limits.ping_timeout
        self._due = owner.clock() + first

    @property
    def joined(self) -> bool:
        """Whether the layer above has let it in; setting it raises the session's limits."""
        return self._joined

    @joined.setter
    def joined(self, joined: bool) -> None:
        if joined and not self._joined:
            # Before `_joined` changes, by which the budget tells the two sums apart.
            if not self.over:
                self._owner.joining(self)
            self._joined = True
            if self.socket is not None:
                self.socket.allow(self.max_message)

    @property
    def max_message(self) -> int:
        """Bytes that one message or one polling request may have."""
        limits = self._owner.limits
        return limits.max_payload if self._joined else min(limits.max_unjoined, limits.max_payload)

    def open(self, socket: Socket | None) -> None:
        """Greet the client, on a WebSocket or in the answer to its first poll."""
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
        """Send in order. A client that does not take what waits for it loses volatile packets, then the session."""
        if self.over:
            return
        socket = self.socket
        if volatile and self.congested:
            self._owner.dropped()
        elif socket is not None:
            socket.push(packet)
        # One packet is taken whatever its size when nothing else waits: else it could never be sent.
        elif self._queued and self._queued + packet.size > self._owner.limits.max_buffer:
            self.end(DisconnectReason.SLOW)
        else:
            self._enqueue(packet)
            self._owner.write_soon(self)

    @property
    def congested(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        return self._queued > CHOKED_BYTES if self.socket is None else self.socket.choked

    def _enqueue(self, packet: Packet) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(packet)
        self._queued += packet.size

    def write(self) -> None:
        """Answer a waiting poll with what is queued."""
        if self._poll is not None and self._queue:
            self._answer(self._next_answer())

    def _next_answer(self) -> list[Packet]:
        """Take what the next answer to a poll holds: so many packets, and CLOSE by itself.

        JavaScript clients act on a CLOSE at once and on the packets before it in the same payload a tick later, which
        is too late.
        """
        answer: list[Packet] = []
        queue, room = self._queue, MAX_ANSWER
        while queue and room:
            packet = queue.popleft()
            if packet is CLOSE_PACKET and answer:
                queue.appendleft(packet)
                break
            if len(packet.parts) > room:
                queue.appendleft(Packet(*packet.parts[room:]))
                packet = Packet(*packet.parts[:room])
            answer.append(packet)
            room -= len(packet.parts)
            self._queued -= packet.size
        if not queue:
            self._queue = None
        return answer

    def _clear(self) -> Sequence[Packet]:
        cleared, self._queue, self._queued = self._queue or (), None, 0
        return cleared

    def _answer(self, answer: list[Packet]) -> None:
        if (poll := self._poll) is not None:
            self._poll = None
            if self._stamped:
                self._answered = answer
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
                self._answer(self._next_answer())
        self._end(reason, code)

    def end(self, reason: str, code: int = NORMAL) -> None:
        """Fail it: drop what is queued, and close the transport with `code`."""
        if not self.over:
            self._clear()
            self._end(reason, code)

    def _end(self, reason: str, code: int) -> None:
        # First of all: what the layer above sends while it hears of the end must find nothing to be written to.
        self.over = True
        socket, self.socket = self.socket, None
        probe, self._probe = self._probe, None
        if socket is not None:
            if reason == DisconnectReason.SLOW:
                socket.abort()
            else:
                socket.close(code)
        if probe is not None:
            probe.close(NORMAL)
        self._answer([CLOSE_PACKET])
        post, self._post = self._post, None
        if post is not None:
            post.abandon()
        self._owner.ended(self, reason)

    @property
    def has_farewell(self) -> bool:
        """Whether a closed polling client has something left to be told."""
        return self.over and bool(self._queue)

    def farewell(self) -> list[Packet]:
        """Take what the next poll of a closed client is answered with."""
        return self._next_answer()

    # -- polling ---------------------------------------------------------------------------------------------------

    def poll(self, poll: Poll, stamp: str = "") -> None:
        """Begin a long poll. Raises `NotPolling` if the session is over, on a WebSocket, or polled already.

        HTTP libraries and browsers repeat a GET by themselves whose connection broke, and nobody above them hears of
        it: what the lost answer held would be gone. Such a poll has the stamp of the one before and gets its answer.
        """
        if self.over or self.socket is not None:
            raise NotPolling
        if self._answered and self._poll is None and stamp == self._stamp:
            poll.answer(self._answered)
            return
        # A client that writes the same into every poll cannot be told from one that repeats one.
        self._stamped, self._stamp, self._answered = self._stamp not in {"", stamp}, stamp, []
        if self._poll is not None:
            # Engine.IO protocol, "HTTP long-polling": a second GET at once closes the session.
            self.end(DisconnectReason.TRANSPORT_ERROR)
            raise NotPolling
        self._poll = poll
        if self._queue:
            self.write()
        elif self._upgrading:
            self._answer([NOOP_PACKET])

    def poll_cancelled(self, poll: Poll) -> None:
        """The client hung up on a poll."""
        if self._poll is poll:
            self._poll = None
            self.end(DisconnectReason.TRANSPORT_CLOSE)

    def begin_post(self, post: Post) -> None:
        """The head of a POST came. Raises `NotPolling`, also when another one's body is still coming."""
        if self.over or self.socket is not None:
            raise NotPolling
        if self._post is not None:
            self.end(DisconnectReason.TRANSPORT_ERROR)
            raise NotPolling
        self._post = post

    def post_over(self, post: Post) -> None:
        """All of a POST was taken, or it is refused and the client is told so: the next may come."""
        if self._post is post:
            self._post = None

    def post_cancelled(self, post: Post) -> None:
        """The body of a POST will not come, so that messages of the client are lost."""
        if self._post is post:
            self._post = None
            self.end(DisconnectReason.TRANSPORT_ERROR)

    def decode_post(self, body: bytes, *, binary: bool) -> Sequence[Incoming]:
        """The body of a POST is there. Raises `NotPolling`, or `MalformedPayload` when that ended the session."""
        if self.over or self.socket is not None:
            raise NotPolling
        try:
            return packets.decode_payload(body, self.revision, binary=binary, limit=self._owner.limits.max_packets)
        except MalformedPayload as error:
            many = isinstance(error, TooManyPackets)
            self.end(DisconnectReason.TOO_MANY_PACKETS if many else DisconnectReason.PARSE_ERROR)
            raise

    def take(self, incoming: Iterable[Incoming]) -> None:
        """Packets of a POST. Raises `MalformedPayload` when one ended the session."""
        try:
            for packet in incoming:
                self._receive(packet)
        except MalformedPayload:
            self.end(DisconnectReason.PARSE_ERROR)
            raise

    # -- WebSocket -------------------------------------------------------------------------------------------------

    def probe(self, socket: Socket) -> bool:
        """A WebSocket came for this session. False when it may not have one."""
        if self.over or self.socket is not None or self._probe is not None or not self._owner.limits.upgrades:
            return False
        self._probe = socket
        return True

    def socket_received(self, socket: Socket, message: str | bytes) -> None:
        """A WebSocket of this session received a message."""
        # Nearly all are text with something in it, for the layer above, and need no object of their own.
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
                self.end(DisconnectReason.PARSE_ERROR)
            else:
                self.probe_failed(socket)

    def socket_lost(self, socket: Socket, reason: str) -> None:
        """A WebSocket of this session is gone."""
        if socket is self.socket or not self.opened:
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
        # Engine.IO protocol, "Upgrade": `2probe`, `3probe`, then `5`; until that the client may go back to polling.
        if packet.kind == packets.PING and packet.data == "probe":
            self._upgrading = True
            socket.push(Packet.of(b"3probe"))
            # The client moves only once its poll has returned.
            self._answer([NOOP_PACKET])
        elif packet.kind == packets.UPGRADE and self._upgrading:
            # No poll waits any more: since the probe, each was answered as it came.
            self._probe, self._upgrading, self.socket = None, False, socket
            self._answered = []
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
            if packet.data or self.count_control():
                self._owner.received(self, packet.data)
        elif not self.count_control():
            return
        elif kind == packets.CLOSE:
            self._answer([NOOP_PACKET])
            self.end(DisconnectReason.TRANSPORT_CLOSE)
        elif kind == packets.PONG and self.revision == 4:
            if self._awaiting:
                self._awaiting = False
                # One interval after the last ping was due, however long the answer took.
                self._due += self._owner.limits.ping_interval - self._owner.limits.ping_timeout
        elif kind == packets.PING and self.revision == 3:
            limits = self._owner.limits
            self._due = self._owner.clock() + limits.ping_interval + limits.ping_timeout
            self.send(PONG_PACKET)
        elif kind not in {packets.NOOP, packets.UPGRADE}:
            raise MalformedPayload("a packet that only servers send")

    def count_control(self) -> bool:
        """Count a packet or frame that carries no message. False when that was one too many, which ends the session.

        A token bucket of which only the time is kept when it will be full again.
        """
        limits, now = self._owner.limits, self._owner.clock()
        full_at = max(self._controls, now) + 1 / limits.control_per_second
        if full_at - now > limits.control_burst / limits.control_per_second:
            self._owner.limited("control_packets")
            self.end(DisconnectReason.RATE_LIMITED, POLICY)
            return False
        self._controls = full_at
        return True

    def beat(self, now: float) -> float | None:
        """Ping the client or end the session if it is time. Returns when to look again, or None once it is over."""
        if self.over:
            return None
        if now < self._due:
            return min(self._due, now + self._owner.limits.ping_interval)
        if self._awaiting or self.revision == 3:
            self.end(DisconnectReason.PING_TIMEOUT)
            return None
        self._awaiting = True
        timeout = self._owner.limits.ping_timeout
        # However late the ping is, after a stall of this process, clients get half the time to answer it.
        self._due = max(self._due + timeout, now + timeout / 2)
        self.send(PING_PACKET)
        return None if self.over else min(self._due, now + self._owner.limits.ping_interval)
