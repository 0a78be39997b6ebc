"""Listeners: order across subjects, closing, coming back after a reconnect, and being many."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from structlog.testing import capture_logs

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus, connect
from parley.common.nats.subscriptions import ListeningClient, ListeningParser
from parley.common.process.settings import ServiceSettings
from parley.common.wire.identity import Authenticate
from tests.support.bus import fresh, running_bus
from tests.support.own_server import Server
from tests.support.waiting import until

MANY = 5_000


class Heard:
    """What arrived, in order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def on(self, name: str) -> Callable[[bytes], None]:
        """A callback that takes note under a name."""
        return lambda data: self.messages.append((name, data))

    def __len__(self) -> int:
        return len(self.messages)


async def test_messages_on_many_subjects_are_handled_in_the_order_they_were_published(bus: Bus, other: Bus):
    heard, prefix = Heard(), fresh("s")
    for number in range(20):
        bus.listen(f"{prefix}.{number}", heard.on(str(number)))
    await bus.flush()
    sent = [(str(number * 7 % 20), b"%d" % number) for number in range(2_000)]
    for name, data in sent:
        await other.publish(f"{prefix}.{name}", data)
    await until(lambda: len(heard) == len(sent))
    assert heard.messages == sent


@pytest.mark.parametrize("size", [0, 1, 200, 32_768, 900_000])
async def test_payloads_of_any_size_and_content_arrive_whole_between_others(bus: Bus, other: Bus, size: int):
    heard, subject, asynchronous = Heard(), fresh("s"), fresh("s")

    async def hear(message: Msg) -> None:
        heard.messages.append(("asynchronous", message.data))

    bus.listen(subject, heard.on("listener"))
    await bus.subscribe(asynchronous, hear)
    await bus.flush()
    payload = (b"MSG x 1 5\r\nPING\r\n" * (size // 17 + 1))[:size]
    for number in range(6):
        await other.publish(subject if number % 2 else asynchronous, payload + b"%d" % number)
    await until(lambda: len(heard) == 6)
    for name, numbers in (("listener", (1, 3, 5)), ("asynchronous", (0, 2, 4))):
        assert [data for kind, data in heard.messages if kind == name] == [payload + b"%d" % n for n in numbers]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40))
async def test_however_what_is_received_is_cut_into_pieces_it_is_understood_the_same(lengths: list[int]):
    heard, client = Heard(), ListeningClient()
    client.listen("a", heard.on("a"))
    client.listen("b", heard.on("b"))
    received = (
        b"MSG a 1 5\r\nhello\r\n"
        b"+OK\r\n"
        b"MSG b 2 reply.to 11\r\nMSG a 1 0\r\n\r\n"
        b"HMSG a 1 12 15\r\nNATS/1.0\r\n\r\nabc\r\n"
        b"MSG nobody 3 2\r\nhi\r\n"
        b"MSG b 2 0\r\n\r\n"
        b"PONG\r\n"
        b"MSG a 1 3\r\nend\r\n"
    )
    parser, position = ListeningParser(client), 0
    for length in itertools.cycle(lengths):
        await parser.parse(received[position : position + length])
        position += length
        if position >= len(received):
            break
    assert heard.messages == [("a", b"hello"), ("b", b"MSG a 1 0\r\n"), ("a", b"abc"), ("b", b""), ("a", b"end")]


async def test_a_listener_is_known_to_the_server_before_what_is_published_after_it(bus: Bus):
    heard = Heard()
    for number in range(200):
        bus.listen(subject := fresh("s"), heard.on(str(number)))
        await bus.publish(subject, b"")
    await until(lambda: len(heard) == 200)


async def test_a_closed_listener_hears_nothing_and_may_be_closed_again(bus: Bus, other: Bus):
    heard, subject = Heard(), fresh("s")
    first = bus.listen(subject, heard.on("first"))
    second = bus.listen(subject, heard.on("second"))
    await bus.flush()
    first.close()
    first.close()
    # The server may still deliver to the first: it was not told yet.
    await other.publish(subject, b"1")
    await until(lambda: len(heard))
    await bus.flush()
    await other.publish(subject, b"2")
    await until(lambda: len(heard) == 2)
    await bus.flush()
    assert heard.messages == [("second", b"1"), ("second", b"2")]
    second.close()


async def test_a_listener_that_closes_itself_hears_nothing_of_what_has_arrived_already(bus: Bus, other: Bus):
    heard, done, subject = Heard(), Heard(), fresh("s")

    def once(data: bytes) -> None:
        heard.messages.append(("once", data))
        listener.close()

    listener = bus.listen(subject, once)
    bus.listen(f"{subject}.done", done.on("done"))
    await bus.flush()
    for number in range(10):
        await other.publish(subject, b"%d" % number)
    await other.publish(f"{subject}.done", b"")
    await until(lambda: len(done))
    assert heard.messages == [("once", b"0")]


