"""Guarantee 4: every member gets each event of a room once, in order, without a gap, whatever the broker loses."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any, cast

import pytest

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.operations import Emit, Selection
from parley.common.wire.rooms import MembershipChange, RoomEvent, RoomHead, RoomHeads
from parley.gateway.connections.connection import ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.operations.operations import Operations
from parley.gateway.recovery.packet_history import PacketHistory
from parley.gateway.rooms import catch_up, heads, log_reader, repair
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.server import SocketIoServer
from tests.support.bus import fresh, running_bus
from tests.support.gateway.rooms import (
    ROOM,
    Gateway,
    Log,
    Sockets,
    another,
    background,
    running_gateway,
    subscribed,
)
from tests.support.own_server import Server
from tests.support.ports import free_port
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
    fanout.open(connection)
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
    fanout.open(connection)
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
    await log.bus.publish(subjects.HEADS, b"\xc1")
    await log.publish(log.append())
    await gateway.receives(ann, [1])


# -- repair ------------------------------------------------------------------------------------------------------------


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
    await log.bus.publish(subjects.HEADS, RoomHeads(log.namespace, [RoomHead(ROOM, 7)]).encode())
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


# -- rooms whose head nobody knows -------------------------------------------------------------------------------------


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


# -- resume ------------------------------------------------------------------------------------------------------------


class Traffic:
    """A busy room whose deliveries get lost, doubled and out of order."""

    def __init__(self, log: Log, seed: int) -> None:
        self._log = log
        self._random = random.Random(seed)
        self._task = asyncio.create_task(self._run())
        self._going = True

    async def _run(self) -> None:
        while self._going:
            first = self._log.head() + 1
            sequences = [*range(first, self._log.append(self._random.randint(1, 5)) + 1)]
            if self._random.random() < 0.3:
                self._random.shuffle(sequences)
            if self._random.random() < 0.2:
                sequences = sequences[: self._random.randrange(len(sequences) + 1)]
            for sequence in sequences:
                await self._log.publish(*[sequence] * self._random.choice((1, 1, 1, 2)))
            await asyncio.sleep(0.001)

    async def stop(self) -> int:
        """End it, publish the last event for certain, and return its sequence."""
        self._going = False
        await self._task
        last = self._log.append()
        await self._log.publish(last)
        return last


@pytest.mark.parametrize("seed", range(3))
async def test_a_connection_with_a_cursor_gets_exactly_what_it_missed_and_then_live_events_while_the_room_is_busy(
    log: Log, gateway: Gateway, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(repair, "GRACE", 0.005)
    monkeypatch.setattr(catch_up, "GRACE", 0.005)
    monkeypatch.setattr(log_reader, "REPLAY_LIMIT", 40)
    log.append(100)
    started = {await gateway.member(head=100): 100}
    traffic = Traffic(log, seed)
    for _ in range(25):
        await asyncio.sleep(0.004)
        connection = await gateway.connect()
        # As chat would tell it: the head of this moment, which the gateway may or may not have reached.
        head = log.head()
        after = random.Random(seed + head).choice((0, head // 2, head - 1, head))
        started[connection] = after
        gateway.fanout.enter(connection, ROOM, head=head, after=after)
    last = await traffic.stop()
    for connection, after in started.items():
        await gateway.receives(connection, [*range(after + 1, last + 1)])


async def test_a_room_that_moves_on_while_the_log_is_read_is_not_read_again(log: Log, gateway: Gateway):
    log.append(5)
    here = await gateway.member(head=5)
    log.gate.clear()
    late = await gateway.connect()
    gateway.fanout.enter(late, ROOM, head=5, after=0)
    await until(lambda: log.replays)
    for _ in range(100):
        await log.publish(log.append())
    await gateway.receives(here, [*range(6, 106)])
    log.gate.set()
    await gateway.receives(late, [*range(1, 106)])
    assert log.replays == 1


async def test_who_missed_nothing_is_live_at_once_and_the_log_is_not_asked(log: Log, gateway: Gateway):
    log.append(5)
    ann, ben = await gateway.member(head=5, after=5), await gateway.member(head=5)
    await log.publish(log.append())
    for member in (ann, ben):
        await gateway.receives(member, [6])
    assert log.replays == 0


async def test_a_client_that_is_ahead_of_this_gateway_gets_nothing_twice(log: Log, gateway: Gateway):
    behind = await gateway.member(head=0)
    # Another gateway gave the client these already; here they are yet to come.
    log.append(3)
    ahead = await gateway.connect()
    gateway.fanout.enter(ahead, ROOM, head=3, after=2)
    for sequence in (1, 2, 3):
        await log.publish(sequence)
    await gateway.receives(behind, [1, 2, 3])
    await gateway.receives(ahead, [3])


async def test_who_leaves_while_being_caught_up_gets_nothing_more(log: Log, gateway: Gateway):
    log.append(5)
    here = await gateway.member(head=5)
    log.gate.clear()
    gone = await gateway.connect()
    gateway.fanout.enter(gone, ROOM, head=5, after=0)
    await until(lambda: log.replays == 1)
    gateway.fanout.leave(gone, ROOM)
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    assert gateway.sockets.sequences(gone) == []


async def test_a_leave_heard_of_while_being_caught_up_takes_effect_after_its_event(log: Log, gateway: Gateway):
    log.append(5)
    here = await gateway.member(head=5)
    log.gate.clear()
    ann = await gateway.connect()
    gateway.fanout.enter(ann, ROOM, head=5, after=0)
    await until(lambda: log.replays == 1)
    await log.move(ann, MembershipChange(ROOM, False, 4))
    await gateway.settled()
    await log.publish(log.append())
    await gateway.receives(here, [6])
    gateway.fanout.leave(here, ROOM)
    log.gate.set()
    await gateway.receives(ann, [1, 2, 3, 4])
    await until(lambda: not background("catch up"))
    await gateway.settled()
    assert ROOM not in ann.rooms
    assert not await subscribed(log), "nobody is left"
    await gateway.receives(ann, [1, 2, 3, 4])


async def test_who_is_taken_out_and_put_in_again_while_being_caught_up_gets_nothing_twice(log: Log, gateway: Gateway):
    log.append(5)
    here = await gateway.member(head=5)
    log.gate.clear()
    ann = await gateway.connect()
    gateway.fanout.enter(ann, ROOM, head=5, after=0)
    await until(lambda: log.replays == 1)
    gateway.fanout.leave(ann, ROOM)
    gateway.fanout.enter(ann, ROOM, head=5, after=3)
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    await gateway.receives(ann, [4, 5, 6])


async def test_who_leaves_and_comes_back_while_being_caught_up_gets_nothing_twice(log: Log, gateway: Gateway):
    log.append(5)
    here = await gateway.member(head=5)
    log.gate.clear()
    ann = await gateway.connect()
    gateway.fanout.enter(ann, ROOM, head=5, after=0)
    await until(lambda: log.replays == 1)
    await log.move(ann, MembershipChange(ROOM, False, 5), MembershipChange(ROOM, True, 6))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6, 7])
    assert gateway.sockets.sequences(ann)[-2:] == [6, 7]
    assert gateway.sockets.sequences(ann) == sorted(set(gateway.sockets.sequences(ann)))


# -- what is remembered for those who may come back --------------------------------------------------------------------


async def test_an_emit_is_remembered_only_if_somebody_here_hears_it_or_may_come_back(log: Log, gateway: Gateway):
    namespace, history = log.namespace, PacketHistory("gateway1.run")
    connections = ConnectionRegistry()
    server = cast("SocketIoServer", gateway.sockets)
    operations = Operations(
        gateway.bus,
        server,
        connections,
        gateway.fanout,
        ClientAcks(gateway.bus),
        {namespace: history},
        cast("Any", None),
        cast("Any", None),
    )
    lost = await gateway.member("lobby", head=None)
    connections.add(lost)

    def remembered(*rooms: str, sid: str = "") -> bool:
        before = history.number
        operations._hear(Emit(Selection(namespace, rooms, sid=sid), "", "wave", b'[{"by":"ben"}]').encode())
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
        cast("SocketIoServer", gateway.sockets),
        ConnectionRegistry(),
        gateway.fanout,
        ClientAcks(gateway.bus),
        {namespace: history},
        cast("Any", None),
        cast("Any", None),
    )
    lost, other = await gateway.member(head=0), await gateway.member(head=0)

    def remembered() -> bool:
        before = history.number
        operations._hear(Emit(Selection(namespace, (ROOM,)), "", "wave", b"[]").encode())
        return history.number > before

    for connection in (lost, other):
        assert gateway.fanout.park(connection) == {ROOM: 0}
    assert remembered()
    gateway.fanout.leave_all(other)
    assert remembered()
    gateway.fanout.leave_all(lost)
    assert not remembered()
