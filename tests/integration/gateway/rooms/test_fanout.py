"""Guarantee 4: every member gets each event of a room once, in order, without a gap, whatever the broker loses."""

from __future__ import annotations

from typing import Any, cast

import pytest

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.operations import Emit, Selection
from parley.common.wire.rooms import RoomEvent
from parley.gateway.connections.connection import ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.operations.operations import Operations
from parley.gateway.recovery.packet_history import PacketHistory
from parley.gateway.rooms import gathering, repair
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.server import SocketIoServer
from tests.support.bus import fresh
from tests.support.gateway.rooms import (
    ROOM,
    Gateway,
    Log,
    Sockets,
    another,
    background,
    subscribed,
)
from tests.support.waiting import until


async def test_a_room_is_opened_no_earlier_than_it_was_delivered_here_whatever_is_said_of_its_head(bus: Bus):
    """Else an event would go out again under a later offset, and a client that is recovered would get it twice."""
    namespace = fresh("/n")
    history = PacketHistory("gateway")
    history.add((ROOM,), sequence=13)
    fanout = Fanout(bus, Sockets(), {namespace: history}, [namespace])
    connection = another(namespace)
    fanout.enter_user_room(connection)
    connection.state = ConnectionState.OPEN
    fanout.start_user_room(connection)
    fanout.enter(connection, ROOM, head=12, after=12)
    room = fanout._rooms.get(namespace, ROOM)
    assert room is not None
    assert room.cursor.head == 13
    assert room.catching_up(connection) is not None
    await fanout.close()


async def test_what_a_repair_brings_to_a_room_that_is_closed_by_then_was_sent_to_nobody(
    bus: Bus, log: Log, namespace: str
):
    """Else a client that had it, and is recovered, would get it twice."""
    history = PacketHistory("gateway")
    fanout = Fanout(bus, Sockets(), {namespace: history}, [namespace])
    await fanout.start()
    connection = another(namespace)
    fanout.enter_user_room(connection)
    connection.state = ConnectionState.OPEN
    fanout.start_user_room(connection)
    fanout.enter(connection, ROOM, head=0)
    log.append(3)
    log.gate.clear()
    fanout.verify_all()
    await until(lambda: log.held == 1)
    fanout.park(connection)
    assert fanout._rooms.get(namespace, ROOM) is None
    log.gate.set()
    await until(lambda: not background("repair"))
    assert history.delivered(ROOM) == 0
    await fanout.close()


# -- subscriptions -----------------------------------------------------------------------------------------------------


async def test_a_room_is_subscribed_to_only_while_it_has_a_local_member(log: Log, gateway: Gateway):
    assert not await subscribed(log)
    ann, ben = await gateway.member(head=0), await gateway.member(head=0)
    assert await subscribed(log)
    gateway.fanout.leave(ann, ROOM)
    await gateway.settled()
    assert await subscribed(log), "one is still there"
    gateway.fanout.leave_all(ben)
    await gateway.settled()
    assert not await subscribed(log)
    assert not await subscribed(log, subjects.user_room(ben.identity.user_id))
    assert await subscribed(log, subjects.user_room(ann.identity.user_id))
    assert not ben.rooms


async def test_a_room_that_is_left_before_it_was_subscribed_to_leaves_no_subscription(log: Log, gateway: Gateway):
    ann = await gateway.connect()
    for _ in range(3):
        gateway.fanout.enter(ann, ROOM, head=0)
        gateway.fanout.leave(ann, ROOM)
    await gateway.settled()
    assert not await subscribed(log)
    gateway.fanout.enter(ann, ROOM, head=0)
    await gateway.settled()
    await log.publish(log.append())
    await gateway.receives(ann, [1])


# -- live delivery -----------------------------------------------------------------------------------------------------


async def test_every_member_gets_every_event_in_order(log: Log, gateway: Gateway):
    members = [await gateway.member(head=0) for _ in range(5)]
    for _ in range(100):
        await log.publish(log.append())
    await log.publish(*range(log.append(), log.append(9) + 1))
    for member in members:
        await gateway.receives(member, [*range(1, 111)])
    assert log.replays == 0


