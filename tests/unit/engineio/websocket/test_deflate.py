"""permessage-deflate: what is agreed on, and messages that `websockets` packs and unpacks the same."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from parley.engineio.websocket.deflate import ACCEPTED, InflateError, deflate, inflate, negotiate


def oracle() -> PerMessageDeflate:
    """A peer without context takeover."""
    return PerMessageDeflate(True, True, 15, 15)


@pytest.mark.parametrize(
    "offers",
    [
        "permessage-deflate",
        " permessage-deflate ; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-bzip2, permessage-deflate",
        "permessage-deflate; server_max_window_bits=9, permessage-deflate",
        "permessage-deflate; unheard_of, permessage-deflate",
    ],
)
def test_an_offer_that_can_be_met_is_taken_without_context(offers: str):
    assert negotiate(offers) == ACCEPTED


@pytest.mark.parametrize("bits", ["15", '"15"'])
def test_a_window_that_was_asked_for_is_answered(bits: str):
    assert negotiate(f"permessage-deflate; server_max_window_bits={bits}") == f"{ACCEPTED}; server_max_window_bits=15"


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "permessage-bzip2",
        "x-permessage-deflate",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; unheard_of=1",
        "permessage-deflate; server_no_context_takeover=1",
        "client_max_window_bits; permessage-deflate",
        "other," * 200 + "permessage-deflate",
    ],
)
def test_an_offer_that_cannot_be_met_is_left(offers: str):
    assert negotiate(offers) is None


@pytest.mark.parametrize("server_bits", [None, 15])
@pytest.mark.parametrize("client_bits", [None, True, 12])
@pytest.mark.parametrize("no_context", [True, False])
def test_a_client_that_made_the_offer_accepts_the_answer(
    server_bits: int | None, client_bits: int | bool | None, no_context: bool
):
    client = ClientPerMessageDeflateFactory(no_context, no_context, server_bits, client_bits)
    answer = negotiate(build_extension([(client.name, client.get_request_params())]))
    assert answer is not None
    ((name, parameters),) = parse_extension(answer)
    assert name == client.name
    agreed = client.process_response_params(parameters, [])
    assert (agreed.remote_no_context_takeover, agreed.local_no_context_takeover) == (True, True)
    assert agreed.remote_max_window_bits == 15


@given(st.binary(max_size=3000) | st.text().map(lambda text: text.encode() * 20))
def test_what_we_pack_the_oracle_unpacks_and_the_other_way_round(payload: bytes):
    assert oracle().decode(Frame(Opcode.BINARY, deflate(payload), rsv1=True)).data == payload
    assert inflate(bytes(oracle().encode(Frame(Opcode.BINARY, payload)).data), 10_000) == payload


def test_messages_do_not_depend_on_each_other():
    assert deflate(b"hello " * 99) == deflate(b"hello " * 99)


def test_the_limit_counts_what_comes_out():
    packed = deflate(b"x" * 1000)
    assert inflate(packed, 1000) == b"x" * 1000
    with pytest.raises(InflateError) as caught:
        inflate(packed, 999)
    assert caught.value.too_big


def test_a_bomb_is_not_unpacked_beyond_the_limit():
    bomb = deflate(b"\x00" * 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InflateError):
            inflate(bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200), st.integers(0, 500))
def test_any_bytes_are_unpacked_within_the_limit_or_refused(payload: bytes, limit: int):
    try:
        assert len(inflate(payload, limit)) <= limit
    except InflateError as error:
        assert str(error)  # noqa: PT017 - either outcome will do


@given(st.text() | st.from_regex(r"(permessage-deflate|[a-z_]+|=|;|,| |\"|15)*", fullmatch=True))
def test_any_header_is_an_offer_or_none(offers: str):
    answer = negotiate(offers)
    assert answer is None or answer.startswith(ACCEPTED)