async def test_a_callback_that_raises_is_logged_and_stops_nothing(bus: Bus, other: Bus):
    heard, subject = Heard(), fresh("s")

    def crash(_data: bytes) -> None:
        raise RuntimeError("crash")

    bus.listen(subject, crash)
    bus.listen(subject, heard.on("sound"))
    await bus.flush()
    with capture_logs() as logged:
        for _ in range(3):
            await other.publish(subject, b"")
        await until(lambda: len(heard) == 3)
    assert [(entry["event"], entry["subject"]) for entry in logged] == [("message not handled", subject)] * 3
    assert bus.check() is None


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0\r\n", " a", "a\t"])
async def test_what_is_no_subject_is_refused(bus: Bus, subject: str):
    with pytest.raises(ValueError, match="not a subject"):
        bus.listen(subject, Heard().on("x"))
    await bus.flush()


async def test_while_many_come_and_go_a_stable_one_misses_nothing(bus: Bus, other: Bus):
    stable, churned, prefix = Heard(), Heard(), fresh("s")
    bus.listen(f"{prefix}.stable", stable.on("stable"))
    await bus.flush()
    publishing = True

    async def publish() -> int:
        number = 0
        while publishing:
            await other.publish(f"{prefix}.stable", b"%d" % number)
            await other.publish(f"{prefix}.{number % 50}", b"")
            number += 1
            if number % 20 == 0:
                await other.flush()
        return number

    sending = asyncio.create_task(publish())
    for _ in range(200):
        listeners = [bus.listen(f"{prefix}.{number}", churned.on("")) for number in range(50)]
        await asyncio.sleep(0)
        for listener in listeners:
            listener.close()
    await until(lambda: len(stable) > 200)
    publishing = False
    sent = await sending
    await until(lambda: len(stable) == sent)
    assert [data for _, data in stable.messages] == [b"%d" % number for number in range(sent)]
    await bus.flush()
    before = len(churned)
    for number in range(50):
        await other.publish(f"{prefix}.{number}", b"")
    await other.flush()
    await bus.flush()
    assert len(churned) == before


