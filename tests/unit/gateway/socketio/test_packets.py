"""Socket.IO packets: only the head is read, the payload stays what came, and python-socketio reads what we write."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet

from parley.common.nesting import MAX_DEPTH
from parley.engineio.packets import Packet as Piece
from parley.engineio.websocket.frames import TEXT
from parley.gateway.socketio.packets import (
    AckPacket,
    EventPacket,
    Head,
    InvalidPayload,
    MalformedPacket,
    TooMuchSaid,
    ack_packet,
    connect_error_packet,
    connect_packet,
    disconnect_packet,
    event_packet,
    read_connect,
    read_head,
)
from tests.support.clients.socketio_packets import parse

NAMESPACES = st.one_of(st.just("/"), st.from_regex(re.compile(r"/[a-zA-Z0-9/_:.\-]{1,20}"), fullmatch=True))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(min_size=1)
ACK_IDS = st.none() | st.integers(0, 10**15 - 1)
BINARY = st.lists(st.binary(max_size=20), min_size=1, max_size=3)


def decoded(piece: Piece) -> Any:
    """What we send, as python-socketio reads it."""
    text, *attachments = piece.parts
    assert text.opcode == TEXT
    assert text.data[:1] == b"4"
    packet: Any = Packet(encoded_packet=text.data[1:].decode())
    for attachment in attachments:
        packet.add_attachment(attachment.data)
    return packet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('2["say"]', EventPacket("/", None, "say", b"[]")),
        ('2["say",{"b":1}]', EventPacket("/", None, "say", b'[{"b":1}]')),
        ('20["say",1,2]', EventPacket("/", 0, "say", b"[1,2]")),
        ('2/chat,17["message.send",{"body":"hi"}]', EventPacket("/chat", 17, "message.send", b'[{"body":"hi"}]')),
        ('2/chat?token=x&y=[],3["e"]', EventPacket("/chat", 3, "e", b"[]")),
        ('2/,3["e"]', EventPacket("/", 3, "e", b"[]")),
        ('2["\\u0065\\n",null]', EventPacket("/", None, "e\n", b"[null]")),
        ('2["日本","é"]', EventPacket("/", None, "日本", '["é"]'.encode())),
        ('2/a/b,999999999999999["e"]', EventPacket("/a/b", 999_999_999_999_999, "e", b"[]")),
    ],
)
def test_namespace_ack_id_name_and_arguments_are_told_apart(text: str, expected: EventPacket):
    assert parse(text).content == expected


def test_the_payload_stays_the_bytes_that_came():
    payload = '{"n": 1.0, "big":123456789012345678901234567890, "e":"\\u00e9", "twice":1,"twice":2}'
    assert parse(f'2/chat,1["say", {payload} ]').content == EventPacket("/chat", 1, "say", f"[{payload} ]".encode())


@given(NAMESPACES, ACK_IDS, NAMES, st.lists(JSON, max_size=3))
@example("/", None, "2", [])
def test_what_python_socketio_writes_is_read_back(namespace: str, ack_id: int | None, name: str, args: list[Any]):
    encoded: Any = Packet(EVENT, data=[name, *args], namespace=namespace, id=ack_id).encode()
    packet = parse(encoded).content
    assert isinstance(packet, EventPacket)
    assert (packet.namespace, packet.ack_id, packet.event) == (namespace, ack_id, name)
    assert json.loads(packet.args) == args


@pytest.mark.parametrize(
    "text",
    [
        "", "2", "7", '5["e"]', '51["e"]', '5-["e"]', '510000-["e"]', "2e", "2{}", '2/chat["e"]', '2/chat 1["e"]',
        '2-1["e"]', '21.5["e"]', '2 ["e"]', '2²["e"]', '2٣["e"]', '5٣-["e"]', '3["e"]', "31",
        "31{}", '07{"a":1}', '0/chat,7{"a":1}', "17", '4{"message":"no"}', "4/chat,", "2/" + "x" * 600 + ',["e"]',
        f"0/chat?{'x' * 8193},", f'2/chat?{"x" * 1_000_000},["e"]', "4123456789012345678",
    ],
)  # fmt: skip
def test_a_head_that_is_no_clients_is_malformed(text: str):
    with pytest.raises(MalformedPacket):
        parse(text)


@pytest.mark.parametrize("digits", ["1" + "0" * 15, "9" * 5_000])
@pytest.mark.parametrize("kind", ["2", "51-", "3", "61-"])
def test_an_ack_id_that_is_too_long_is_its_senders_error(kind: str, digits: str):
    head = read_head(f'{kind}/chat,{digits}["e"]')
    assert (head.namespace, head.ack_id) == ("/chat", None)
    assert head.problem
    assert not read_head(f'{kind}/chat,{"9" * 15}["e"]').problem


@pytest.mark.parametrize(
    "payload",
    ["[", "[]", "[1]", "[null]", '[["e"]]', '["e"', '["e",]', '["e" , ]', '["e"]x', '["e"] ["f"]', '["\\ud800"]',
     '["\\x"]', '["e","\ud800"]', '["\ud800"]', '["\ud800",1]', '["a\nb"]', "[" * 100_000 + "]" * 100_000],
    ids=lambda payload: ascii(payload)[:20],
)  # fmt: skip
def test_a_bad_payload_is_its_senders_error_whom_the_head_tells(payload: str):
    for kind in ("2", "51-", "50-"):
        assert read_head(f"{kind}/chat,7{payload}").ack_id == 7
        for ack_id in ("7", ""):
            with pytest.raises(InvalidPayload):
                parse(f"{kind}/chat,{ack_id}{payload}")


@pytest.mark.parametrize("payload", ["null", "[]", "{", '"x"', '{"a":1}x', '{"a":"\\ud800"}', '{"a":' + "[" * 100_000])
def test_a_connect_that_says_nonsense_is_its_senders_error(payload: str):
    with pytest.raises(InvalidPayload):
        parse(f"0/chat,{payload}")


def nested(depth: int) -> str:
    """Arrays and objects inside each other, with brackets in strings besides."""
    inner = '"]]}}[[{{\\\\"'
    for level in range(depth):
        inner = f"[{inner}]" if level % 2 else f'{{"[\\"":{inner}}}'
    return inner


@pytest.mark.parametrize("head", ["2/chat,1", "51-/chat,", "3/chat,1", "61-/chat,1", "0/chat,"])
def test_every_kind_of_packet_may_be_nested_as_deeply_and_no_deeper(head: str):
    def packet(depth: int) -> str:
        many = f"[{'[],' * 200}0]"
        if head[0] == "0":
            return f'{head}{{"a":{nested(depth - 1)},"b":{many}}}'
        return f'{head}["e",{nested(depth - 1)},{many}]'

    parse(packet(MAX_DEPTH))
    with pytest.raises(InvalidPayload):
        parse(packet(MAX_DEPTH + 1))


@given(st.text(st.sampled_from('[]{}"\\ae,:'), max_size=600), st.integers(0, 130), st.integers(0, 130))
def test_json_passes_exactly_when_it_is_nested_within_the_bound(text: str, arrays: int, objects: int):
    depth = arrays + objects + 1
    payload = "[" * arrays + '{"[":' * objects + json.dumps(text) + "}" * objects + "]" * arrays
    packet = f'2["e",{payload},{json.dumps([text] * 60)}]'
    if depth > MAX_DEPTH:
        with pytest.raises(InvalidPayload):
            parse(packet)
    else:
        parse(packet)


_ALMOST = st.lists(
    st.sampled_from(
        ["2", "51-", "3", "0", "/chat", ",", "?", "17", "[", "]", '"', "e", "{", "}", ":", "\\", "\ud800", "é", "٣",
         "-", " ", "\0"]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(st.text(st.characters()) | _ALMOST | _ALMOST.map(lambda text: f'2/chat,1["{text}'))
def test_any_text_is_one_of_few_things_and_what_is_json_is_read_as_json(text: str):
    try:
        head, content = parse(text)
    except (MalformedPacket, InvalidPayload):
        return
    assert head.namespace.startswith("/")
    if not isinstance(content, EventPacket):
        return
    try:
        name, *args = msgspec.json.decode(text[head.start :].encode())
    except (msgspec.DecodeError, UnicodeError):
        # What is no JSON stays none, for the service to refuse.
        with pytest.raises((msgspec.DecodeError, UnicodeError)):
            msgspec.json.decode(content.args)
    else:
        assert (content.event, msgspec.json.decode(content.args)) == (name, args)


@given(JSON)
def test_whatever_is_no_array_that_begins_with_a_string_is_refused(value: Any):
    begins_with_name = isinstance(value, list) and value and isinstance(value[0], str)
    payload = json.dumps(value)
    try:
        packet = parse(f"2{payload}").content
    except (MalformedPacket, InvalidPayload):
        assert not begins_with_name or "\\ud" in payload
    else:
        assert isinstance(packet, EventPacket)
        assert [packet.event, *json.loads(packet.args)] == value


@pytest.mark.parametrize(
    ("text", "head", "content"),
    [
        ("0", Head("0", "/", None, 1), {}),
        ('0{"token":"x"}', Head("0", "/", None, 1), {"token": "x"}),
        ("0/chat", Head("0", "/chat", None, 6), {}),
        ("0/chat,", Head("0", "/chat", None, 7), {}),
        ('0/chat,{"cursors":{"a":1}}', Head("0", "/chat", None, 7), {"cursors": msgspec.Raw(b'{"a":1}')}),
        ("0/chat?token=x&b=,", Head("0", "/chat", None, 18, query="token=x&b="), {}),
        ("1", Head("1", "/", None, 1), None),
        ("1/chat,", Head("1", "/chat", None, 7), None),
        ("37[]", Head("3", "/", 7, 2), AckPacket("/", 7, b"[]")),
        ('3/chat,17[1,{"a": null}]', Head("3", "/chat", 17, 9), AckPacket("/chat", 17, b'[1,{"a": null}]')),
        ('50-["e",1]', Head("5", "/", None, 3), EventPacket("/", None, "e", b"[1]")),
        ("60-/chat,7[]", Head("6", "/chat", 7, 10), AckPacket("/chat", 7, b"[]")),
        ('52-/chat,["e"]', Head("5", "/chat", None, 9, 2), EventPacket("/chat", None, "e", b"[]")),
    ],
)
def test_other_packets_are_told_apart(text: str, head: Head, content: Any):
    assert parse(text) == (head, content)


@given(NAMESPACES, st.none() | st.dictionaries(st.text(), JSON, max_size=3))
def test_what_python_socketio_asks_for_is_read(namespace: str, auth: dict[str, Any] | None):
    head, said = parse(str(Packet(CONNECT, data=auth, namespace=namespace).encode()))
    assert (head.namespace, said) == (namespace, auth or {})
    assert parse(str(Packet(DISCONNECT, namespace=namespace).encode())).head.namespace == namespace


@given(NAMESPACES, ACK_IDS, NAMES, st.lists(JSON, max_size=2), BINARY)
def test_binary_events_and_acks_say_how_many_attachments_follow(
    namespace: str, ack_id: int | None, name: str, args: list[Any], binary: list[bytes]
):
    text, *attachments = Packet(EVENT, [name, *args, {"files": binary}], namespace, ack_id).encode()
    head, packet = parse(str(text))
    assert isinstance(packet, EventPacket)
    assert (packet.namespace, packet.ack_id, packet.event) == (namespace, ack_id, name)
    assert head.attachments == len(attachments) == len(binary)
    assert json.loads(packet.args)[:-1] == args
    back = decoded(event_packet(namespace, name, packet.args, tuple(binary), ack_id))
    assert (back.packet_type, back.id, back.data) == (BINARY_EVENT, ack_id, [name, *args, {"files": binary}])

    answer, *_ = Packet(ACK, [*args, binary[0]], namespace, ack_id or 0).encode()
    ack = parse(str(answer)).content
    assert isinstance(ack, AckPacket)
    assert (ack.namespace, ack.ack_id) == (namespace, ack_id or 0)
    back = decoded(ack_packet(namespace, ack_id or 0, ack.args, (binary[0],)))
    assert (back.packet_type, back.data) == (BINARY_ACK, [*args, binary[0]])


# -- what a server sends -----------------------------------------------------------------------------------------------


@given(NAMESPACES, NAMES, st.lists(JSON, max_size=2), ACK_IDS)
def test_python_socketio_reads_our_events(namespace: str, name: str, args: list[Any], ack_id: int | None):
    packet = decoded(event_packet(namespace, name, json.dumps(args).encode(), ack_id=ack_id))
    assert (packet.packet_type, packet.namespace or "/", packet.id) == (EVENT, namespace, ack_id)
    assert packet.data == [name, *args]


@given(NAMESPACES, st.integers(0, 10**15 - 1), JSON)
def test_python_socketio_reads_our_acks(namespace: str, ack_id: int, payload: Any):
    packet = decoded(ack_packet(namespace, ack_id, json.dumps([payload]).encode()))
    assert (packet.packet_type, packet.namespace or "/", packet.id, packet.data) == (ACK, namespace, ack_id, [payload])


@given(NAMESPACES, st.dictionaries(st.text(), JSON, max_size=3))
def test_python_socketio_reads_our_answers_to_connect(namespace: str, body: dict[str, Any]):
    admitted, refused = decoded(connect_packet(namespace, body)), decoded(connect_error_packet(namespace, body))
    assert (admitted.packet_type, admitted.namespace or "/", admitted.data) == (CONNECT, namespace, body)
    assert (refused.packet_type, refused.namespace or "/", refused.data) == (CONNECT_ERROR, namespace, body)
    assert decoded(connect_packet(namespace, None)).data is None


@given(NAMESPACES)
def test_python_socketio_reads_our_disconnects(namespace: str):
    packet = decoded(disconnect_packet(namespace))
    assert (packet.packet_type, packet.namespace or "/", packet.data) == (DISCONNECT, namespace, None)


def test_what_is_said_at_connect_is_not_looked_at_when_it_is_too_long():
    read_connect(json.dumps({"token": "x" * 50_000, "cursors": {"a" * 50_000: 1}, "a": "b" * 20_000}), 0)
    with pytest.raises(TooMuchSaid):
        read_connect(json.dumps({"a": [{}] * 10_000}), 0)


@pytest.mark.parametrize("name", ["token", "pid", "offset"])
def test_what_should_be_text_is_not_kept_when_it_is_something_else(name: str):
    assert read_connect(json.dumps({name: [[], []], "a": 1}), 0) == {name: None, "a": 1}


@pytest.mark.parametrize("text", ['2["x",', '2/,["",', '2["x", '])
def test_an_event_that_ends_behind_the_comma_of_its_name_is_refused(text: str):
    with pytest.raises(InvalidPayload):
        parse(text)
