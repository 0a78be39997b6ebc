"""Rooms whose head nobody knows yet, or that have none."""

from __future__ import annotations

from parley.common.wire.rooms import RoomEvent
from tests.support.gateway.rooms import (
    Gateway,
    Log,
    subscribed,
)
from tests.support.waiting import until


async def test_in_a_room_without_a_sequence_signals_are_delivered(log: Log, gateway: Gateway):
    ann = await gateway.member("lobby", head=None)
    await log.deliver("lobby", RoomEvent("wave", b'{"by":"ben"}'))
    await until(lambda: gateway.sockets.written[ann])
    assert gateway.sockets.written[ann] == [(log.namespace, "wave", {"by": "ben"})]
    gateway.fanout.leave(ann, "lobby")
    await gateway.settled()
    assert not await subscribed(log, "lobby")


async def test_who_enters_without_a_head_gets_what_is_new_and_nothing_that_was_before(log: Log, gateway: Gateway):
    log.append(5)
    ann = await gateway.member(head=None)
    log.append(2)
    await log.publish(7)
    await gateway.receives(ann, [6, 7])
    assert log.replays == 1


async def test_an_event_that_comes_before_the_head_is_known_is_where_the_room_begins(log: Log, gateway: Gateway):
    log.append(5)
    log.away = True
    ann = await gateway.member_unsettled(head=None)
    await log.publish(4)
    await gateway.receives(ann, [4])
    log.away = False
    await gateway.receives(ann, [4, 5])


async def test_who_has_a_cursor_is_caught_up_in_a_room_that_others_entered_without_a_head(log: Log, gateway: Gateway):
    log.append(5)
    log.away = True
    ann = await gateway.member_unsettled(head=None)
    log.away = False
    ben = await gateway.member(head=5, after=2)
    await log.publish(log.append())
    await gateway.receives(ben, [3, 4, 5, 6])
    await gateway.receives(ann, [6])
