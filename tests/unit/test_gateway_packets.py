"""Socket.IO text packets: routed without decoding the payload, and the same to python-socketio as to us."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from socketio.packet import ACK, DISCONNECT, EVENT, Packet

from parley.gateway.packets import EventPacket, MalformedPacket, ack_text, disconnect_text, event_text, parse_event

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


def decoded(text: str) -> Any:
    """The packet as python-socketio reads it."""
    packet: Any = Packet(encoded_packet=text)
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
        "0{}",
        '3["e"]',
        '51-["e"]',
        "2e",
        "2{}",
        '2/chat["e"]',
        '2/chat 1["e"]',
        '2-1["e"]',
        '21.5["e"]',
        '2 ["e"]',
        '21000000000000000["e"]',
        '2²["e"]',
    ],
)
def test_what_is_no_event_packet_is_malformed_and_has_no_ack(text: str):
    with pytest.raises(MalformedPacket) as caught:
        parse_event(text)
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
        parse_event(f"2/chat,7{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/chat", 7)
    with pytest.raises(MalformedPacket) as caught:
        parse_event(f"2{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/", None)


_ALMOST = st.lists(
    st.sampled_from(
        ["2", "/chat", ",", "?", "17", "[", "]", '"', "e", "{", "}", ":", "\\", "\ud800", "é", "٣", "-", " ", "\0"]
    ),
    max_size=30,
).map("".join)


@given(st.text(st.characters()) | _ALMOST | _ALMOST.map(lambda text: f'2/chat,1["{text}'))
def test_no_text_raises_anything_but_malformed_packet(text: str):
    try:
        packet = parse_event(text)
    except MalformedPacket:
        return
    assert packet.namespace.startswith("/")
    json.loads(packet.args)


@given(NAMESPACES, NAMES, JSON)
def test_python_socketio_reads_our_events(namespace: str, name: str, payload: Any):
    packet = decoded(event_text(namespace, name, json.dumps(payload).encode()))
    assert (packet.packet_type, packet.namespace or "/", packet.id) == (EVENT, namespace, None)
    assert packet.data == [name, payload]


@given(NAMESPACES, st.integers(0, 10**15 - 1), JSON)
def test_python_socketio_reads_our_acks(namespace: str, ack_id: int, payload: Any):
    packet = decoded(ack_text(namespace, ack_id, json.dumps(payload).encode()))
    assert (packet.packet_type, packet.namespace or "/", packet.id, packet.data) == (ACK, namespace, ack_id, [payload])


@given(NAMESPACES)
def test_python_socketio_reads_our_disconnects(namespace: str):
    packet = decoded(disconnect_text(namespace))
    assert (packet.packet_type, packet.namespace or "/", packet.data) == (DISCONNECT, namespace, None)
