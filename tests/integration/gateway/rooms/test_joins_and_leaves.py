"""Joins and leaves: from exactly the event of the join to exactly that of the leave, however they are heard of."""

from __future__ import annotations

import pytest

from parley.common.wire import subjects
from parley.common.wire.rooms import Membership, MembershipChange, RoomEvent
from tests.support.gateway.rooms import ROOM, Gateway, Log, another
from tests.support.waiting import until


@pytest.mark.parametrize("somebody_is_there", [True, False])
async def test_who_joins_and_leaves_gets_exactly_from_the_join_to_the_leave(
    log: Log, gateway: Gateway, somebody_is_there: bool
):
    log.append(3)
    here = await gateway.member(head=3) if somebody_is_there else None
    ann = await gateway.connect()
    for _ in range(4):
        await log.publish(log.append())
    join = log.append()
    await log.move(ann, MembershipChange(ROOM, True, join))
    await log.publish(join)
    for _ in range(4):
        await log.publish(log.append())
    leave = log.append()
    await log.move(ann, MembershipChange(ROOM, False, leave))
    await log.publish(leave)
    for _ in range(4):
        await log.publish(log.append())
    await gateway.receives(ann, [*range(join, leave + 1)])
    await until(lambda: ROOM not in ann.rooms)
    if here is not None:
        await gateway.receives(here, [*range(4, log.head() + 1)])
    assert gateway.sockets.sequences(ann) == [*range(join, leave + 1)]


async def test_a_leave_whose_event_was_lost_still_gets_it_and_nothing_later(log: Log, gateway: Gateway):
    ann, ben = await gateway.member(head=0), await gateway.member(head=0)
    log.append(4)
    await log.move(ann, MembershipChange(ROOM, False, 2))
    await log.publish(4)
    await gateway.receives(ben, [1, 2, 3, 4])
    assert gateway.sockets.sequences(ann) == [1, 2]


async def test_a_leave_that_is_heard_of_late_takes_effect_at_once(log: Log, gateway: Gateway):
    ann, ben = await gateway.member(head=0), await gateway.member(head=0)
    log.append(3)
    await log.publish(1, 2)
    await gateway.receives(ann, [1, 2])
    await log.move(ann, MembershipChange(ROOM, False, 2))
    await until(lambda: ROOM not in ann.rooms)
    await log.publish(3)
    await gateway.receives(ben, [1, 2, 3])
    assert gateway.sockets.sequences(ann) == [1, 2]


async def test_who_joins_and_leaves_again_before_the_room_got_there_gets_exactly_the_join_and_the_leave(
    log: Log, gateway: Gateway
):
    here, ann = await gateway.member(head=0), await gateway.connect()
    log.append(5)
    # Users are told first; the room's own events are still on their way.
    await log.move(ann, MembershipChange(ROOM, True, 3), MembershipChange(ROOM, False, 4))
    await gateway.settled()
    await log.publish(1, 2, 3, 4, 5)
    await gateway.receives(here, [1, 2, 3, 4, 5])
    await gateway.receives(ann, [3, 4], seconds=1)
    assert ROOM not in ann.rooms


async def test_who_leaves_and_joins_again_before_the_room_got_there_gets_nothing_of_the_time_between(
    log: Log, gateway: Gateway
):
    here, ann = await gateway.member(head=0), await gateway.member(head=0)
    log.append(5)
    await log.move(ann, MembershipChange(ROOM, False, 1), MembershipChange(ROOM, True, 4))
    await gateway.settled()
    await log.publish(1, 2, 3, 4, 5)
    await gateway.receives(here, [1, 2, 3, 4, 5])
    await gateway.receives(ann, [1, 4, 5], seconds=1)


async def test_a_join_heard_of_twice_delivers_nothing_twice(log: Log, gateway: Gateway):
    ann = await gateway.connect()
    join = log.append()
    await log.move(ann, MembershipChange(ROOM, True, join))
    await log.move(ann, MembershipChange(ROOM, True, join))
    await log.publish(join)
    await log.publish(log.append())
    await gateway.receives(ann, [1, 2])


