"""Engine.IO packets and payloads of both revisions; python-engineio is the oracle of revision 4."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from engineio.packet import Packet as TheirPacket
from engineio.payload import Payload
from hypothesis import given
from hypothesis import strategies as st

from parley.engineio.packets import (
    OVERHEAD,
    Incoming,
    MalformedPayload,
    Packet,
    Part,
    TooManyPackets,
    decode_payload,
    encode_payload,
    parse_message,
)
from parley.engineio.websocket.deflate import THRESHOLD, deflate
from parley.engineio.websocket.frames import BINARY, TEXT, frame

# A record separator inside a text packet cannot be told from one between packets; JSON never has it unescaped.
TEXTS = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]))
ASTRAL = st.text(st.sampled_from("ab1:é日😀🏳️‍🌈"))
PARTS = st.lists(
    st.one_of(
        st.builds(lambda kind, text: Part(TEXT, (kind + text).encode()), st.sampled_from("0123456"), TEXTS | ASTRAL),
        st.builds(lambda data: Part(BINARY, data), st.binary()),
    ),
    min_size=1,
    max_size=6,
)


def incoming(part: Part) -> Incoming:
    """The packet in one part, as its receiver reads it."""
    text = part.data.decode() if part.opcode == TEXT else ""
    return Incoming(text[0], text[1:]) if part.opcode == TEXT else Incoming("4", part.data)


def decoded(body: bytes, revision: int = 4, *, binary: bool = False, limit: int = 10) -> list[Incoming]:
    return decode_payload(body, revision, binary=binary, limit=limit)


# -- revision 4 --------------------------------------------------------------------------------------------------------


@given(PARTS)
def test_a_payload_is_the_oracles_and_comes_back(parts: list[Part]):
    body, binary = encode_payload([Packet(*parts)], 4, base64_only=False)
    theirs: list[Any] = [TheirPacket(int(incoming(part).kind), incoming(part).data) for part in parts]
    assert body.decode() == Payload(theirs).encode()
    assert not binary
    assert decoded(body) == [incoming(part) for part in parts]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("4hello", [Incoming("4", "hello")]),
        ("4a\x1e4\x1e3", [Incoming("4", "a"), Incoming("4", ""), Incoming("3", "")]),
        ("4hello\x1ebAQIDBA==", [Incoming("4", "hello"), Incoming("4", b"\1\2\3\4")]),
        ("b", [Incoming("4", b"")]),
        ("2probe", [Incoming("2", "probe")]),
    ],
)
def test_payloads_of_revision_4(body: str, expected: list[Incoming]):
    assert decoded(body.encode()) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"abc", b"7", b"\x1e", b"4a\x1e", b"\x1e4a", b"4\xff", b"bAQ", b"b====", b"bA Q=", "bé".encode(), b" 4a"],
)
def test_bodies_that_are_no_payload_of_revision_4(body: bytes):
    with pytest.raises(MalformedPayload):
        decoded(body)


# -- revision 3 --------------------------------------------------------------------------------------------------------


@given(PARTS, st.booleans())
def test_a_payload_of_revision_3_comes_back(parts: list[Part], base64_only: bool):
    body, binary = encode_payload([Packet(*parts)], 3, base64_only=base64_only)
    assert binary == (not base64_only and any(part.opcode == BINARY for part in parts))
    assert decoded(body, 3, binary=binary) == [incoming(part) for part in parts]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("6:4hello", [Incoming("4", "hello")]),
        ("6:4hello1:2", [Incoming("4", "hello"), Incoming("2", "")]),
        ("2:4€", [Incoming("4", "€")]),
        ("3:4😀1:1", [Incoming("4", "😀"), Incoming("1", "")]),
        ("10:b4AQIDBA==", [Incoming("4", b"\1\2\3\4")]),
        ("5:4a:1b", [Incoming("4", "a:1b")]),
    ],
)
def test_lengths_of_revision_3_count_utf_16_units(body: str, expected: list[Incoming]):
    assert decoded(body.encode(), 3) == expected


def test_text_of_revision_3_is_counted_as_javascript_counts_it():
    packets = [Packet.of("4日😀".encode()), Packet.of(b"2")]
    assert encode_payload(packets, 3, base64_only=False) == ("4:4日😀1:2".encode(), False)
    packets.append(Packet(Part(BINARY, b"\1\2")))
    assert encode_payload(packets, 3, base64_only=True) == ("4:4日😀1:26:b4AQI=".encode(), False)


def test_text_and_bytes_of_revision_3_share_a_binary_payload():
    body, binary = encode_payload([Packet.of("4é".encode(), (b"\xff" * 10,))], 3, base64_only=False)
    assert body == b"\x00\x03\xff4\xc3\xa9" + b"\x01\x01\x01\xff\x04" + b"\xff" * 10
    assert binary


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"4hello",
        b":4",
        b"0:",
        b"-1:4",
        b"+1:4",
        b" 1:4",
        b"2:4",
        b"1:7",
        b"1:4x",
        "٣:4ab".encode(),
        b"99999999999:4",
        *(b"5:b4AQ=", b"1:b", b"2:b7", b"\xff", "2:4😀".encode(), "1:㩁".encode(), "㩁:4".encode()),
    ],
)
def test_bodies_that_are_no_text_payload_of_revision_3(body: bytes):
    with pytest.raises(MalformedPayload):
        decoded(body, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\xff",
        b"\x00\x02\xff4",
        b"\x02\x01\xff\x04",
        b"\x00\x0a\xff4xxxxxxxxx",
        b"\x01\x01\xff\x07",
        b"\x01\x00\xff",
        b"\x00\x01\xff\xff",
        b"\x00" + b"\x09" * 11 + b"\xff4",
        b"\x00\x01\xff4\x00",
        b"\x00\x01\xff7",
    ],
)
def test_bodies_that_are_no_binary_payload_of_revision_3(body: bytes):
    with pytest.raises(MalformedPayload):
        decoded(body, 3, binary=True)


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "revision", "binary"),
    [(b"4a\x1e", 4, False), (b"2:4a", 3, False), (b"\x00\x02\xff4a", 3, True)],
)
def test_more_packets_than_allowed_are_refused(packet: bytes, revision: int, binary: bool):
    assert len(decoded((packet * 10).rstrip(b"\x1e"), revision, binary=binary)) == 10
    with pytest.raises(TooManyPackets):
        decoded((packet * 11).rstrip(b"\x1e"), revision, binary=binary)


@given(
    st.binary(max_size=60) | st.text(st.sampled_from("0123456:b=A\x1e\xff😀"), max_size=30).map(str.encode),
    st.booleans(),
)
def test_any_body_is_packets_or_malformed(body: bytes, binary: bool):
    for revision in (3, 4):
        try:
            assert 0 < len(decoded(body, revision, binary=binary)) <= 10
        except MalformedPayload:
            continue


@pytest.mark.parametrize(
    ("message", "revision", "expected"),
    [
        ("4hello", 4, Incoming("4", "hello")),
        ("2probe", 3, Incoming("2", "probe")),
        (b"\1\2", 4, Incoming("4", b"\1\2")),
        (b"", 4, Incoming("4", b"")),
        (b"\4\1\2", 3, Incoming("4", b"\1\2")),
        ("bAQI=", 4, Incoming("4", b"\1\2")),
        ("b4AQI=", 3, Incoming("4", b"\1\2")),
    ],
)
def test_a_websocket_message_is_one_packet(message: str | bytes, revision: int, expected: Incoming):
    assert parse_message(message, revision) == expected


@pytest.mark.parametrize(
    ("message", "revision"),
    [("", 4), ("", 3), ("abc", 4), ("7", 4), ("b!", 4), (b"", 3), (b"\7", 3), (b"4", 3), ("b", 3)],
)
def test_a_websocket_message_that_is_no_packet(message: str | bytes, revision: int):
    with pytest.raises(MalformedPayload):
        parse_message(message, revision)


@given(PARTS)
def test_frames_are_those_of_the_parts_and_binary_ones_keep_their_kind_in_revision_3(parts: list[Part]):
    packet = Packet(*parts)
    assert packet.frames(4) == b"".join(frame(opcode, data) for opcode, data in parts)
    old = (frame(opcode, data if opcode == TEXT else b"\4" + data) for opcode, data in parts)
    assert packet.frames(3) == b"".join(old)


def test_frames_are_made_once_for_each_encoding():
    packet = Packet.of(b"4" + b"x" * THRESHOLD, (b"y",))
    for revision, compress in ((4, False), (4, True), (3, False), (3, True)):
        assert packet.frames(revision, compress=compress) is packet.frames(revision, compress=compress)


def test_only_long_frames_are_compressed():
    long, short = b"4" + b"x" * THRESHOLD, b"4short"
    expected = frame(TEXT, deflate(long), compressed=True) + frame(TEXT, short)
    assert Packet(Part(TEXT, long), Part(TEXT, short)).frames(4, compress=True) == expected


def test_joined_packets_are_their_parts_in_order():
    one, two = Packet.of(b"4one", (b"a",)), Packet.of(b"4two")
    assert Packet.joined([one]) is one
    joined = Packet.joined([one, two])
    assert joined.parts == one.parts + two.parts
    assert joined.size == one.size + two.size == len(b"4onea4two") + 3 * OVERHEAD


@given(st.binary(max_size=50))
def test_base64_is_read_as_it_is_written(data: bytes):
    assert parse_message("b" + base64.b64encode(data).decode(), 4) == Incoming("4", data)
