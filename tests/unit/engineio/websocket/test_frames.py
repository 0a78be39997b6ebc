"""WebSocket frames: read from any cutting of the bytes, and only as RFC 6455 has them; `websockets` is the oracle."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from parley.engineio.websocket.deflate import deflate
from parley.engineio.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_TEXT,
    MAX_FRAGMENTS,
    PING,
    POLICY,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    FrameReader,
    Received,
    close_frame,
    frame,
)
from tests.fuzz.mutation import client_frame

LIMIT = 1000
MASK = b"\x8f\x00\x37\xaa"


def read(data: bytes, *, limit: int = LIMIT, deflated: bool = False) -> tuple[list[Received], int | None]:
    """What comes out at once, and the code of the error."""
    reader = FrameReader(limit, deflate=deflated)
    received = reader.feed(data)
    return received, reader.error.code if reader.error else None


def packing() -> PerMessageDeflate:
    """The oracle's permessage-deflate, without context takeover."""
    return PerMessageDeflate(True, True, 15, 15)


# -- what a server writes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_length_is_written_as_the_oracle_writes_it(opcode: int, size: int):
    payload = b"x" * size
    assert frame(opcode, payload) == Frame(Opcode(opcode), payload).serialize(mask=False)


def test_a_compressed_frame_carries_the_first_reserved_bit():
    text = b"hello " * 300
    expected = Frame(Opcode.TEXT, text).serialize(mask=False, extensions=[packing()])
    assert frame(TEXT, deflate(text), compressed=True) == expected


def test_a_close_frame_carries_its_code():
    assert close_frame(TOO_BIG) == Frame(Opcode.CLOSE, b"\x03\xf1").serialize(mask=False)


# -- what a client sends -----------------------------------------------------------------------------------------------

_CONTROL = st.one_of(
    st.builds(lambda data: (Opcode.PING, data), st.binary(max_size=125)),
    st.builds(lambda data: (Opcode.PONG, data), st.binary(max_size=125)),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Received]]:
    """Masked frames as the oracle writes them, and the messages and control frames in them."""
    data, expected = b"", list[Received]()
    for _ in range(draw(st.integers(0, 4))):
        text = draw(st.booleans())
        content = draw(st.text(max_size=100)).encode() if text else draw(st.binary(max_size=400))
        content = content * draw(st.sampled_from([1, 1, 1, 200])) if len(content) < 400 else content
        extensions = draw(st.sampled_from([[], [packing()]]))
        cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=3)))
        opcode = Opcode.TEXT if text else Opcode.BINARY
        for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(content)], strict=True)):
            kind = opcode if number == 0 else Opcode.CONT
            piece = Frame(kind, content[begin:end], fin=number == len(cuts))
            data += piece.serialize(mask=True, extensions=extensions)
            if number < len(cuts) and draw(st.booleans()):
                control, body = draw(_CONTROL)
                data += Frame(control, body).serialize(mask=True)
                expected.append(Received(int(control), body))
        expected.append(Received(TEXT, content.decode()) if text else Received(BINARY, content))
    return data, expected


@given(streams(), st.lists(st.integers(0, 2**31), max_size=8))
def test_any_cutting_gives_the_messages_that_were_sent(stream: tuple[bytes, list[Received]], cuts: list[int]):
    data, expected = stream
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    reader = FrameReader(100_000, deflate=True)
    received: list[Received] = []
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        received += reader.feed(data[begin:end])
    assert reader.error is None
    assert received == expected


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8), st.booleans())
@example(client_frame(TEXT, b"a") + b"\x83\x80", [1], False)
def test_any_bytes_give_the_same_messages_and_error_however_they_are_cut(data: bytes, cuts: list[int], start: bool):
    data = client_frame(TEXT, "é".encode(), mask=MASK) + data if start else data
    places = sorted(min(cut, len(data)) for cut in cuts)
    reader = FrameReader(LIMIT)
    received: list[Received] = []
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        received += reader.feed(data[begin:end])
    assert (received, reader.error.code if reader.error else None) == read(data)
    assert len(reader._buffer or b"") <= LIMIT + 14


@given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
def test_every_mask_is_taken_off(payload: bytes, mask: bytes):
    assert read(client_frame(BINARY, payload, mask=mask)) == ([Received(BINARY, payload)], None)


HELLO = client_frame(TEXT, b"hello", mask=MASK)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"hello"), PROTOCOL_ERROR, id="no mask"),
        *(pytest.param(client_frame(opcode, b""), PROTOCOL_ERROR, id=f"opcode {opcode}") for opcode in (3, 7, 11, 15)),
        pytest.param(client_frame(TEXT, b"x", head=0xA0), PROTOCOL_ERROR, id="second reserved bit"),
        pytest.param(client_frame(TEXT, b"x", head=0x90), PROTOCOL_ERROR, id="third reserved bit"),
        pytest.param(client_frame(TEXT, b"x", head=0xC0), PROTOCOL_ERROR, id="compressed without leave"),
        pytest.param(client_frame(CONTINUATION, b"x"), PROTOCOL_ERROR, id="continues nothing"),
        pytest.param(client_frame(TEXT, b"x", head=0) * 2, PROTOCOL_ERROR, id="message inside a message"),
        pytest.param(client_frame(PING, b"", head=0), PROTOCOL_ERROR, id="fragmented ping"),
        pytest.param(client_frame(PING, b"x" * 126), PROTOCOL_ERROR, id="long ping"),
        pytest.param(client_frame(CLOSE, b"x"), PROTOCOL_ERROR, id="half a close code"),
        *(
            pytest.param(client_frame(CLOSE, code.to_bytes(2, "big")), PROTOCOL_ERROR, id=f"close {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
        ),
        pytest.param(client_frame(CLOSE, b"\x03\xe8\xff"), INVALID_TEXT, id="close reason that is no text"),
        pytest.param(client_frame(TEXT, b"\xff"), INVALID_TEXT, id="text that is no text"),
        pytest.param(client_frame(TEXT, b"\xed\xa0\x80"), INVALID_TEXT, id="half a surrogate pair"),
        pytest.param(client_frame(TEXT, b"x" * (LIMIT + 1)), TOO_BIG, id="one byte too many"),
        pytest.param(b"\x82\xff" + b"\xff" * 8, TOO_BIG, id="length of 2^64 - 1"),
    ],
)
def test_what_no_client_may_send_is_an_error_with_its_code(data: bytes, code: int):
    received, error = read(HELLO + data + HELLO)
    assert error == code
    assert received == [Received(TEXT, "hello")]


