"""What is fuzzed. A target makes one case of its random numbers and raises when something does not hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from random import Random

from parley.engineio.packets import (
    Incoming,
    MalformedPayload,
    Packet,
    Part,
    decode_payload,
    encode_payload,
    parse_message,
)
from parley.engineio.request import MAX_QUERY, Refusal, accept_key, read_request
from parley.engineio.websocket import deflate
from parley.engineio.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, FrameReader, Received
from parley.gateway.socketio.packets import (
    AckPacket,
    EventPacket,
    InvalidPayload,
    MalformedPacket,
    ack_packet,
    event_packet,
)
from tests.fuzz.http import LIMITS, Connection
from tests.fuzz.mutation import client_frame, mutated, pieces
from tests.fuzz.session_model import OPERATIONS, Model, run
from tests.support.clients.socketio_packets import parse

LIMIT = 1000
PACKETS = 8
_MASK = b"\x8f\x00\x37\xaa"
_HELLO = deflate.deflate(b"hello " * 60)
_BOMB = deflate.deflate(b"\x00" * 1_000_000)

FRAMES = [
    client_frame(TEXT, b"2probe") + client_frame(TEXT, b"5", mask=_MASK),
    client_frame(BINARY, bytes(range(130)), mask=_MASK) + client_frame(PING, b"are you there"),
    client_frame(TEXT, b"4a", head=0) + client_frame(PING, b"") + client_frame(CONTINUATION, "é".encode(), mask=_MASK),
    client_frame(TEXT, "4日本😀".encode()) + client_frame(CLOSE, b"\x03\xe8bye", mask=_MASK),
    client_frame(TEXT, _HELLO, head=0xC0) + client_frame(CLOSE, b""),
    client_frame(BINARY, _HELLO[:20], head=0x40, mask=_MASK) + client_frame(CONTINUATION, _HELLO[20:]),
    client_frame(BINARY, _BOMB[:900], head=0xC0),
    client_frame(TEXT, b"x" * LIMIT) + client_frame(TEXT, b"x" * 990, head=0) + client_frame(CONTINUATION, b"x" * 11),
    client_frame(TEXT, b"", head=0) + client_frame(CONTINUATION, b"", head=0) * 20,
]
PAYLOADS_4 = [
    b"4hello",
    b"4a\x1e4b\x1ebAQIDBA==\x1e3",
    "4日本😀".encode(),
    b"1",
    b"bAAEC/w==",
    b"4" + b"x" * 300,
    b"\x1e".join([b"6"] * PACKETS),
]
PAYLOADS_3 = [
    b"6:4hello1:2",
    "8:4日本😀!!".encode(),
    b"10:b4AQIDBA==2:4a",
    b"1:1",
    b"1:6" * PACKETS,
    b"0301:4" + b"x" * 300,
]
PAYLOADS_3_BINARY = [
    b"\x00\x06\xff4hello",
    b"\x01\x05\xff\x04\x01\x02\x03\x04\x00\x02\xff4a",
    b"\x00\x01\x02\xff4" + "日本é!!!".encode(),
    b"\x00\x01\xff6" * PACKETS,
]
SOCKET_IO = [
    b"0",
    b'0/chat,{"token":"x","cursors":{"a":1}}',
    b"0/chat?a=b,",
    b"1/chat,",
    b'2["say",{"b":1}]',
    b'2/chat,17["message.send",{"body":"hi"}]',
    b'3/chat,17[1,2,{"a":null}]',
    b'51-["e",{"_placeholder":true,"num":0}]',
    b'52-/chat,3["e",[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}],1.5e3]',
    b'61-/chat,9[{"_placeholder":true,"num":0}]',
    '2["日本😀","\\u00e9\\n"]'.encode(),
    b'4{"message":"no"}',
]
QUERIES = [
    b"EIO=4&transport=polling&t=x1",
    b"EIO=4&transport=websocket&sid=a.b-c_d",
    b"EIO=3&transport=polling&b64=1&token=%C3%A9",
    b"transport=polling&EIO=4&EIO=3&j=0",
    b"&".join([b"a=b"] * 101),
    b"a" * (MAX_QUERY + 1),
]
KEYS = [b"dGhlIHNhbXBsZSBub25jZQ==", b"", b"AAAA", b" dGhlIHNhbXBsZSBub25jZQ== "]
REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nCookie: " + b"y" * 2000 + b"\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n" + b"z" * 1500,
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"z" * 1000 + b"\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n" * 100,
    b"\r\n\r\nGET /d HTTP/1.1\r\nHost: x\r\n\r\nHEAD /e HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
    b"POST /f HTTP/1.1\r\nHost: x\r\nContent-Length: 3001\r\n\r\n",
    b"GET /g HTTP/1.1\r\nX: " + b"y" * 9000,
]
OFFERS = [
    b"permessage-deflate",
    b"permessage-deflate; client_max_window_bits",
    b"x-other, permessage-deflate; server_max_window_bits=15",
    b'permessage-deflate; server_no_context_takeover; client_max_window_bits="12", permessage-deflate',
]
DEFLATED = [_HELLO, _BOMB, deflate.deflate(b""), deflate.deflate(bytes(range(256)) * 3)]


def frames(random: Random) -> None:
    """Any cutting of the bytes gives the same messages and error, and no more is kept than allowed."""
    data = mutated(random, FRAMES)
    whole, cut = FrameReader(LIMIT, deflate=True), FrameReader(LIMIT, deflate=True)
    at_once = whole.feed(data)
    bit_by_bit: list[Received] = []
    for piece in pieces(random, data):
        bit_by_bit += cut.feed(piece)
        assert len(cut._buffer or b"") <= LIMIT + 14
        assert sum(map(len, cut._fragments or ())) <= LIMIT
    assert at_once == bit_by_bit
    assert _outcome(whole) == _outcome(cut)
    in_turns, slow = list[Received](), FrameReader(LIMIT, deflate=True)
    for piece in pieces(random, data):
        in_turns += slow.feed(piece, random.randrange(4), random.choice([1, 100, 10_000]))
    while slow.waiting:
        in_turns += slow.feed(b"", 1, 1)
    assert in_turns == at_once
    assert (slow.error and slow.error.code, slow.held) == (whole.error and whole.error.code, whole.held)
    assert all(isinstance(data, str) == (opcode == TEXT) and len(data) <= LIMIT for opcode, data in at_once)
    if whole.error is not None:
        assert whole.feed(client_frame(TEXT, b"more")) == []


def _outcome(reader: FrameReader) -> tuple[object, ...]:
    error = reader.error
    held = bytes(reader._buffer or b"")
    return (held, reader._fragments) if error is None else (error.code, str(error), held, reader._fragments)


def payloads(random: Random) -> None:
    """Only `MalformedPayload` is raised; what was read is read the same from its own encoding."""
    revision, binary, seeds = random.choice(
        [(4, False, PAYLOADS_4), (3, False, PAYLOADS_3), (3, True, PAYLOADS_3_BINARY)]
    )
    body = mutated(random, seeds)
    try:
        incoming = decode_payload(body, revision, binary=binary, limit=PACKETS)
    except MalformedPayload:
        incoming = None
    if incoming is not None:
        assert 0 < len(incoming) <= PACKETS
        for base64_only in (True, False):
            _encoded_again(incoming, revision, base64_only=base64_only)
    model = Model(revision)
    model.post_bytes(body, binary=binary)
    assert model.session.over or incoming is not None


def _encoded_again(incoming: list[Incoming], revision: int, *, base64_only: bool) -> None:
    # Binary packets of other kinds exist in revision 3 alone, and no server sends them.
    packets = [
        Packet(Part(TEXT, (kind + data).encode()) if isinstance(data, str) else Part(BINARY, data))
        for kind, data in incoming
    ]
    body, binary = encode_payload(packets, revision, base64_only=base64_only)
    again = decode_payload(body, revision, binary=binary, limit=PACKETS)
    assert again == [Incoming("4" if isinstance(data, bytes) else kind, data) for kind, data in incoming]


def messages(random: Random) -> None:
    """A WebSocket message is a packet or malformed."""
    data = mutated(random, PAYLOADS_4 + PAYLOADS_3_BINARY)
    for message in (data, data.decode("utf-8", "replace")):
        for revision in (3, 4):
            try:
                kind, content = parse_message(message, revision)
            except MalformedPayload:
                continue
            assert kind in "0123456"
            assert isinstance(content, str) or isinstance(message, bytes) or message[0] == "b"


def socket_io(random: Random) -> None:
    """Only the two errors are raised; what is read is read the same when it is sent on."""
    text = mutated(random, SOCKET_IO).decode("utf-8", random.choice(["replace", "ignore"]))
    try:
        head, packet = parse(text)
    except (MalformedPacket, InvalidPayload):
        return
    attachments = (b"",) * head.attachments
    if isinstance(packet, EventPacket):
        sent = event_packet(packet.namespace, packet.event, packet.args, attachments, packet.ack_id)
    elif isinstance(packet, AckPacket):
        sent = ack_packet(packet.namespace, packet.ack_id, packet.args, attachments)
    else:
        return
    assert packet.args.startswith(b"[")
    try:
        json.loads(packet.args)
    except ValueError:
        return  # the service refuses it
    again = parse(sent.parts[0].data[1:].decode())
    assert (again.head.attachments, again.content) == (head.attachments, packet)


def requests(random: Random) -> None:
    """Only `Refusal` is raised by a request's query and headers."""
    headers = [
        (b"sec-websocket-key", mutated(random, KEYS)),
        (b"sec-websocket-version", b"13"),
        (b"origin", b"http://x"),
    ]
    try:
        request = read_request("GET", mutated(random, QUERIES), headers, "127.0.0.1", "http")
        assert request.revision in {0, 3, 4}
        assert len(base64.b64decode(accept_key(request.headers))) == 20
    except Refusal:
        return


