"""Socket.IO packets: routed without decoding the payload, and the same to python-socketio as to us."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet

from parley.gateway.engineio.packets import Packet as Piece
from parley.gateway.engineio.websocket.frames import TEXT
from parley.gateway.socketio.packets import (
    AckPacket,
    ConnectPacket,
    DisconnectPacket,
    EventPacket,
    MalformedPacket,
    Unfinished,
    ack_packet,
    connect_error_packet,
    connect_packet,
    disconnect_packet,
    event_packet,
    parse,
)

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


def parse_event(text: str) -> EventPacket:
    """A plain event."""
    packet = parse(text)
    assert isinstance(packet, EventPacket)
    return packet


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
    assert parse_event(text) == expected


def test_the_payload_stays_the_bytes_that_came():
    payload = '{"n": 1.0, "big":123456789012345678901234567890, "e":"\\u00e9", "twice":1,"twice":2}'
    assert parse_event(f'2/chat,1["say", {payload} ]').args == f"[{payload}]".encode()


@given(NAMESPACES, ACK_IDS, NAMES, st.lists(JSON, max_size=3))
@example("/", None, "2", [])
def test_what_python_socketio_writes_is_read_back(namespace: str, ack_id: int | None, name: str, args: list[Any]):
    encoded: Any = Packet(EVENT, data=[name, *args], namespace=namespace, id=ack_id).encode()
    packet = parse_event(encoded)
    assert packet[:3] == (namespace, ack_id, name)
    assert json.loads(packet.args) == args


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "7",
        '5["e"]',
        '51["e"]',
        '5-["e"]',
        '510000-["e"]',
        "2e",
        "2{}",
        '2/chat["e"]',
        '2/chat 1["e"]',
        '2-1["e"]',
        '21.5["e"]',
        '2 ["e"]',
        '21000000000000000["e"]',
        '2²["e"]',
        '2٣["e"]',
        '5٣-["e"]',
        '3["e"]',
        "31",
        "31{}",
        "0[]",
        "0{",
        '0"x"',
        '07{"a":1}',
        '0/chat,7{"a":1}',
        '0{"a":' + "[" * 100_000,
        "1[]",
        "1{}",
        "17",
        '4{"message":"no"}',
        "4/chat,",
    ],
)
def test_what_is_no_packet_of_a_client_is_malformed_and_has_no_ack(text: str):
    with pytest.raises(MalformedPacket) as caught:
        parse(text)
    assert caught.value.ack_id is None


@pytest.mark.parametrize(
    "payload",
    [
        "[",
        "[]",
        "[1]",
        "[null]",
        '[["e"]]',
        '["e"',
        '["e",]',
        '["e",{]',
        '["e"]x',
        '["e",NaN]',
        '["e"] ["f"]',
        '["\\ud800"]',
        '["e","\ud800"]',
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_a_bad_payload_is_malformed_and_its_sender_can_still_be_answered(payload: str):
    with pytest.raises(MalformedPacket) as caught:
        parse(f"2/chat,7{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/chat", 7)
    with pytest.raises(MalformedPacket) as caught:
        parse(f"2{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/", None)
    with pytest.raises(MalformedPacket) as caught:
        parse(f"51-/chat,7{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/chat", 7)


_ALMOST = st.lists(
    st.sampled_from(
        [
            "2",
            "51-",
            "3",
            "0",
            "/chat",
            ",",
            "?",
            "17",
            "[",
            "]",
            '"',
            "e",
            "{",
            "}",
            ":",
            "\\",
            "\ud800",
            "é",
            "٣",
            "-",
            " ",
            "\0",
        ]
    ),
    max_size=30,
).map("".join)


@given(st.text(st.characters()) | _ALMOST | _ALMOST.map(lambda text: f'2/chat,1["{text}'))
def test_no_text_raises_anything_but_malformed_packet(text: str):
    try:
        packet = parse(text)
    except MalformedPacket:
        return
    packet = packet.packet if isinstance(packet, Unfinished) else packet
    assert packet.namespace.startswith("/")
    if isinstance(packet, EventPacket | AckPacket):
        json.loads(packet.args)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", ConnectPacket("/", {}, "")),
        ('0{"token":"x"}', ConnectPacket("/", {"token": "x"}, "")),
        ("0/chat", ConnectPacket("/chat", {}, "")),
        ("0/chat,", ConnectPacket("/chat", {}, "")),
        ('0/chat,{"cursors":{"a":1}}', ConnectPacket("/chat", {"cursors": {"a": 1}}, "")),
        ("0/chat?token=x&b=,", ConnectPacket("/chat", {}, "token=x&b=")),
        ("1", DisconnectPacket("/")),
        ("1/chat,", DisconnectPacket("/chat")),
        ("37[]", AckPacket("/", 7, b"[]")),
        ('3/chat,17[1,{"a": null}]', AckPacket("/chat", 17, b'[1,{"a": null}]')),
        ('50-["e",1]', EventPacket("/", None, "e", b"[1]")),
        ("60-/chat,7[]", AckPacket("/chat", 7, b"[]")),
    ],
)
def test_other_packets_are_told_apart(text: str, expected: Any):
    assert parse(text) == expected


@given(NAMESPACES, st.none() | st.dictionaries(st.text(), JSON, max_size=3))
def test_what_python_socketio_asks_for_is_read(namespace: str, auth: dict[str, Any] | None):
    assert parse(str(Packet(CONNECT, data=auth, namespace=namespace).encode())) == ConnectPacket(
        namespace, auth or {}, ""
    )
    assert parse(str(Packet(DISCONNECT, namespace=namespace).encode())) == DisconnectPacket(namespace)


@given(NAMESPACES, ACK_IDS, NAMES, st.lists(JSON, max_size=2), BINARY)
def test_binary_events_and_acks_wait_for_their_attachments(
    namespace: str, ack_id: int | None, name: str, args: list[Any], binary: list[bytes]
):
    text, *attachments = Packet(EVENT, [name, *args, {"files": binary}], namespace, ack_id).encode()
    unfinished = parse(str(text))
    assert isinstance(unfinished, Unfinished)
    packet = unfinished.packet
    assert isinstance(packet, EventPacket)
    assert (packet.namespace, packet.ack_id, packet.event) == (namespace, ack_id, name)
    assert unfinished.attachments == len(attachments) == len(binary)
    assert json.loads(packet.args)[:-1] == args
    back = decoded(event_packet(namespace, name, packet.args, tuple(binary), ack_id))
    assert (back.packet_type, back.id, back.data) == (BINARY_EVENT, ack_id, [name, *args, {"files": binary}])

    answer, *_ = Packet(ACK, [*args, binary[0]], namespace, ack_id or 0).encode()
    unfinished = parse(str(answer))
    assert isinstance(unfinished, Unfinished)
    assert unfinished.packet[:2] == (namespace, ack_id or 0)
    back = decoded(ack_packet(namespace, ack_id or 0, unfinished.packet.args, (binary[0],)))
    assert (back.packet_type, back.data) == (BINARY_ACK, [*args, binary[0]])


@pytest.mark.parametrize("number", ["1", "-1", "9999", "1.0", "true", "null", '"0"', "[0]", "{}", "1e9"])
@pytest.mark.parametrize("argument", ["{%s}", "[[{%s}]]", '{"a":{%s}}'])
def test_a_placeholder_without_its_attachment_is_malformed(number: str, argument: str):
    placeholder = argument % f'"_placeholder":true,"num":{number}'
    with pytest.raises(MalformedPacket) as caught:
        parse(f'51-/chat,7["e",{placeholder}]')
    assert (caught.value.namespace, caught.value.ack_id) == ("/chat", 7)
    with pytest.raises(MalformedPacket):
        parse(f"61-7[{placeholder}]")
    with pytest.raises(MalformedPacket):
        parse(f'50-["e",{placeholder}]')


def test_only_what_clients_take_for_a_placeholder_is_one():
    for argument in (
        '{"_placeholder":1,"num":9}',
        '{"num":9}',
        '["_placeholder",true]',
        '{"_placeholder":false,"num":9}',
    ):
        assert isinstance(parse(f'51-["e",{argument}]'), Unfinished)
    # In a plain event it is data like any other.
    assert isinstance(parse('2["e",{"_placeholder":true,"num":9}]'), EventPacket)


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
