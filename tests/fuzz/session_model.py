"""A session between recording sockets, polls and an owner, and what must hold after anything that happens to it."""

from __future__ import annotations

from collections.abc import Callable

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio import packets
from parley.engineio.packets import CLOSE_PACKET, PING_PACKET, PONG_PACKET, MalformedPayload, Packet
from parley.engineio.session import RequestInfo, Session
from parley.engineio.transports import Limits, NotPolling

PROBE_ANSWER = "3probe"
BODIES: list[tuple[str, list[str]]] = [
    ("4a", ["a"]),
    ("4b\x1e4c", ["b", "c"]),
    ("4answer", ["answer"]),
]
"""Polling bodies of revision 4, and the messages that a live session takes from them."""
WRONG_BODIES: list[tuple[str, list[str]]] = [
    ("4d\x1e0\x1e4e", ["d"]),
    ("4f\x1ez", []),
    ("4leave\x1e4g", ["leave"]),
    ("3\x1e3", []),
    ("6\x1e5", []),
    ("1\x1e4h", []),
    ("2", []),
    ("\x1e".join(["4x"] * 9), []),
]
"""Those that end the session or try to ("leave" makes the owner close it)."""


class RecordedPoll:
    """A GET that waits."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.answered: list[Packet] | None = None

    def answer(self, packets: list[Packet]) -> None:
        assert self.answered is None, "a poll was answered twice"
        assert packets, "a poll was answered with nothing"
        self.answered = list(packets)
        self._model.took(packets)


class RecordedSocket:
    """A WebSocket."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.congested = False
        self.gone = False
        self.closed_with: int | None = None
        self.aborted = False
        self.pushed: list[Packet] = []

    def push(self, packet: Packet) -> None:
        assert not self.gone, "something was pushed to a socket that is gone"
        self.pushed.append(packet)
        if packet.parts[0].data != PROBE_ANSWER.encode():
            assert self._model.session.socket is self, "the client had not moved here yet"
            self._model.took([packet])

    def allow(self, size: int) -> None:
        assert size == self._model.session.max_message

    def close(self, code: int) -> None:
        assert self.closed_with is None, "a socket was closed twice"
        self.gone, self.closed_with = True, code

    def abort(self) -> None:
        assert not self.gone, "a socket was aborted twice"
        self.gone = self.aborted = True