async def test_after_a_restart_of_the_server_every_open_listener_and_no_closed_one_is_subscribed_again(
    own_nats: Server,
):
    heard = Heard()
    reconnects: list[int] = []
    async with running_bus(own_nats.url) as bus, running_bus(own_nats.url) as other:
        bus.on_reconnect(lambda: reconnects.append(1))
        listeners = [bus.listen(f"s.{number}", heard.on(str(number))) for number in range(MANY)]
        await bus.flush()
        await own_nats.stop()
        await until(lambda: not bus.connected and not other.connected)
        for listener in listeners[::5]:
            listener.close()
        bus.listen("s.meanwhile", heard.on("meanwhile"))
        await bus.publish("s.meanwhile", b"published before the reconnect")
        await own_nats.start()
        await until(lambda: reconnects and other.connected)
        await bus.flush()
        for number in range(MANY):
            await other.publish(f"s.{number}", b"")
        await until(lambda: len(heard) >= 1 + MANY - MANY // 5)
        await other.flush()
        await bus.flush()
        assert heard.messages[0] == ("meanwhile", b"published before the reconnect")
        assert [name for name, _ in heard.messages[1:]] == [str(number) for number in range(MANY) if number % 5]
        assert not await subscribed(other, "s.0")
        assert await subscribed(other, "s.1")


async def test_what_was_closed_before_the_server_was_told_of_it_is_not_revived_by_a_reconnect(
    nats_url: str, other: Bus
):
    client = ListeningClient()
    await client.connect(nats_url, reconnect_time_wait=0)
    try:
        kept, gone = fresh("s"), fresh("s")
        client.listen(kept, Heard().on("kept"))
        listener = client.listen(gone, Heard().on("gone"))
        await client.force_reconnect()
        listener.close()
        await until(lambda: client.is_connected and client.stats["reconnects"])
        await client.wait_until_received(timeout=5)
        assert await subscribed(other, kept)
        assert not await subscribed(other, gone)
    finally:
        await client.close()


async def test_after_the_end_of_the_connection_listeners_may_still_be_closed(nats_url: str):
    async with running_bus(nats_url) as bus:
        listener = bus.listen(fresh("s"), Heard().on("x"))
    listener.close()
    with pytest.raises(ConnectionClosedError):
        await bus.flush()


async def subscribed(bus: Bus, subject: str) -> bool:
    """Whether the server knows anybody who listens to a subject."""
    with pytest.raises(Reject) as caught:
        await bus.call(subject, Authenticate("token"), timeout=0.1)
    return caught.value.code is Code.TIMEOUT


# -- sending -----------------------------------------------------------------------------------------------------------


class Writes:
    """What a connection writes."""

    def __init__(self, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[bytes] = []
        transport = bus._client._transport
        assert transport is not None
        write = transport.write

        def note(data: bytes) -> None:
            self.written.append(data)
            write(data)

        monkeypatch.setattr(transport, "write", note)


async def test_what_a_turn_sends_and_what_is_gathered_by_the_next_is_one_write(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    heard, subject = Heard(), fresh("s")
    other.listen(subject, heard.on("heard"))
    await other.flush()
    writes = Writes(bus, monkeypatch)

    def gather() -> None:
        bus.send(subject, b"3")

    bus.send(subject, b"1")
    bus.send(subject, b"2")
    asyncio.get_running_loop().call_soon(bus.before_write, gather)
    await until(lambda: len(heard) == 3)
    assert [data for _, data in heard.messages] == [b"1", b"2", b"3"]
    assert len([data for data in writes.written if subject.encode() in data]) == 1


async def test_a_part_that_fails_to_gather_keeps_no_other_from_sending(bus: Bus, other: Bus):
    heard, subject = Heard(), fresh("s")
    other.listen(subject, heard.on("heard"))
    await other.flush()

    def crash() -> None:
        raise RuntimeError("no")

    def gather() -> None:
        bus.send(subject, b"")

    with capture_logs() as logged:
        bus.before_write(crash)
        bus.before_write(gather)
        await until(lambda: len(heard))
    assert [entry["event"] for entry in logged] == ["not sent"]


async def test_with_an_interval_a_lone_message_leaves_at_once_and_those_that_follow_are_gathered(
    nats_url: str, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    heard, subject = Heard(), fresh("s")
    other.listen(subject, heard.on("heard"))
    await other.flush()
    settings = ServiceSettings(nats_url=nats_url, instance=fresh("i"))
    async with connect(settings, "test", write_interval=0.2) as bus:
        throttle = bus._client._writing
        await until(lambda: not throttle._pending and throttle._next < time.monotonic())
        writes, began = Writes(bus, monkeypatch), time.monotonic()
        bus.send(subject, b"0")
        await until(lambda: len(heard))
        assert time.monotonic() - began < 0.15
        for number in range(1, 20):
            bus.send(subject, b"%d" % number)
            await asyncio.sleep(0)
        await until(lambda: len(heard) == 20)
        assert time.monotonic() - began > 0.15
        assert len([data for data in writes.written if subject.encode() in data]) == 2
    assert [int(data) for _, data in heard.messages] == list(range(20))


async def test_beyond_a_bound_of_what_waits_to_be_written_the_sender_is_told_so_and_relieved_in_order(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    heard, subject = Heard(), fresh("s")
    other.listen(subject, heard.on("heard"))
    await other.flush()
    monkeypatch.setattr(bus._client, "_max_pending_size", 1_000)
    for number in range(100):
        bus.send(subject, b"%d" % number)
    assert bus.congested
    await bus.publish(subject, b"100")
    assert not bus.congested, "publishing waits until what was sent has been written"
    await until(lambda: len(heard) == 101)
    assert [int(data) for _, data in heard.messages] == list(range(101))


async def test_a_subscription_that_is_ended_hears_what_has_arrived_and_nothing_more(bus: Bus, other: Bus):
    heard, subject = Heard(), fresh("s")
    listener = bus.listen(subject, heard.on("heard"), queue="group")
    await bus.flush()
    for number in range(50):
        bus.send(subject, b"%d" % number)
    assert not len(heard)
    await bus.unsubscribe(listener)
    assert len(heard) == 50
    await other.publish(subject, b"late")
    await other.flush()
    await bus.flush()
    assert len(heard) == 50


async def test_of_those_that_name_a_queue_one_hears_each_message(bus: Bus, other: Bus):
    heard, subject = Heard(), fresh("s")
    for name in ("one", "two", "three"):
        bus.listen(subject, heard.on(name), queue="group")
    bus.listen(subject, heard.on("all"))
    await bus.flush()
    for number in range(90):
        await other.publish(subject, b"%d" % number)
    await until(lambda: len(heard) == 180)
    shared = sorted(int(data) for name, data in heard.messages if name != "all")
    assert shared == list(range(90))
    assert len({name for name, _ in heard.messages}) > 2