async def test_what_one_delivery_brings_is_one_packet_for_each_member(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Of a message that many react to, each batch is one delivery, so a member is written to once per batch."""
    members = [await gateway.member(head=0) for _ in range(3)]
    packets: list[int] = []
    send = gateway.sockets.send

    def counted(connection: Any, packet: Any) -> None:
        packets.append(len(packet.parts))
        send(connection, packet)

    monkeypatch.setattr(gateway.sockets, "send", counted)
    await log.publish(*range(1, log.append(500) + 1))
    for member in members:
        await gateway.receives(member, [*range(1, 501)])
    assert packets == [500] * 3


async def test_a_storm_of_events_that_may_wait_is_few_packets_in_order(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """However many batches of whatever service they come in; what may not wait goes at once, behind those that do."""
    monkeypatch.setattr(gathering, "SECONDS", 60.0)
    ann = await gateway.member(head=0)
    packets: list[int] = []
    send = gateway.sockets.send

    def counted(connection: Any, packet: Any) -> None:
        packets.append(len(packet.parts))
        send(connection, packet)

    monkeypatch.setattr(gateway.sockets, "send", counted)
    for _ in range(200):
        await log.publish(log.append(may_wait=True))
    await gateway.settled()
    await gateway.receives(ann, [1])
    await log.publish(log.append())
    await gateway.receives(ann, [*range(1, 202)])
    assert packets == [1, 200], "the first at once, and all others with what did not wait"
    for _ in range(5):
        await log.publish(log.append(may_wait=True))
    await log.beacon(ROOM)
    await gateway.receives(ann, [*range(1, 207)])
    assert log.replays == 0, "what waits is not missing"


async def test_what_waits_when_a_member_leaves_is_read_again_by_who_comes_back(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gathering, "SECONDS", 60.0)
    ann = await gateway.member(head=0)
    for _ in range(3):
        await log.publish(log.append(may_wait=True))
    await gateway.receives(ann, [1])
    await gateway.settled()
    place = gateway.fanout.park(ann)
    assert place[ROOM] == 1, "nobody had the others yet"


async def test_other_rooms_and_namespaces_are_not_heard(nats_url: str, log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    stranger = Log(log.bus, fresh("/n"))
    await stranger.publish(stranger.append())
    await log.publish(log.append(room="another"), room="another")
    await log.publish(log.append())
    await gateway.receives(ann, [1])


async def test_a_signal_passes_unsequenced_and_not_to_its_sender(log: Log, gateway: Gateway):
    ann, ben = await gateway.member(head=0), await gateway.member(head=0)
    await log.deliver(ROOM, RoomEvent("typing", b'{"by":"ann"}', except_sid=ann.sid))
    await log.publish(log.append())
    for member in (ann, ben):
        await gateway.receives(member, [1])
    events = [[event for _, event, _ in gateway.sockets.written[c]] for c in (ann, ben)]
    assert events == [["message.sent"], ["typing", "message.sent"]]


async def test_doubles_are_dropped(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    log.append(3)
    for sequences in ((1,), (1, 1, 2), (2, 1), (1, 2, 3), (3,)):
        await log.publish(*sequences)
    await log.publish(log.append())
    await gateway.receives(ann, [1, 2, 3, 4])


async def test_replicas_that_overtake_each_other_are_put_in_order_without_asking_the_log(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(repair, "GRACE", 0.5)
    ann = await gateway.member(head=0)
    log.append(6)
    await log.publish(2)
    await until(lambda: background("repair"))
    for sequence in (3, 1, 6, 4, 5):
        await log.publish(sequence)
    await gateway.receives(ann, [1, 2, 3, 4, 5, 6])
    await until(lambda: not background("repair"))
    assert log.replays == 0


async def test_a_message_that_is_no_delivery_stops_nothing(log: Log, gateway: Gateway):
    ann = await gateway.member(head=0)
    await log.bus.publish(subjects.room(log.namespace, ROOM), b"\xc1")
    await log.bus.publish(subjects.advanced_heads(log.namespace), b"\xc1")
    await log.publish(log.append())
    await gateway.receives(ann, [1])


# -- what is remembered for those who may come back --------------------------------------------------------------------


async def test_an_emit_is_remembered_only_if_somebody_here_hears_it_or_may_come_back(log: Log, gateway: Gateway):
    namespace, history = log.namespace, PacketHistory("gateway1.run")
    connections = ConnectionRegistry()
    server = cast("SocketIoServer", gateway.sockets)
    operations = Operations(
        gateway.bus,
        [namespace],
        server,
        connections,
        gateway.fanout,
        ClientAcks(gateway.bus),
        {namespace: history},
        *cast("Any", [None] * 6),
    )
    lost = await gateway.member("lobby", head=None)
    connections.add(lost)

    def remembered(*rooms: str, sid: str = "") -> bool:
        before = history.number
        operations._hear(namespace, Emit(Selection(namespace, rooms, sid=sid), "", "wave", b'[{"by":"ben"}]').encode())
        return history.number > before

    assert remembered("lobby")
    assert not remembered("elsewhere")
    connections.remove(lost)
    gateway.fanout.park(lost)
    assert remembered("lobby", "elsewhere")
    assert remembered(sid=lost.sid)
    assert remembered()
    gateway.fanout.leave_all(lost)
    assert not remembered("lobby")
    assert not remembered(sid=lost.sid)


async def test_an_emit_to_a_room_with_a_log_is_remembered_for_its_only_member_who_may_come_back(
    log: Log, gateway: Gateway
):
    namespace, history = log.namespace, PacketHistory("gateway1.run")
    operations = Operations(
        gateway.bus,
        [namespace],
        cast("SocketIoServer", gateway.sockets),
        ConnectionRegistry(),
        gateway.fanout,
        ClientAcks(gateway.bus),
        {namespace: history},
        *cast("Any", [None] * 6),
    )
    lost, other = await gateway.member(head=0), await gateway.member(head=0)

    def remembered() -> bool:
        before = history.number
        operations._hear(namespace, Emit(Selection(namespace, (ROOM,)), "", "wave", b"[]").encode())
        return history.number > before

    for connection in (lost, other):
        assert gateway.fanout.park(connection) == {ROOM: 0}
    assert remembered()
    gateway.fanout.leave_all(other)
    assert remembered()
    gateway.fanout.leave_all(lost)
    assert not remembered()
