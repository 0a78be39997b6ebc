"""What was lost or overtaken is repaired from the log, page by page, and tried again while that cannot be read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from parley.cli.stack import embedded
from parley.common.wire import subjects
from parley.common.wire.rooms import RoomHead, RoomHeads
from parley.gateway.rooms import catch_up, heads, log_reader, repair
from tests.support.bus import fresh, running_bus
from tests.support.gateway.rooms import (
    ROOM,
    Gateway,
    Log,
    another,
    background,
    running_gateway,
)
from tests.support.own_server import Server
from tests.support.ports import free_port
from tests.support.waiting import until


async def test_a_lost_event_is_repaired_from_the_log_before_a_later_one_is_delivered(log: Log, gateway: Gateway):
    ann, ben = await gateway.member(head=0), await gateway.member(head=0)
    log.append(5)
    for sequence in (1, 4, 5):
        await log.publish(sequence)
    for member in (ann, ben):
        await gateway.receives(member, [1, 2, 3, 4, 5])
    assert log.replays == 1, "one question for all members"


async def test_a_lost_last_event_is_repaired_after_the_beacon(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    log.append(3)
    await log.publish(1)
    await gateway.receives(ann, [1])
    await log.beacon("unknown here", ROOM)
    await gateway.receives(ann, [1, 2, 3])


async def test_a_beacon_that_tells_nothing_new_asks_nothing(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    await log.publish(log.append())
    await gateway.receives(ann, [1])
    for _ in range(3):
        await log.beacon(ROOM)
    await log.publish(log.append())
    await gateway.receives(ann, [1, 2])
    await until(lambda: not background("repair"))
    assert log.replays == 0


async def test_an_event_committed_while_the_room_was_being_subscribed_to_is_not_missed(log: Log, gateway: Gateway):
    # The head the connection was told is older than the subscription: nobody will publish these again.
    log.append(4)
    ann = await gateway.member(head=1)
    await gateway.receives(ann, [2, 3, 4])


async def test_a_long_gap_is_repaired_page_by_page(log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_reader, "REPLAY_LIMIT", 50)
    ann = await gateway.member(head=0)
    await log.publish(log.append(430))
    await gateway.receives(ann, [*range(1, 431)])
    assert log.replays == 9


async def test_what_was_said_to_exist_and_is_not_in_the_log_is_not_waited_for(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    await log.bus.publish(
        subjects.advanced_heads(log.namespace), RoomHeads(log.namespace, [RoomHead(ROOM, 7)]).encode()
    )
    await until(lambda: log.replays)
    await until(lambda: not background("repair"))
    await log.publish(log.append())
    await gateway.receives(ann, [1])


async def test_the_service_being_away_for_a_while_delays_a_repair_and_loses_nothing(
    nats_url: str, gateway: Gateway, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    for module in (repair, catch_up, heads):
        monkeypatch.setattr(module, "RETRY", 0.05)
    asked = 0
    before = gateway.bus.request

    async def count(*args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await before(*args, **options)

    monkeypatch.setattr(gateway.bus, "request", count)
    async with running_bus(nats_url, "service") as bus:
        log = Log(bus, namespace)
        log.append(3)
        ann = await gateway.connect()
        late = await gateway.connect()
        gateway.fanout.enter(ann, ROOM, head=0)
        await gateway.bus.flush()
        await log.publish(1)
        await gateway.receives(ann, [1])
        await log.publish(3)
        gateway.fanout.enter(late, ROOM, head=3, after=0)
        await until(lambda: asked > 12)
        assert (gateway.sockets.sequences(ann), gateway.sockets.sequences(late)) == ([1], [])
        await log.start()
        for member in (ann, late):
            await gateway.receives(member, [1, 2, 3])
        await gateway.settled()


async def test_a_repair_is_tried_again_while_the_log_cannot_be_read(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    for module in (repair, catch_up, heads):
        monkeypatch.setattr(module, "RETRY", 0.02)
    ann = await gateway.member(head=0)
    log.away = True
    await log.publish(log.append(2))
    await until(lambda: log.replays >= 3)
    assert gateway.sockets.sequences(ann) == []
    log.away = False
    await gateway.receives(ann, [1, 2])


async def test_a_log_that_does_not_have_what_it_should_is_asked_at_a_pace(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    log.append(2)
    log._rooms[ROOM][0] = log._rooms[ROOM][1]  # the first is missing for good
    await log.publish(2)
    await until(lambda: log.replays)
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 0.3)
    assert log.replays <= 2
    assert gateway.sockets.sequences(ann) == []


async def test_a_rooms_head_is_asked_for_again_while_it_cannot_be_read(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    for module in (repair, catch_up, heads):
        monkeypatch.setattr(module, "RETRY", 0.02)
    log.append(4)
    log.away = True
    ann = await gateway.connect()
    gateway.fanout.enter(ann, ROOM, head=1)
    await until(lambda: log.verified >= 3)
    log.away = False
    await gateway.receives(ann, [2, 3, 4])


async def test_a_room_over_which_the_service_fails_holds_up_no_other(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heads, "RETRY", 0.01)
    log.broken = "broken"
    ann = await gateway.connect()
    for name in ("broken", *(f"r{number}" for number in range(20))):
        gateway.fanout.enter(ann, name, head=0)
        log.append(room=name)
    await gateway.receives(ann, [1] * 20)


async def test_after_a_reconnect_what_was_missed_is_repaired_without_a_beacon(tmp_path: Path, namespace: str):
    port = free_port()
    nats = Server(lambda: embedded.nats(tmp_path / "nats", port))
    await nats.start()
    try:
        async with (
            running_bus(nats.url, "service") as service,
            running_bus(nats.url, "gateway") as bus,
            running_gateway(bus, namespace) as gateway,
        ):
            log = Log(service, namespace)
            await log.start()
            ann, ben = await gateway.member("one", head=0), await gateway.member("two", head=0)
            await log.publish(log.append(room="one"), room="one")
            await gateway.receives(ann, [1])
            await nats.stop()
            await until(lambda: not bus.connected and not service.connected)
            log.append(3, room="one")
            log.append(2, room="two")
            await nats.start()
            await gateway.receives(ann, [1, 2, 3, 4])
            await gateway.receives(ben, [1, 2])
            await until(lambda: service.connected)
            await service.flush()
            await log.publish(log.append(room="two"), room="two")
            await gateway.receives(ben, [1, 2, 3])
    finally:
        await nats.stop()


async def test_a_namespace_whose_log_does_not_answer_does_not_hold_up_another(log: Log, gateway: Gateway):
    silent = another(fresh("/silent"))
    for number in range(3):
        gateway.fanout.enter(silent, f"room {number}", head=0)
    log.append(4)
    ann = await gateway.connect()
    gateway.fanout.enter(ann, ROOM, head=1)
    await gateway.receives(ann, [2, 3, 4])
    assert background("verify heads"), "the silent one is still being asked"