def test_a_reader_that_has_failed_stays_silent_and_keeps_its_first_error():
    reader = FrameReader(LIMIT)
    reader.feed(client_frame(TEXT, b"kept", head=0) + client_frame(3, b"\xff"))
    assert (reader._buffer, reader._fragments) == (None, None)
    error = reader.error
    assert reader.feed(HELLO) == []
    assert reader.feed(client_frame(3, b"")) == []
    assert reader.error is error


def test_a_frame_is_refused_by_its_header_before_its_payload_has_come():
    assert read(b"\x82\xfe\x10\x00") == ([], TOO_BIG)
    assert read(b"\x82\xff" + (2**40).to_bytes(8, "big")) == ([], TOO_BIG)
    assert read(client_frame(BINARY, b"x" * 600, head=0) + b"\x80\xfe" + (401).to_bytes(2, "big")) == ([], TOO_BIG)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_close_codes_that_a_client_may_send(code: int):
    body = code.to_bytes(2, "big") + "tschüß".encode()
    assert read(client_frame(CLOSE, body, mask=MASK)) == ([Received(CLOSE, body)], None)
    assert read(client_frame(CLOSE, b"")) == ([Received(CLOSE, b"")], None)


def test_a_message_may_be_as_long_as_the_limit_in_one_piece_or_in_many():
    whole = Received(BINARY, b"x" * LIMIT)
    assert read(client_frame(BINARY, b"x" * LIMIT)) == ([whole], None)
    halves = client_frame(BINARY, b"x" * 500, head=0) + client_frame(CONTINUATION, b"x" * 500)
    assert read(halves) == ([whole], None)


def test_control_frames_may_come_between_fragments_and_the_limit_does_not_count_them():
    data = client_frame(TEXT, b"x" * LIMIT, head=0) + client_frame(PING, b"p" * 125, mask=MASK)
    data += client_frame(PONG, b"") + client_frame(CONTINUATION, b"")
    expected = [Received(PING, b"p" * 125), Received(PONG, b""), Received(TEXT, "x" * LIMIT)]
    assert read(data) == (expected, None)


def test_a_character_may_be_cut_between_fragments():
    first, second = "€".encode()[:1], "€".encode()[1:]
    data = client_frame(TEXT, first, head=0) + client_frame(CONTINUATION, second, mask=MASK)
    assert read(data) == ([Received(TEXT, "€")], None)


def test_fragments_without_content_cannot_be_piled_up():
    data = client_frame(TEXT, b"", head=0) + client_frame(CONTINUATION, b"", head=0) * MAX_FRAGMENTS
    assert read(data) == ([], POLICY)
    fewer = client_frame(TEXT, b"", head=0) + client_frame(CONTINUATION, b"", head=0) * (MAX_FRAGMENTS - 1)
    assert read(fewer + client_frame(CONTINUATION, b"")) == ([Received(TEXT, "")], None)


def test_compressed_messages_are_inflated_and_their_limit_holds_unpacked():
    text = b"hello " * 100
    packed = deflate(text)
    assert read(client_frame(TEXT, packed, head=0xC0, mask=MASK), deflated=True) == (
        [Received(TEXT, text.decode())],
        None,
    )
    halves = client_frame(TEXT, packed[:9], head=0x40) + client_frame(CONTINUATION, packed[9:])
    assert read(halves, deflated=True) == ([Received(TEXT, text.decode())], None)
    assert read(HELLO, deflated=True) == ([Received(TEXT, "hello")], None)
    bomb = deflate(b"x" * (LIMIT + 1))
    assert read(client_frame(TEXT, bomb, head=0xC0), deflated=True) == ([], TOO_BIG)
    assert read(client_frame(TEXT, b"\xff\xff", head=0xC0), deflated=True) == ([], PROTOCOL_ERROR)
    assert read(client_frame(PING, b"", head=0xC0), deflated=True) == ([], PROTOCOL_ERROR)
    wrong = client_frame(TEXT, packed[:9], head=0x40) + client_frame(CONTINUATION, packed[9:], head=0xC0)
    assert read(wrong, deflated=True) == ([], PROTOCOL_ERROR)


def test_a_message_that_comes_byte_by_byte_is_not_copied_for_every_byte():
    class Counting(FrameReader):
        __slots__ = ("looks",)
        looks: int

        def _frame(self, buffer: bytes, start: int, received: list[Received]) -> int:
            self.looks += 1
            return super()._frame(buffer, start, received)

    reader = Counting(100_000)
    reader.looks = 0
    payload = secrets.token_bytes(70_000)
    data = client_frame(BINARY, payload, mask=MASK)
    received = [message for at in range(len(data)) for message in reader.feed(data[at : at + 1])]
    assert received == [Received(BINARY, payload)]
    assert reader.looks < 10