class Model:
    """The owner of one session, and its client."""

    def __init__(self, revision: int = 4, *, websocket: bool = False) -> None:
        self.limits = Limits(max_buffer=2000, max_packets=8)
        self.now = 1000.0
        self.received_messages: list[str | bytes] = []
        self.expected_messages: list[str | bytes] = []
        self.reasons: list[str] = []
        self.dropped_packets = 0
        self.limits_hit: list[str] = []
        self.sent: list[Packet] = []
        self.delivered: list[Packet] = []
        self.polls: list[RecordedPoll] = []
        self.sockets: list[RecordedSocket] = []
        self.wants_write = False
        self.session = Session(self, "s", revision, RequestInfo("address"), base64_only=False)
        self._known: set[int] = set()
        self._pinged_at: float | None = None
        self._heard_at = self.now
        self._heard_of = True
        """Whether the client was given the last heartbeat."""
        self._closed = False
        self._look_at: float | None = self.now + self.limits.ping_interval
        self.session.open(self._new_socket() if websocket else None)

    # -- transports.SessionServer ----------------------------------------------------------------------------------

    def clock(self) -> float:
        return self.now

    def received(self, session: Session, data: str | bytes) -> None:
        assert not session.over, "a message of a session that is over"
        self.received_messages.append(data)
        if data == "answer":
            self.send(1)
        elif data == "leave":
            self.close(0)

    def ended(self, session: Session, reason: str) -> None:
        assert session.over
        self.reasons.append(reason)
        if reason == DisconnectReason.PING_TIMEOUT:
            silence = self.limits.ping_timeout
            if session.revision == 4:
                assert self._pinged_at is not None, "nothing was asked that could go unanswered"
                # Half of it is what a client is left with when the ping itself was late.
                assert self.now >= self._pinged_at + silence / 2, "the client still had time to answer"
            else:
                assert self.now >= self._heard_at + silence + self.limits.ping_interval

    def write_soon(self, session: Session) -> None:
        self.wants_write = True

    def dropped(self) -> None:
        self.dropped_packets += 1

    def limited(self, limit: str) -> None:
        self.limits_hit.append(limit)

    def unread(self, session: Session, size: int) -> None:
        assert size >= 0

    def joining(self, session: Session) -> None:
        assert not session.over

    def took(self, taken: list[Packet]) -> None:
        """The client was given something."""
        if any(packet is PING_PACKET or packet is PONG_PACKET for packet in taken):
            self._heard_of = True
        self.delivered.extend(packet for packet in taken if id(packet) in self._known)

    # -- what may happen -------------------------------------------------------------------------------------------

    def send(self, n: int) -> None:
        packet = Packet.of(f"4message {len(self.sent)} ".encode() + b"." * (n % 3 * 150))
        self._known.add(id(packet))
        was_over, dropped = self.session.over, self.dropped_packets
        self.sent.append(packet)
        self.session.send(packet, volatile=n % 4 == 0)
        slow = self.session.over and self.reasons == [DisconnectReason.SLOW]
        if was_over or self.dropped_packets > dropped or slow:
            self.sent.pop()
            self._known.discard(id(packet))

    def write(self, _n: int) -> None:
        self.wants_write = False
        self.session.write()

    def poll(self, n: int) -> None:
        if self.session._poll is not None and n % 16:
            return
        poll = RecordedPoll(self)
        try:
            self.session.poll(poll)
        except NotPolling:
            assert poll.answered is None
        else:
            self.polls.append(poll)

    def cancel(self, n: int) -> None:
        if self.polls:
            poll, over = self.polls[-1 - n % len(self.polls)], self.session.over
            self.session.poll_cancelled(poll)
            assert self.session.over == (over or poll.answered is None)

    def post(self, n: int) -> None:
        self._post(*[*BODIES, (self._heartbeat, [])][n % (len(BODIES) + 1)])

    def post_wrongly(self, n: int) -> None:
        self._post(*WRONG_BODIES[n % len(WRONG_BODIES)])

    def _post(self, body: str, messages: list[str]) -> None:
        polling = self.session.socket is None and not self.session.over
        if polling:
            self.expected_messages.extend(messages)
            self._heard(body[:1])
        self.post_bytes(body.encode() if self.session.revision == 4 else _counted(body))

    def post_bytes(self, body: bytes, *, binary: bool = False) -> None:
        try:
            self.take_body(body, binary=binary)
        except MalformedPayload:
            assert self.session.over, "a malformed payload ends the session"
        except NotPolling:
            pass

    def take_body(self, body: bytes, *, binary: bool = False) -> None:
        """The body of a POST is there, and is worked off at once."""
        self.session.take(self.session.decode_post(body, binary=binary))

    def probe(self, _n: int) -> None:
        socket = self._new_socket()
        if not self.session.probe(socket):
            socket.gone = True

    def say(self, n: int) -> None:
        """A WebSocket receives a packet that may be in its place."""
        if (socket := self._any_socket(n)) is not None:
            moved = socket is self.session.socket
            self._say(socket, ("4m", self._heartbeat, "6")[n % 3] if moved else ("2probe", "5")[n % 2])

    def say_wrongly(self, n: int) -> None:
        if (socket := self._any_socket(n)) is not None:
            self._say(socket, ("2probe", "5", "2", "3", "1", "6", "z", "0", "", "4m")[n % 10])

    def _say(self, socket: RecordedSocket, text: str) -> None:
        if socket is self.session.socket:
            self.expected_messages.extend(["m"] if text == "4m" else [])
            self._heard(text[:1])
        self.session.socket_received(socket, text)

    def lose(self, n: int) -> None:
        if (socket := self._any_socket(n)) is not None:
            socket.gone = True
            moved = socket is self.session.socket
            self.session.socket_lost(socket, "transport close")
            assert moved or self.session._probe is None, "another could not be tried"

    def tire(self, n: int) -> None:
        """The time for an upgrade is up; that is noticed even when it is long done."""
        if (socket := self._any_socket(n)) is not None:
            self.session.probe_failed(socket)

    def choke(self, n: int) -> None:
        if (socket := self._any_socket(n)) is not None:
            socket.congested = not socket.congested

    def wait(self, n: int) -> None:
        self.now += n % 12
        while self._look_at is not None and self._look_at <= self.now:
            awaited = self.session._awaiting
            self._look_at = self.session.on_due(self.now)
            if self.session._awaiting and not awaited:
                self._pinged_at = self.now
                self._heard_of = self.session.socket is not None
        if self._pinged_at is not None and not self.session.over:
            assert self.now < self._pinged_at + self.limits.ping_timeout, "a silent client was kept"

    def close(self, _n: int) -> None:
        self._closed = self._closed or not self.session.over
        self.session.close("kicked")

    def end(self, _n: int) -> None:
        self.session.fail("forgotten")

    # -- what must hold --------------------------------------------------------------------------------------------

    def check(self) -> None:
        session = self.session
        queue = session._queue or []
        waiting = [packet for packet in queue if id(packet) in self._known]
        assert self.received_messages == self.expected_messages
        assert session._queued == sum(packet.size for packet in queue) <= self.limits.max_buffer + CLOSE_PACKET.size
        kept = [*queue, *session._answered]
        assert session.unread() == sum(packet.weight for packet in kept), "something unread is not counted, or twice"
        assert self.delivered == self.sent[: len(self.delivered)], "lost, doubled or reordered"
        if not session.over:
            assert not self.reasons
            assert self.delivered + waiting == self.sent, "lost, doubled or reordered"
            moving = session.socket is not None or session._upgrading
            assert not (moving and session._poll is not None), "a poll waits although the client moves"
            assert session.socket is None or not queue, "something waits although the client could have it"
            assert self.wants_write or not (queue and session._poll is not None), "a poll waits beside a queue"
            return
        assert len(self.reasons) == 1
        assert (session.socket, session._poll, session._probe) == (None, None, None)
        assert all(socket.gone for socket in self.sockets), "a socket was left open"
        assert session.has_farewell == bool(queue)
        if self._closed:
            assert self.delivered + waiting == self.sent, "what was sent before a close is lost"
            assert not queue or queue[-1] is CLOSE_PACKET
        else:
            assert not queue

    @property
    def _heartbeat(self) -> str:
        return packets.PONG if self.session.revision == 4 else packets.PING

    def _new_socket(self) -> RecordedSocket:
        self.sockets.append(RecordedSocket(self))
        return self.sockets[-1]

    def _any_socket(self, n: int) -> RecordedSocket | None:
        there = [socket for socket in self.sockets if not socket.gone]
        return there[n % len(there)] if there else None

    def _heard(self, kind: str) -> None:
        if not self._heard_of:
            return  # it cannot answer what it was not given
        if self.session.revision == 4 and kind == packets.PONG:
            self._pinged_at = None
        elif self.session.revision == 3 and kind == packets.PING:
            self._heard_at = self.now
            self._heard_of = self.session.socket is not None


Operation = Callable[[Model, int], None]

OPERATIONS: dict[Operation, float] = {
    Model.send: 8,
    Model.write: 4,
    Model.poll: 6,
    Model.post: 4,
    Model.probe: 3,
    Model.say: 9,
    Model.wait: 3,
    Model.choke: 1,
    Model.cancel: 0.2,
    Model.lose: 0.3,
    Model.tire: 0.3,
    Model.post_wrongly: 0.2,
    Model.say_wrongly: 0.2,
    Model.close: 0.2,
    Model.end: 0.1,
}
"""What may happen, and how often against each other."""


def _counted(body: str) -> bytes:
    return "".join(f"{len(part)}:{part}" for part in body.split("\x1e")).encode()


def run(revision: int, steps: list[tuple[Operation, int]], *, websocket: bool = False) -> Model:
    """Let these things happen, and check after each."""
    model = Model(revision, websocket=websocket)
    for operation, n in steps:
        operation(model, n)
        model.check()
    return model
