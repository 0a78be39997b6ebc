"""Reading: so much of one client and of all in a turn of the loop, and so much in memory, however the bytes come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.engineio.polling import PostBeingRead
from parley.engineio.reading import (
    FREE_BYTES,
    FREE_FRAMES,
    READ_BYTES,
    READ_FRAMES,
    SMALL_HOLDING_BYTES,
    TURN_BYTES,
    TURN_FRAMES,
    UNCOUNTED_BYTES,
    UNJOINED_FRAMES,
    InputBudget,
)
from parley.engineio.request import read_request
from parley.engineio.server import STATE_KEY, Engine
from parley.engineio.session import Session
from parley.engineio.transports import Limits
from parley.engineio.websocket.deflate import deflate
from parley.engineio.websocket.frames import BINARY, CONTINUATION, PING, TEXT, FrameReader, Received
from parley.engineio.websocket.protocol import DISCARDED, WebSocket
from tests.fuzz.mutation import client_frame

MIB = 1024 * 1024
MASK = b"\x8f\x00\x37\xaa"


class Transport:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.reading = True
        self.written = b""
        self.eof = False
        self.aborted = False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True


class Client:
    """A WebSocket between a transport and the engine, handed bytes as a loop would hand them over."""

    def __init__(
        self,
        server: Server,
        query: str = "EIO=4&transport=websocket",
        address: str = "10.0.0.1",
        extensions: bytes = b"",
    ) -> None:
        state = type("ServerState", (), {"connections": set[Any]()})()
        self.transport = Transport()
        self.socket = WebSocket(None, state, {STATE_KEY: {b"/e": server.engine}})  # pyright: ignore[reportArgumentType]
        headers = [(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"sec-websocket-version", b"13")]
        headers.append((b"sec-websocket-extensions", extensions))
        scope = {
            "path": "/e", "method": "GET", "query_string": query.encode(), "headers": headers,
            "client": (address, 1), "scheme": "http",
        }  # fmt: skip
        self.socket.upgrade(self.transport, scope)
        self.session = server.opened[-1]

    def sends(self, data: bytes) -> None:
        """Bytes that arrive, in reads as large as a loop makes them."""
        for at in range(0, len(data), 256 * 1024):
            assert self.transport.reading, "nobody reads while reading is paused"
            self.socket.data_received(data[at : at + 256 * 1024])


class Server:
    """An engine, and what it reported."""

    def __init__(self, **limits: Any) -> None:
        numbers = itertools.count()
        self.engine = Engine(Limits(**limits), self, generate_id=lambda: f"s{next(numbers)}", revisions=(3, 4))
        self.opened: list[Session] = []
        self.messages: list[tuple[Session, str | bytes]] = []
        self.ended: list[tuple[Session, str]] = []

    def session_opened(self, session: Session) -> None:
        self.opened.append(session)

    def message_received(self, session: Session, data: str | bytes) -> None:
        self.messages.append((session, data))

    def session_ended(self, session: Session, reason: str) -> None:
        self.ended.append((session, reason))

    def take(self) -> list[str | bytes]:
        """The messages since the last call."""
        taken = [data for _, data in self.messages]
        self.messages.clear()
        return taken


@asynccontextmanager
async def running(**limits: Any) -> AsyncGenerator[Server]:
    server = Server(**limits)
    try:
        yield server
    finally:
        await server.engine.shutdown()


async def turn() -> None:
    """One turn of the loop."""
    await asyncio.sleep(0)


def texts(count: int, first: int = 0) -> bytes:
    return b"".join(client_frame(TEXT, b"4%d" % number, mask=MASK) for number in range(first, first + count))


# -- how much in a turn ------------------------------------------------------------------------------------------------


async def test_of_one_client_so_many_frames_are_worked_off_in_a_turn_and_the_rest_waits_in_order():
    async with running() as server:
        client, other = Client(server), Client(server)
        client.sends(texts(10 * READ_FRAMES + 5))
        seen = server.take()
        assert len(seen) == READ_FRAMES
        assert not client.transport.reading, "what cannot be worked off is not read either"
        other.sends(texts(1, first=-1))
        assert server.take() == ["-1"], "others have their turn"
        for number in range(1, 11):
            await turn()
            new = server.take()
            assert len(new) == (READ_FRAMES if number < 10 else 5)
            seen += new
        assert seen == [str(number) for number in range(10 * READ_FRAMES + 5)]
        assert client.transport.reading
        assert server.engine.budget.held == 0


async def test_large_messages_are_worked_off_one_after_the_other_however_many_have_come():
    async with running() as server:
        client = Client(server)
        client.session.joined = True
        client.sends(client_frame(BINARY, b"x" * READ_BYTES) * 3)
        assert len(server.take()) == 1
        await turn()
        assert len(server.take()) == 1
        await turn()
        assert len(server.take()) == 1


async def test_of_all_clients_together_so_many_frames_are_worked_off_in_a_turn():
    async with running() as server:
        crowd = [Client(server) for _ in range(20)]
        for client in crowd:
            client.sends(texts(4 * READ_FRAMES))
        worked = len(server.take())
        assert TURN_FRAMES <= worked < TURN_FRAMES + READ_FRAMES
        turns = 1
        while len(server.messages) + worked < 20 * 4 * READ_FRAMES:
            before = len(server.messages)
            await turn()
            turns += 1
            assert len(server.messages) - before <= TURN_FRAMES + READ_FRAMES
        assert turns <= 1 + 20 * 4 * READ_FRAMES / TURN_FRAMES
        by_client: dict[Session, list[str | bytes]] = {}
        for session, data in server.messages:
            by_client.setdefault(session, []).append(data)
        assert all([int(data) for data in seen] == sorted(map(int, seen)) for seen in by_client.values())


async def test_small_reads_are_parsed_at_once_even_when_the_turn_is_used_up():
    async with running() as server:
        flooder, other = Client(server), Client(server)
        crowd = [Client(server) for _ in range(TURN_FRAMES // READ_FRAMES)]
        other.session.joined = True
        for client in [*crowd, flooder]:
            client.sends(texts(2 * READ_FRAMES))
        server.take()
        other.sends(texts(1))
        assert server.take() == ["0"]
        assert other.transport.reading


async def test_small_reads_of_those_that_have_joined_nothing_wait_when_the_turn_is_used_up():
    async with running() as server:
        crowd = [Client(server) for _ in range(2 * TURN_FRAMES)]
        for client in crowd:
            # Half a frame is work as well.
            client.sends(texts(1)[:3])
        assert server.engine.input.exhausted
        waiting = [client for client in crowd if not client.transport.reading]
        assert len(crowd) - len(waiting) == TURN_FRAMES // UNJOINED_FRAMES
        turns = 0
        while any(not client.transport.reading for client in crowd):
            turns += 1
            await turn()
        assert 0 < turns <= 2 * UNJOINED_FRAMES
        for client in crowd:
            client.sends(texts(1)[3:])
            if not client.transport.reading:
                await turn()
        for _ in range(2 * UNJOINED_FRAMES):
            await turn()
        assert server.take() == ["0"] * len(crowd)


async def test_a_close_and_the_end_of_the_stream_come_after_what_was_sent_before():
    async with running() as server:
        client = Client(server)
        client.sends(texts(3 * READ_FRAMES) + client_frame(0x8, b"\x03\xe8") + texts(5))
        for _ in range(4):
            await turn()
        assert server.take() == [str(number) for number in range(3 * READ_FRAMES)]
        assert [reason for _, reason in server.ended] == ["transport close"]
        assert client.transport.eof
        assert client.transport.reading, "to see the client close its side"


async def test_a_session_that_is_over_loses_its_backlog():
    async with running() as server:
        client = Client(server)
        client.sends(texts(10 * READ_FRAMES))
        server.take()
        client.session.close("kicked")
        for _ in range(5):
            await turn()
        assert server.take() == []
        assert server.engine.budget.held == 0


async def test_what_a_closed_client_goes_on_sending_is_not_read_for_long():
    async with running() as server:
        client = Client(server)
        client.session.close("kicked")
        client.socket.data_received(b"x" * DISCARDED)
        assert client.transport.reading
        client.socket.data_received(b"x")
        assert not client.transport.reading


# -- what is counted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(client_frame(PING, b""), id="pings"),
        pytest.param(client_frame(0xA, b""), id="pongs"),
        pytest.param(client_frame(TEXT, b"6"), id="NOOPs"),
        pytest.param(client_frame(TEXT, b"3"), id="Engine.IO pongs"),
        pytest.param(client_frame(TEXT, b"5"), id="upgrades"),
        pytest.param(client_frame(TEXT, b"4"), id="empty messages"),
        pytest.param(client_frame(TEXT, b"6", head=0) + client_frame(CONTINUATION, b"") * 1, id="NOOPs in fragments"),
    ],
)
async def test_whatever_is_no_message_may_come_so_often(frame: bytes):
    async with running(control_burst=20, control_per_second=1) as server:
        client = Client(server)
        client.sends(frame * 20)
        await turn()
        assert not client.session.over
        client.sends(frame)
        assert [reason for _, reason in server.ended] == ["rate_limited"]
        assert client.transport.written.endswith(b"\x88\x02\x03\xf0"), "closed with 1008"


async def test_the_allowance_of_control_packets_comes_back_with_time():
    async with running(control_burst=5, control_per_second=10) as server:
        client = Client(server)
        client.sends(client_frame(PING, b"") * 5)
        client.session._controls -= 0.1
        client.sends(client_frame(PING, b""))
        assert not client.session.over


async def test_old_clients_pings_are_counted_as_well():
    async with running(control_burst=20, control_per_second=1) as server:
        client = Client(server)
        client.session.revision = 3
        client.sends(client_frame(TEXT, b"2") * 21)
        assert [reason for _, reason in server.ended] == ["rate_limited"]


# -- memory ------------------------------------------------------------------------------------------------------------


async def test_before_a_namespace_is_joined_messages_are_small_and_afterwards_as_large_as_announced():
    async with running() as server:
        client = Client(server)
        client.sends(client_frame(BINARY, b"x" * 128 * 1024))
        assert len(server.take()) == 1
        await turn()
        client.session.joined = True
        client.sends(client_frame(BINARY, b"x" * 1_000_000)[: 256 * 1024])
        await turn()
        assert not client.session.over
        unjoined = Client(server)
        unjoined.sends(client_frame(BINARY, b"x" * (128 * 1024 + 1))[:20])
        assert server.ended == [(unjoined.session, "message too big")]


async def test_what_strangers_have_sent_by_halves_is_bounded_in_sum():
    async with running(max_unjoined_memory=250_000) as server:
        half = client_frame(BINARY, b"x" * 128 * 1024)[:100_000]
        first, second, third = Client(server), Client(server), Client(server)
        friend = Client(server)
        friend.session.joined = True
        for client in (first, second, friend):
            client.sends(half)
        assert (server.engine.budget.held, server.engine.budget._unjoined.held) == (300_000, 200_000)
        third.sends(half)
        assert server.ended == [(third.session, "overloaded")]
        assert third.transport.written.endswith(b"\x88\x02\x03\xf5"), "closed with 1013: try again later"
        # Whoever comes with a whole message is heard all the same, and so is one whose message came in two pieces.
        late = Client(server)
        late.sends(texts(1)[:3])
        late.sends(texts(1)[3:])
        assert server.take() == ["0"]
        first.session.joined = True
        assert server.engine.budget._unjoined.held == 100_000
        await turn()
        second.session.fail("transport close")
        assert (server.engine.budget.held, server.engine.budget._unjoined.held) == (200_000, 0)
        first.sends(client_frame(BINARY, b"x" * 128 * 1024)[100_000:])
        assert server.engine.budget.held == 100_000


async def test_a_backlog_counts_as_well_and_is_given_back_as_it_is_worked_off():
    async with running(max_unjoined_memory=20_000) as server:
        client, flooder = Client(server), Client(server)
        client.sends(texts(1000))
        assert 0 < server.engine.budget.held < len(texts(1000))
        flooder.sends(texts(3000))
        assert server.ended == [(flooder.session, "overloaded")]
        while not client.transport.reading:
            await turn()
        assert server.engine.budget.held == 0


class Held:
    """A session, as the budget sees it."""

    def __init__(self, number: int = 0) -> None:
        self.held = 0
        self.joined = False
        self.address = f"192.0.2.{number}"


STEPS = st.tuples(st.integers(0, 3), st.sampled_from(["take", "give back", "join", "end"]), st.integers(0, 60))


@given(st.lists(STEPS))
def test_the_budget_is_the_sum_of_what_sessions_hold_and_is_never_exceeded(steps: list[tuple[int, str, int]]):
    budget, sessions = InputBudget(100, 50, largest=15, largest_unjoined=10), [Held(n // 2) for n in range(4)]
    for number, step, size in steps:
        session = sessions[number]
        if step == "take":
            before = session.held
            taken = budget.take(session, size)
            assert session.held == before + (size if taken else 0)
        elif step == "give back":
            budget.give_back(session, size)
        elif step == "end":
            budget.give_back(session, session.held)
        elif not session.joined:
            budget.joining(session)
            session.joined = True
        strangers = [each for each in sessions if not each.joined]
        assert budget.held == sum(each.held for each in sessions) <= 100
        assert budget._unjoined.held == sum(each.held for each in strangers) <= 50
        for address in ("192.0.2.0", "192.0.2.1"):
            assert sum(each.held for each in sessions if each.address == address) <= 60
            assert sum(each.held for each in strangers if each.address == address) <= 40


@pytest.mark.parametrize("joined", [True, False])
def test_who_fills_the_share_of_an_address_leaves_room_for_its_modest_sessions_and_for_others(joined: bool):
    budget = InputBudget(256 * MIB, 256 * MIB, largest=MIB, largest_unjoined=MIB)
    flooders = [Held(1) for _ in range(100)]
    neighbours, unjoined = [Held(1) for _ in range(1000)], Held(2)
    for session in (*flooders, *neighbours, unjoined):
        session.joined = joined
    assert sum(budget.take(flooder, MIB) for flooder in flooders) == 16
    assert not budget.take(neighbours[0], SMALL_HOLDING_BYTES + 1)
    assert sum(budget.take(neighbour, SMALL_HOLDING_BYTES) for neighbour in neighbours) == 256
    assert budget.held == 32 * MIB
    assert budget.take(unjoined, MIB)
    budget.give_back(flooders[0], MIB)
    assert budget.take(neighbours[-1], SMALL_HOLDING_BYTES)


def test_a_share_has_room_for_a_large_message_with_attachments_however_small_the_budget_is():
    budget, session = InputBudget(4 * MIB, MIB, largest=MIB), Held()
    session.joined = True
    assert budget.take(session, MIB)
    assert budget.take(session, MIB)


async def test_a_network_of_one_ipv6_host_has_one_share():
    async with running(max_input_memory=4_000_000, max_payload=100_000) as server:
        clients = [Client(server, address=address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
        late = Client(server, address="2001:db8::a:3")
        for client in (*clients, late):
            client.session.joined = True
            client.sends(client_frame(BINARY, b"x" * 99_000)[:95_000])
        assert server.ended == [(late.session, "overloaded")]


# -- any cutting -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.integers(0, 300), st.just(40_000)), max_size=12),
    st.lists(st.integers(0, 2**31), max_size=8),
    st.integers(1, 3),
    st.sampled_from([1, 50, 5000]),
)
def test_any_reads_and_allowances_give_the_same_messages(sizes: list[int], cuts: list[int], frames: int, size: int):
    data = b"".join(
        client_frame(TEXT, b"m" * length, mask=MASK)
        if number % 3
        else client_frame(TEXT, b"a" * length, head=0) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"b")
        for number, length in enumerate(sizes)
    )
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    reader, received = FrameReader(50_000), list[Received]()
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        received += reader.feed(data[begin:end], frames, size)
        assert reader.frames <= frames
        while reader.waiting and begin % 2:
            received += reader.feed(b"", frames, size)
    while reader.waiting:
        received += reader.feed(b"", frames, size)
    assert received == FrameReader(50_000).feed(data)
    assert (reader.error, reader.held) == (None, 0)


def test_a_long_backlog_is_not_copied_for_each_of_its_turns():
    reader = FrameReader(1000)
    data = texts(40_000)
    count, copied, before = len(reader.feed(data, READ_FRAMES, READ_BYTES)), 0, reader._rest
    while reader.waiting:
        count += len(reader.feed(b"", READ_FRAMES, READ_BYTES))
        if reader._rest is not before:
            copied += len(reader._rest)
            before = reader._rest
    assert count == 40_000
    assert copied <= 2 * len(data)


def test_large_fragmented_messages_pass_and_piles_of_small_fragments_do_not():
    kib = client_frame(CONTINUATION, b"x" * 1024, head=0)
    data = client_frame(BINARY, b"", head=0) + kib * 900 + client_frame(CONTINUATION, b"")
    assert [len(message.data) for message in FrameReader(1_000_000).feed(data)] == [900 * 1024]
    pile = client_frame(BINARY, b"", head=0) + client_frame(CONTINUATION, b"x", head=0) * 70
    reader = FrameReader(1_000_000)
    assert reader.feed(pile) == []
    assert reader.error is not None
    assert UNCOUNTED_BYTES >= FREE_BYTES


async def test_small_reads_of_many_clients_share_a_turn_but_for_a_few_frames_of_each():
    async with running() as server:
        clients = [Client(server) for _ in range(20)]
        piece = texts(READ_FRAMES)
        assert len(piece) <= FREE_BYTES
        for client in clients:
            client.sends(piece)
        assert len(server.take()) <= TURN_FRAMES + READ_FRAMES + FREE_FRAMES * len(clients)
        for _ in clients:
            await turn()
            assert len(server.take()) <= TURN_FRAMES + READ_FRAMES


async def test_small_reads_that_are_inflated_wait_in_a_turn_that_is_used_up():
    async with running(max_unjoined=TURN_BYTES) as server:
        server.engine.deflate = True
        clients = [Client(server, extensions=b"permessage-deflate") for _ in range(20)]
        bomb = client_frame(TEXT, deflate(b"4" + b"a" * (TURN_BYTES // 2)), head=0xC0)
        assert len(bomb) <= FREE_BYTES
        for client in clients:
            client.sends(bomb)
        assert len(server.take()) == 2
        for _ in clients:
            await turn()
            assert len(server.take()) <= 2


async def test_polling_requests_that_are_whole_at_once_share_a_turn_as_well():
    async with running() as server:
        request = read_request("GET", b"EIO=4&transport=polling", [], "10.0.0.1", "http")
        sessions = [server.engine.begin(request) for _ in range(10)]
        body = "\x1e".join(f"4{number}" for number in range(1000)).encode()
        posts = [PostBeingRead(session, server.engine.input, asyncio.timeout(None)) for session in sessions]
        for post in posts:
            post.work_off(body)
        assert len(server.take()) <= TURN_FRAMES + READ_FRAMES
        seen: list[tuple[Session, str | bytes]] = []
        while not all(post.done.done() for post in posts):
            await turn()
            assert len(server.messages) <= TURN_FRAMES + READ_FRAMES
            assert sum(post.begun and not post.done.done() for post in posts) <= TURN_FRAMES // READ_FRAMES + 1, (
                "one after the other"
            )
            seen += server.messages
            server.messages.clear()
        of_last = [data for session, data in seen if session is sessions[-1]]
        assert of_last == [str(number) for number in range(1000)]
