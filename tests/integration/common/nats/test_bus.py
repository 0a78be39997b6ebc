"""The NATS connection: requests with coded answers, bounded and concurrent responders, and knowing when it is deaf."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from parley.cli.stack import embedded
from parley.common.errors import Code
from parley.common.nats.bus import STOP_PATIENCE, Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate
from tests.support.bus import fresh, rejected, running_bus
from tests.support.own_server import Server
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.waiting import until

TOKEN = Authenticate("token")


# -- publishing --------------------------------------------------------------------------------------------------------


async def test_messages_of_a_subject_are_handled_one_at_a_time_in_order(bus: Bus, other: Bus):
    handled: list[bytes] = []
    busy = False

    async def handle(message: Msg) -> None:
        nonlocal busy
        assert not busy
        busy = True
        await asyncio.sleep(0)
        handled.append(message.data)
        busy = False

    await other.subscribe(subject := fresh("s"), handle)
    await other.flush()
    for number in range(200):
        await bus.publish(subject, b"%d" % number)
    await until(lambda: len(handled) == 200)
    assert handled == [b"%d" % number for number in range(200)]


async def test_once_flushed_a_subscription_misses_nothing_that_others_publish(bus: Bus, other: Bus):
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    published = [fresh("s") for _ in range(400)]
    for subject in published:
        await bus.subscribe(subject, hear)
        await bus.flush()
        await other.publish(subject, b"")
        await other.flush()
    await other.flush()
    await bus.flush()
    await until(lambda: len(heard) == len(published), seconds=2)
    assert heard == published


async def test_a_handler_that_crashes_is_called_again_with_the_next_message(bus: Bus):
    handled: list[bytes] = []

    async def handle(message: Msg) -> None:
        handled.append(message.data)
        raise RuntimeError("crash")

    with capture_logs() as logged:
        await bus.subscribe(subject := fresh("s"), handle)
        await bus.publish(subject, b"1")
        await bus.publish(subject, b"2")
        await until(lambda: handled == [b"1", b"2"])
    assert [(line["event"], line["subject"], line["exc_info"]) for line in logged] == [
        ("message not handled", subject, True)
    ] * 2


@pytest.mark.parametrize("room", ["a.b", "*", ">", "a b", "", "日本", "x" * 300, "\r\nPUB x 0\r\n", "\ud800"])
async def test_no_room_name_reaches_another_rooms_subject(bus: Bus, other: Bus, room: str):
    namespace = fresh("/n")
    heard: list[tuple[str, ...]] = []

    async def hear(message: Msg) -> None:
        heard.append(tuple(map(subjects.decode, message.subject.split(".")[1:])))

    await bus.subscribe(subjects.room(namespace, room), hear)
    await bus.flush()
    for name in ("a", "a.b.c", "other", room):
        await other.publish(subjects.room(namespace, name), b"")
    await until(lambda: heard)
    await other.flush()
    await bus.flush()
    assert heard == [(namespace, room)]


# -- the connection ----------------------------------------------------------------------------------------------------


async def test_a_healthy_connection_has_nothing_to_say(bus: Bus):
    assert bus.check() is None
    assert bus.connected
    assert bus.hearing


async def test_it_waits_for_nats_that_is_not_there_yet(tmp_path: Path):
    port = free_port()
    server = Server(lambda: embedded.nats(tmp_path / "nats", port))

    async def use() -> None:
        async with running_bus(f"nats://127.0.0.1:{port}") as bus:
            assert bus.check() is None

    using = asyncio.create_task(use())
    try:
        done, _ = await asyncio.wait({using}, timeout=0.3)
        assert not done
        await server.start()
        await asyncio.wait_for(using, 20)
    finally:
        await server.stop()


async def test_while_nats_is_not_there_a_line_now_and_then_says_where_it_is_looked_for_and_stopping_is_at_once():
    url = f"nats://ann:secret@127.0.0.1:{free_port()}"

    async def use() -> None:
        async with running_bus(url):
            raise AssertionError("there is no NATS")

    with capture_logs() as logged:
        using = asyncio.create_task(use())
        done, _ = await asyncio.wait({using}, timeout=1.2)
        assert not done
        began = time.monotonic()
        using.cancel()
        await asyncio.wait({using})
        assert time.monotonic() - began < 0.2
    (line,) = logged
    assert line["event"] == "waiting for NATS"
    assert line["url"] == url.replace("ann:secret@", "")


async def test_nats_that_is_silent_holds_up_nobody_who_stops(nats_url: str):
    async with Proxy.running(nats_url) as proxy:
        async with running_bus(proxy.url) as bus:
            await bus.subscribe("s", lambda _: asyncio.sleep(0))
            proxy.freeze()
            began = time.monotonic()
        assert time.monotonic() - began < STOP_PATIENCE + 1


async def test_after_it_was_closed_nothing_can_be_sent(nats_url: str):
    async with running_bus(nats_url) as bus:
        pass
    assert (await rejected(bus.publish("s", b""))).code is Code.UNAVAILABLE
    assert (await rejected(bus.call("s", TOKEN))).code is Code.UNAVAILABLE
