"""A user's own room that its service logs: in order and repaired like any room, and still open to all that is not."""

from __future__ import annotations

from parley.common.wire import subjects
from parley.common.wire.rooms import Membership, MembershipChange, RoomEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.member_state import Registered
from tests.support.gateway.rooms import ROOM, Gateway, Log
from tests.support.waiting import until


def own(connection: Connection) -> str:
    return subjects.user_room(connection.identity.user_id)


def signals(gateway: Gateway, connection: Connection) -> list[str]:
    return [event for _, event, _ in gateway.sockets.written[connection] if event == "wave"]


async def admitted(gateway: Gateway, log: Log, *, after: int | None = None) -> Connection:
    """A connection whose service names the user's own room among its memberships."""
    connection = await gateway.connect(opened=False)
    gateway.fanout.enter(connection, own(connection), head=log.head(own(connection)), after=after)
    gateway.open(connection)
    return connection


async def test_what_is_lost_of_it_is_repaired_in_order_and_the_last_one_by_its_head(log: Log, gateway: Gateway):
    ann = await admitted(gateway, log)
    room = own(ann)
    log.append(4, room)
    await log.publish(1, room=room)
    await log.publish(4, room=room)
    await gateway.receives(ann, [1, 2, 3, 4])
    log.append(1, room)
    await log.beacon(room)
    await gateway.receives(ann, [1, 2, 3, 4, 5])


async def test_after_an_outage_its_head_is_asked_for_and_without_a_log_it_is_not(log: Log, gateway: Gateway):
    ann, ben = await admitted(gateway, log), await gateway.connect()
    await gateway.settled()
    log.append(2, own(ann))
    asked = log.verified
    gateway.fanout.verify_all()
    await gateway.receives(ann, [1, 2])
    assert log.verified == asked + 1
    assert gateway.sockets.written[ben] == []


async def test_who_is_catching_up_there_misses_nothing_that_is_not_logged_nor_any_hint(log: Log, gateway: Gateway):
    connection = await gateway.connect(opened=False)
    room = own(connection)
    log.append(3, room)
    log.append(1)
    log.gate.clear()
    gateway.fanout.enter(connection, room, head=3, after=0)
    gateway.open(connection)
    await until(lambda: log.held == 1, "it is being caught up")
    await log.deliver(room, RoomEvent("wave", b"{}"), moves=[MembershipChange(ROOM, True, 1)])
    await until(lambda: signals(gateway, connection) == ["wave"], "the signal")
    assert ROOM in connection.rooms
    assert gateway.sockets.sequences(connection) == []
    log.gate.set()
    await until(lambda: sorted(gateway.sockets.sequences(connection)) == [1, 1, 2, 3], "what it missed in both rooms")
    await log.publish(log.append(1, room), room=room)
    await until(lambda: gateway.sockets.sequences(connection)[-1] == 4, "and what is live")


async def test_who_is_being_admitted_or_lost_hears_nothing_and_keeps_their_place(log: Log, gateway: Gateway):
    ann = await admitted(gateway, log)
    room = own(ann)
    log.append(2, room)
    await log.publish(1, 2, room=room)
    await gateway.receives(ann, [1, 2])
    assert gateway.fanout.park(ann) == {room: 2}
    assert not gateway.fanout.is_awaited(log.namespace, room), "it is registered there all the while"
    log.append(1, room)
    await log.publish(3, room=room)
    await log.deliver(room, RoomEvent("wave", b"{}"))
    local = gateway.fanout._rooms.get(log.namespace, room)
    assert local is not None
    await until(lambda: local.cursor.head == 3, "the room goes on")
    # A restored log lets nobody in either.
    gateway.fanout.log_restored(local, 1)
    assert isinstance(local.state(ann), Registered)
    await log.deliver(room, RoomEvent("wave", b"{}"))
    await gateway.settled()
    assert gateway.sockets.sequences(ann) == [1, 2]
    assert signals(gateway, ann) == []
    assert not [event for _, event, _ in gateway.sockets.written[ann] if event == "reset"]


async def test_the_answer_about_memberships_tells_its_head_and_takes_nobody_out(log: Log, gateway: Gateway):
    ann = await admitted(gateway, log)
    room = own(ann)
    log.append(2, room)
    gateway.fanout.apply_memberships([ann], [Membership(room, 2, 0)], gateway.fanout.count_question())
    await gateway.receives(ann, [1, 2])
    gateway.fanout.apply_memberships([ann], [], gateway.fanout.count_question())
    log.append(1, room)
    await log.publish(3, room=room)
    await gateway.receives(ann, [1, 2, 3])