async def test_of_moves_that_overtake_each_other_the_one_with_the_later_event_holds(log: Log, gateway: Gateway):
    here, ann, ben = await gateway.member(head=0), await gateway.connect(), await gateway.member(head=0)
    log.append(6)
    await log.publish(1, 2, 3, 4)
    await gateway.receives(here, [1, 2, 3, 4])
    for move in (MembershipChange(ROOM, False, 4), MembershipChange(ROOM, True, 2)):
        await log.move(ann, move)
    for move in (MembershipChange(ROOM, True, 3), MembershipChange(ROOM, False, 2)):
        await log.move(ben, move)
    await gateway.settled()
    await log.publish(5, 6)
    await gateway.receives(here, [1, 2, 3, 4, 5, 6])
    await gateway.receives(ben, [1, 2, 3, 4, 5, 6])
    assert gateway.sockets.sequences(ann) == []


async def test_every_connection_of_a_user_moves_and_nobody_elses(log: Log, gateway: Gateway):
    ann, stranger = await gateway.connect(), await gateway.connect()
    tab = another(ann.namespace, ann.identity)
    gateway.fanout.enter_user_room(tab)
    gateway.open(tab)
    join = log.append()
    await log.move(ann, MembershipChange(ROOM, True, join))
    await log.publish(join)
    for connection in (ann, tab):
        await gateway.receives(connection, [1])
    assert gateway.sockets.sequences(stranger) == []


async def test_before_connect_was_sent_nothing_is_delivered_and_moves_take_effect_after_it(log: Log, gateway: Gateway):
    ann = await gateway.connect(opened=False)
    user_room = subjects.user_room(ann.identity.user_id)
    join = log.append()
    await log.deliver(user_room, RoomEvent("invited", b"{}"), moves=[MembershipChange(ROOM, True, join)])
    await log.publish(join)
    await until(lambda: ann.pending_changes)
    await log.publish(log.append())
    assert not gateway.sockets.written[ann]
    gateway.open(ann)
    await log.deliver(user_room, RoomEvent("invited", b"{}"))
    await gateway.receives(ann, [1, 2])
    await until(lambda: len(gateway.sockets.written[ann]) == 3)


async def test_a_move_places_a_room_whose_head_was_unknown(log: Log, gateway: Gateway):
    log.append(6)
    log.away = True
    ann, ben = [await gateway.member_unsettled(head=None) for _ in range(2)]
    await log.move(ann, MembershipChange(ROOM, False, 5))
    await until(lambda: ROOM in ann.last_change)
    log.away = False
    await gateway.receives(ben, [5, 6])
    await log.publish(log.append())
    await gateway.receives(ben, [5, 6, 7])
    await gateway.receives(ann, [5])
    assert ROOM not in ann.rooms


async def test_moves_and_events_that_one_process_published_take_effect_in_that_order(log: Log, gateway: Gateway):
    here, ann = await gateway.member(head=0), await gateway.connect()
    for _ in range(50):
        await log.move(ann, MembershipChange(ROOM, True, join := log.append()))
        await log.publish(join)
        await log.move(ann, MembershipChange(ROOM, False, leave := log.append()))
        await log.publish(leave)
        await log.publish(log.append())
    await gateway.receives(here, [*range(1, 151)])
    await gateway.receives(ann, [sequence for sequence in range(1, 151) if sequence % 3])
    assert log.replays == 0


# -- the rooms' own events say who joins and leaves --------------------------------------------------------------------


