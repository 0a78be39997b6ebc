"""What goes to several rooms at once: one message where few gateways live, and to members as if there were one each."""

from __future__ import annotations

import json
import random
from typing import cast

import msgspec
import pytest
from structlog.testing import capture_logs

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.rooms import Deliveries, Delivery, MembershipChange, RoomEvent, RoomHead, UndecodedDeliveries
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.remote.room_publisher import FEW_GATEWAYS, MAX_DELIVERY_BYTES, RoomPublisher
from tests.support.bus import fresh
from tests.support.gateway.rooms import Gateway, Log
from tests.support.waiting import until


class Registry:
    """So many gateways live."""

    def __init__(self, living: int) -> None:
        self.living = living


class Heard:
    """What a namespace's gateways hear: the rooms of each message for several, and the rooms that had their own."""

    def __init__(self, bus: Bus, namespace: str, *rooms: str) -> None:
        self.together: list[list[tuple[str, Delivery]]] = []
        self.alone: list[tuple[str, Delivery]] = []
        self.sizes: list[int] = []
        bus.listen(subjects.rooms(namespace), self._hear_together)
        for room in rooms:
            bus.listen(subjects.room(namespace, room), lambda data, room=room: self._hear_alone(room, data))

    def _hear_together(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self.together.append(decode(data, Deliveries).rooms)

    def _hear_alone(self, room: str, data: bytes) -> None:
        self.alone.append((room, decode(data, Delivery)))


def said(sequence: int, size: int = 0) -> RoomEvent:
    return RoomEvent("message.sent", json.dumps({"sequence": sequence, "text": "x" * size}).encode(), sequence)


def publisher(bus: Bus, namespace: str, living: int = 1) -> RoomPublisher:
    return RoomPublisher(bus, namespace, cast("GatewayRegistry", Registry(living)))


# -- the service's side ------------------------------------------------------------------------------------------------


async def test_several_rooms_share_a_message_in_the_order_given_and_a_single_one_has_its_own_subject(
    bus: Bus, other: Bus, namespace: str
):
    heard = Heard(bus, namespace, "a", "b", "user:u")
    await bus.flush()
    rooms = publisher(other, namespace)
    hint = Delivery([], [MembershipChange("a", True, 1)])
    deliveries = [("user:u", hint), ("b", Delivery([said(1), said(2)])), ("a", Delivery([said(1)]))]
    await rooms.publish_all(deliveries)
    await rooms.publish_all(deliveries[1:2])
    await until(lambda: heard.alone)
    assert heard.together == [deliveries]
    assert heard.alone == deliveries[1:2]


@pytest.mark.parametrize("living", [FEW_GATEWAYS, FEW_GATEWAYS + 1])
async def test_where_many_gateways_live_each_room_has_a_message_of_its_own(
    bus: Bus, other: Bus, namespace: str, living: int
):
    heard = Heard(bus, namespace, "a", "b")
    await bus.flush()
    deliveries = [("a", Delivery([said(1)])), ("b", Delivery([said(1)]))]
    await publisher(other, namespace, living).publish_all(deliveries)
    await until(lambda: heard.alone or heard.together)
    await bus.flush()
    assert (heard.together, heard.alone) == (([deliveries], []) if living <= FEW_GATEWAYS else ([], deliveries))


async def test_who_knows_of_no_gateways_gives_each_room_its_own_message(bus: Bus, other: Bus, namespace: str):
    heard = Heard(bus, namespace, "a", "b")
    await bus.flush()
    await RoomPublisher(other, namespace).publish_all([("a", Delivery([said(1)])), ("b", Delivery([said(1)]))])
    await until(lambda: len(heard.alone) == 2)
    assert not heard.together


@pytest.mark.parametrize("living", [1, FEW_GATEWAYS + 1])
async def test_what_is_too_large_for_a_message_is_cut_and_arrives_in_order(
    bus: Bus, other: Bus, namespace: str, living: int
):
    heard = Heard(bus, namespace, "a", "b", "c")
    await bus.flush()
    moves = [MembershipChange("c", True, 1)]
    large = [said(number, 100_000) for number in range(1, 13)]
    deliveries = [("a", Delivery(large, moves)), ("b", Delivery(large[:3])), ("c", Delivery([said(1)]))]
    await publisher(other, namespace, living).publish_all(deliveries)
    expected = {room: [item.sequence for item in delivery.events] for room, delivery in deliveries}

    def arrived() -> list[tuple[str, Delivery]]:
        return [piece for message in heard.together for piece in message] + heard.alone

    def sequences(room: str) -> list[int]:
        return [item.sequence for name, delivery in arrived() if name == room for item in delivery.events]

    await until(lambda: all(sequences(room) == expected[room] for room in expected))
    told = [(name, len(delivery.events)) for name, delivery in arrived() if delivery.membership_changes]
    assert len(told) == 1, "moves go with the last piece"
    assert max(heard.sizes, default=0) <= MAX_DELIVERY_BYTES + 1024
    assert len(heard.together) <= 5


# -- the gateway's side ------------------------------------------------------------------------------------------------


async def test_members_get_their_rooms_events_in_order_whichever_way_each_came(log: Log, gateway: Gateway):
    ways = random.Random(7)
    rooms = ["one", "two", "three"]
    members = {room: await gateway.member(room, head=0) for room in rooms}
    for _ in range(60):
        items = [(room, Delivery([event_of(log, room)])) for room in ways.sample(rooms, ways.randint(1, 3))]
        await publisher(log.bus, log.namespace, ways.choice([1, FEW_GATEWAYS + 1])).publish_all(items)
    for room in rooms:
        await gateway.receives(members[room], list(range(1, log.head(room) + 1)))
    assert not log.replays


async def test_a_lost_message_for_several_rooms_is_repaired_in_each(log: Log, gateway: Gateway):
    members = {room: await gateway.member(room, head=0) for room in ("one", "two")}
    for room in members:
        log.append(2, room)
    await publisher(log.bus, log.namespace).publish_all([(room, Delivery([event_of(log, room)])) for room in members])
    for member in members.values():
        await gateway.receives(member, [1, 2, 3])
    assert log.replays == 2


async def test_a_hint_in_a_users_room_comes_before_the_events_of_the_room_that_it_leads_into(
    log: Log, gateway: Gateway
):
    ann = await gateway.connect()
    user = subjects.user_room(ann.identity.user_id)
    log.append(2, "new")
    item = event_of(log, "new", joins=ann.identity.user_id)
    hint = Delivery([], [MembershipChange("new", True, 3)])
    await publisher(log.bus, log.namespace).publish_all([(user, hint), ("new", Delivery([item]))])
    await gateway.receives(ann, [3])
    assert not log.replays


async def test_a_last_event_that_was_lost_is_read_when_the_service_announces_its_heads(log: Log, gateway: Gateway):
    ann = await gateway.member("room", head=0)
    log.append(2, "room")
    await publisher(log.bus, log.namespace).announce_heads([RoomHead("room", 2), RoomHead("nobody here", 7)])
    await gateway.receives(ann, [1, 2])
    assert log.replays == 1


async def test_rooms_without_a_member_are_not_decoded_and_one_that_fails_stops_no_other(log: Log, gateway: Gateway):
    member, broken = await gateway.member("here", head=0), await gateway.member("broken", head=0)
    log.append(1, "here")
    nonsense = msgspec.Raw(msgspec.msgpack.encode("no delivery"))
    mine = msgspec.Raw(Delivery([said(1)]).encode())
    message = UndecodedDeliveries([("nobody", nonsense), ("broken", nonsense), ("here", mine)])
    with capture_logs() as logged:
        await log.bus.publish(subjects.rooms(log.namespace), message.encode())
        await gateway.receives(member, [1])
    assert [line["room"] for line in logged if line["event"] == "delivery not handled"] == ["broken"]
    await gateway.receives(broken, [])


async def test_other_namespaces_are_not_heard(nats_url: str, log: Log, gateway: Gateway):
    member = await gateway.member("room", head=0)
    items = [("room", Delivery([said(1)])), ("another", Delivery([said(1)]))]
    await publisher(log.bus, fresh("/other")).publish_all(items)
    log.append(1, "room")
    await log.publish(1, room="room")
    await gateway.receives(member, [1])


def event_of(log: Log, room: str, *, joins: str = "") -> RoomEvent:
    """Log one event more, and return it."""
    sequence = log.append(1, room, joins=joins)
    return RoomEvent("message.sent", json.dumps({"sequence": sequence}).encode(), sequence, joined_user=joins)