def http(random: Random) -> None:
    """Any cutting of the bytes gives the same requests, and a head or a body beyond its limit is never served."""
    data = mutated(random, REQUESTS) + random.choice([b"", mutated(random, REQUESTS)])
    whole, cut = Connection(), Connection()
    whole.receive(data)
    for piece in pieces(random, data):
        cut.receive(piece)
    assert whole.requests == cut.requests
    if b" 431 " not in whole.fake.written + cut.fake.written:
        # A head without an end is given up between one slice beyond its limit and two.
        assert whole.fake.closed == cut.fake.closed
    assert all(size <= LIMITS.body_bytes for _, _, size in whole.requests)
    whole.end()
    cut.end()


def extensions(random: Random) -> None:
    """An offer is met or not; a message is inflated within its limit or refused."""
    answer = deflate.negotiate(mutated(random, OFFERS).decode("latin-1"))
    assert answer is None or answer.startswith(deflate.ACCEPTED)
    data = mutated(random, DEFLATED)
    with suppress(deflate.InflateError):
        assert len(deflate.inflate(data, LIMIT)) <= LIMIT


def sessions(random: Random) -> None:
    """See `session_model`."""
    operations, weights = list(OPERATIONS), list(OPERATIONS.values())
    steps = [(operation, random.randrange(64)) for operation in random.choices(operations, weights, k=30)]
    run(random.choice([3, 4]), steps, websocket=random.random() < 0.2)


TARGETS: dict[str, Callable[[Random], None]] = {
    target.__name__: target for target in (frames, payloads, messages, socket_io, requests, http, extensions, sessions)
}