async def test_a_join_and_a_leave_that_were_lost_are_repaired_with_the_room(log: Log, gateway: Gateway):
    ann, ben = await gateway.connect(), await gateway.member(head=0)
    user_id = ann.identity.user_id
    join = log.append(joins=user_id)
    await log.beacon(ROOM)
    await gateway.receives(ann, [join])
    log.append()
    leave = log.append(leaves=user_id)
    log.append(2)
    await log.beacon(ROOM)
    await gateway.receives(ben, [*range(1, log.head() + 1)])
    assert gateway.sockets.sequences(ann) == [*range(join, leave + 1)]
    assert ROOM not in ann.rooms


async def test_who_joins_while_an_older_answer_is_on_its_way_is_not_taken_out_by_it(log: Log, gateway: Gateway):
    ann, ben = await gateway.connect(), await gateway.member(head=0)
    asked = gateway.fanout.count_question()
    join = log.append(joins=ann.identity.user_id)
    await log.move(ann, MembershipChange(ROOM, True, join))
    await log.publish(join)
    await gateway.receives(ann, [join])
    gateway.fanout.apply_memberships([ann], [], asked)
    await gateway.settled()
    await log.publish(log.append())
    for member in (ann, ben):
        await gateway.receives(member, [1, 2])


async def test_who_leaves_while_an_older_answer_is_on_its_way_is_not_put_in_again_by_it(log: Log, gateway: Gateway):
    ann, ben = await gateway.connect(), await gateway.member(head=0)
    user_id = ann.identity.user_id
    await log.publish(log.append(joins=user_id), log.append())
    await gateway.receives(ann, [1, 2])
    asked = gateway.fanout.count_question()
    await log.publish(log.append(leaves=user_id))
    await gateway.receives(ann, [1, 2, 3])
    gateway.fanout.apply_memberships([ann], [Membership(ROOM, 2, 1)], asked)
    await log.publish(log.append())
    await gateway.receives(ben, [1, 2, 3, 4])
    await gateway.settled()
    assert gateway.sockets.sequences(ann) == [1, 2, 3]


async def test_who_left_while_the_gateway_was_away_still_gets_what_came_before_and_the_leave(
    log: Log, gateway: Gateway
):
    ann, ben = await gateway.connect(), await gateway.member(head=0)
    user_id = ann.identity.user_id
    await log.publish(log.append(joins=user_id))
    await gateway.receives(ann, [1])
    log.append(3)
    leave = log.append(leaves=user_id)
    log.append(2)
    gateway.fanout.apply_memberships([ann], [], gateway.fanout.count_question())
    await gateway.receives(ann, [*range(1, leave + 1)])
    await gateway.receives(ben, [*range(1, log.head() + 1)])
    assert gateway.sockets.sequences(ann) == [*range(1, leave + 1)]
    assert ROOM not in ann.rooms


async def test_a_late_notice_of_a_join_ends_with_the_leave_that_followed_it(log: Log, gateway: Gateway):
    ann, ben = await gateway.connect(), await gateway.member(head=0)
    user_id = ann.identity.user_id
    log.append()
    join, leave = log.append(joins=user_id), log.append(leaves=user_id)
    await log.publish(log.append())
    await gateway.receives(ben, [1, 2, 3, 4])
    tab = another(ann.namespace, ann.identity)
    gateway.fanout.enter_user_room(tab)
    gateway.open(tab)
    await log.move(ann, MembershipChange(ROOM, True, join))
    await gateway.receives(tab, [join, leave])
    await log.publish(log.append())
    await gateway.receives(ben, [1, 2, 3, 4, 5])
    await until(lambda: ROOM not in tab.rooms)
    assert gateway.sockets.sequences(tab) == [join, leave]


async def test_a_connection_that_is_being_admitted_heeds_what_the_rooms_events_said_meanwhile(
    log: Log, gateway: Gateway
):
    ann, ben = await gateway.connect(opened=False), await gateway.member(head=0)
    await log.publish(log.append(joins=ann.identity.user_id), log.append())
    await gateway.receives(ben, [1, 2])
    gateway.open(ann)
    await gateway.receives(ann, [1, 2])
