"""Who hears a room, whatever of its joins and leaves is heard of late, twice, in the wrong order or never.

The real fanout on a broker in this process, against a log: hypothesis decides what is committed, published, lost,
hinted at, asked and answered, and in which order. Whatever it does, a connection gets events of its user's stays only,
each once and in order, to the end of each stay; and in the end it is where its user is.
"""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.common.wire import subjects
from parley.common.wire.rooms import (
    Delivery,
    Membership,
    MembershipChange,
    RoomEvent,
)
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.rooms import catch_up, heads, log_reader, memory, repair
from parley.gateway.rooms.local_room import LocalRoom
from tests.support.gateway.played_world import ANN, BEN, NAMESPACE, ROOM, World


@pytest.fixture(autouse=True)
def at_once():
    """No pauses: the order of things is hypothesis' business."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((repair, "GRACE"), (catch_up, "GRACE"), (heads, "RETRY"), (log_reader, "KEPT_SECONDS")):
            patch.setattr(module, name, 0)
        yield


STEPS = st.one_of(
    st.sampled_from((("say", 0), ("say", 0), ("lose", 0), ("turn", 1), ("turn", 4), ("turn", 30))),
    st.tuples(st.just("move"), st.sampled_from((0, 1, 2, 3, 3))),
    st.tuples(st.sampled_from(("publish again", "hint again", "beacon")), st.integers(0, 6)),
    st.sampled_from((("ask", 0), ("ask", 0), ("answer", 0), ("answer", 0), ("answer", 1))),
)
"""A message is published or lost, a move's event (1) and its hint (2) are published or lost, an old one comes again."""


async def play(steps: list[tuple[str, int]], *, ben_is_here: bool, told: bool, late: bool) -> World:
    world = World(told=told)
    log, broker = world.log, world.broker
    await world.start()
    log.commit("room.created", joins=BEN.user_id)
    ben = world.connect(BEN)
    if ben_is_here:
        world.fanout.enter(ben, ROOM, head=1)
    ann = world.connect(ANN) if not late else None
    pending: list[tuple[int, list[Membership]]] = []
    for what, number in steps:
        match what:
            case "say":
                broker.deliver(log.commit())
            case "lose":
                log.commit()
            case "move":
                change = world.move()
                if number & 2:
                    broker.hint(change)
                if number & 1:
                    broker.deliver(change.sequence)
            case "turn":
                for _ in range(number):
                    await asyncio.sleep(0)
            case "publish again":
                broker.deliver(max(1, log.head - number))
            case "hint again" if world.changes:
                broker.hint(world.changes[max(0, len(world.changes) - 1 - number)])
            case "beacon":
                broker.beacon(max(1, log.head - number))
            case "ask":
                pending.append((world.fanout.count_question(), log.memberships()))
            case "answer" if pending and ann:
                mark, memberships = pending.pop(min(number, len(pending) - 1))
                world.fanout.apply_memberships([ann], memberships, mark)
            case _:
                pass
    if ann is None:
        ann = world.connect(ANN)
        for change in world.changes:
            broker.hint(change)
    await world.settle()
    # However little was heard: what a gateway does now and then, and the beacon, bring everything right.
    world.fanout.apply_memberships([ann], log.memberships(), world.fanout.count_question())
    broker.beacon(log.head)
    await world.settle()
    broker.deliver(log.commit())
    await world.settle()
    check(world, ann)
    if ben_is_here:
        assert world.received(ben) == [*range(2, log.head + 1)]
    await world.fanout.close()
    return world


def check(world: World, ann: Connection) -> None:
    log, received = world.log, world.received(ann)
    assert received == sorted(set(received)), "in order, each once"
    stays = [range(stay[0], (stay[1] if len(stay) > 1 else log.head) + 1) for stay in log.stays]
    assert all(any(sequence in stay for stay in stays) for sequence in received), "nothing of when she was not in"
    for stay in stays:
        heard = [sequence for sequence in received if sequence in stay]
        assert heard in ([], [*range(heard[0] if heard else 0, stay[-1] + 1)]), "to its end"
    assert (ROOM in ann.rooms) == log.ann_is_in
    if log.ann_is_in:
        assert received[-1:] == [log.head]


@settings(max_examples=500, deadline=None)
@given(steps=st.lists(STEPS, max_size=16), ben_is_here=st.booleans(), late=st.booleans())
def test_whatever_is_heard_of_joins_and_leaves_everybody_gets_their_stays_and_nothing_else(
    steps: list[tuple[str, int]], ben_is_here: bool, late: bool
):
    asyncio.run(play(steps, ben_is_here=ben_is_here, told=True, late=late))


# -- one by one --------------------------------------------------------------------------------------------------------


async def with_ben(*, messages: int = 0) -> tuple[World, Connection]:
    """A room in which Ben is live, and Ann, who is not in it."""
    world = World()
    await world.start()
    world.log.commit("room.created", joins=BEN.user_id)
    world.fanout.enter(world.connect(BEN), ROOM, head=1)
    for _ in range(messages):
        world.broker.deliver(world.log.commit())
    ann = world.connect(ANN)
    await world.settle()
    return world, ann


async def test_a_join_or_leave_that_no_hint_tells_of_follows_from_the_rooms_own_events():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3]
    world.broker.deliver(world.move().sequence)
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3, 4]
    assert ROOM not in ann.rooms


async def test_a_join_and_a_leave_that_were_not_even_published_follow_when_the_room_is_repaired():
    world, ann = await with_ben()
    world.move()
    world.log.commit()
    world.broker.beacon(world.log.head)
    await world.settle()
    assert world.received(ann) == [2, 3]
    world.move()
    world.log.commit()
    world.broker.beacon(world.log.head)
    await world.settle()
    assert world.received(ann) == [2, 3, 4]


async def test_an_older_answer_undoes_no_join():
    world, ann = await with_ben()
    mark, stale = world.fanout.count_question(), world.log.memberships()
    change = world.move()
    world.broker.hint(change)
    world.broker.deliver(change.sequence)
    world.fanout.apply_memberships([ann], stale, mark)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3]


async def test_an_older_answer_undoes_no_leave():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    mark, stale = world.fanout.count_question(), world.log.memberships()
    change = world.move()
    world.broker.hint(change)
    world.broker.deliver(change.sequence)
    world.fanout.apply_memberships([ann], stale, mark)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3]


async def test_an_answer_without_the_room_takes_nobody_out_before_the_leave_and_nobody_who_joins_meanwhile():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    world.log.commit()
    world.move()
    mark, answer = world.fanout.count_question(), world.log.memberships()
    world.log.commit()
    world.fanout.apply_memberships([ann], answer, mark)
    again = world.move()
    world.broker.hint(again)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3, 4, again.sequence, again.sequence + 1]


async def test_what_tells_of_no_leave_makes_a_member_leave_at_the_head_at_the_latest():
    world = World(told=False)
    await world.start()
    ann = world.connect(ANN)
    world.broker.hint(world.move())
    world.log.commit()
    await world.settle()
    world.move()
    world.log.commit()
    world.fanout.apply_memberships([ann], world.log.memberships(), world.fanout.count_question())
    await world.settle()
    assert (world.received(ann), ROOM in ann.rooms) == ([1, 2, 3, 4], False)
    world.broker.hint(world.changes[0])
    await world.settle()
    assert ROOM not in ann.rooms, "the hint by which it came in once is old"


async def test_a_leave_that_was_only_supposed_is_forgotten_when_a_join_is_heard_of():
    world = World(told=False)
    await world.start()
    ann = world.connect(ANN)
    world.broker.hint(world.move())
    await world.settle()
    world.move()
    mark, again = world.fanout.count_question(), world.move()
    world.log.commit()
    room = world.fanout._rooms.get(NAMESPACE, ROOM)
    assert room is not None
    # The answer without the room is of before she joined again, and the head of after that.
    world.fanout.head_known(room, world.log.head)
    world.fanout.remove_absent(room, ann, world.log.head, mark)
    world.broker.hint(again)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann)[-1] == world.log.head
    assert ROOM in ann.rooms


async def test_of_a_leave_that_is_known_an_answer_tells_nothing_new_and_the_next_join_is_asked_about():
    world, ann = await with_ben()
    asked: list[Connection] = []
    world.fanout.hints.on_uncertain_join = asked.append
    world.broker.deliver(world.move().sequence)
    world.broker.hint(world.move())
    # The answer is there before the leave itself, for which the log is still to be read.
    for _ in range(2):
        mark = world.fanout.count_question()
        world.fanout.apply_memberships([ann], world.log.memberships(), mark)
        world.fanout.remove_absent(
            cast("LocalRoom", world.fanout._rooms.get(NAMESPACE, ROOM)), ann, world.log.head, mark
        )
    await world.settle()
    assert world.received(ann) == [2, 3]
    world.broker.announce(world.move())
    assert asked == [ann]


@pytest.mark.parametrize("ben_is_here", [True, False])
async def test_a_late_hint_of_a_join_lets_nobody_hear_what_followed_the_leave(ben_is_here: bool):
    world = World()
    await world.start()
    world.log.commit("room.created", joins=BEN.user_id)
    join = world.move()
    world.move()
    world.log.commit()
    if ben_is_here:
        world.fanout.enter(world.connect(BEN), ROOM, head=world.log.head)
    ann = world.connect(ANN)
    world.broker.hint(join)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3]
    assert ROOM not in ann.rooms


@pytest.mark.parametrize("opened", [True, False])
async def test_who_was_admitted_just_now_is_asked_about_when_a_join_is_hinted(opened: bool):
    """She may have left between that join and her coming, and would get again what she was sent then."""
    world = World()
    await world.start()
    asked: list[Connection] = []
    world.fanout.hints.on_uncertain_join = asked.append
    world.log.commit("room.created", joins=BEN.user_id)
    join, leave = world.move(), world.move()
    if opened:
        ann = world.connect(ANN, long_ago=False)
        world.broker.hint(join)
    else:
        ann = Connection("sid-ann", cast("Session", None), NAMESPACE, ANN, 0.0)
        world.fanout.enter_user_room(ann)
        world.broker.hint(join)
        world.open(ann)
    world.broker.hint(leave)
    await world.settle()
    assert asked == [ann]
    assert not world.received(ann)
    # Nor is she brought back by what is older than the leave.
    world.broker.hint(join)
    assert asked == [ann]


async def test_of_a_join_and_of_a_leave_where_she_is_already_nobody_is_asked():
    world, _ = await with_ben()
    asked: list[Connection] = []
    world.fanout.hints.on_uncertain_join = asked.append
    join = world.move()
    ann = world.connect(ANN, long_ago=False)
    world.broker.hint(join)
    world.broker.hint(world.move())
    await world.settle()
    assert not asked
    assert ROOM not in ann.rooms


async def test_a_room_that_is_behind_lets_in_nobody_by_a_join_that_may_be_over():
    """She has left before she was admitted, which the room has still to deliver."""
    world = World()
    await world.start()
    asked: list[Connection] = []
    world.fanout.hints.on_uncertain_join = asked.append
    world.log.commit("room.created", joins=BEN.user_id)
    world.fanout.enter(world.connect(BEN), ROOM, head=1)
    await world.settle()
    world.move()
    world.log.commit()
    world.move()
    ann = world.connect(ANN, long_ago=False)
    world.broker.beacon(world.log.head)
    await world.settle()
    assert asked == [ann]
    assert not world.received(ann)


@pytest.mark.parametrize("ben_is_here", [True, False])
async def test_who_comes_back_from_before_a_leave_and_has_joined_again_stays_a_member(ben_is_here: bool):
    """The leave that she is sent of what she missed is not her last word."""
    world = World()
    await world.start()
    world.log.commit("room.created", joins=BEN.user_id)
    world.move()
    world.move()
    joined = world.move().sequence
    if ben_is_here:
        world.fanout.enter(world.connect(BEN), ROOM, head=joined)
    ann = Connection("sid-ann", cast("Session", None), NAMESPACE, ANN, 0.0, state=ConnectionState.OPEN)
    world.fanout.enter_user_room(ann)
    world.fanout.enter(ann, ROOM, head=joined, after=2, joined=joined)
    world.fanout.start_user_room(ann)
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [3, 4, 5]
    assert ROOM in ann.rooms


async def test_an_old_hint_of_a_join_sends_nothing_twice_and_the_log_decides():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    world.broker.deliver(world.move().sequence)
    ann.last_change.clear()  # as if it had been too long ago to be remembered
    world.broker.hint(world.changes[0])
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.received(ann) == [2, 3]
    assert ROOM not in ann.rooms


async def test_a_membership_that_an_answer_brings_back_begins_after_what_was_sent():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    world.broker.deliver(world.log.commit())
    world.fanout.leave(ann, ROOM)
    world.log.commit()
    world.fanout.apply_memberships([ann], world.log.memberships(), world.fanout.count_question())
    await world.settle()
    assert world.received(ann) == [2, 3, 4]


async def test_a_hint_makes_the_room_look_for_its_event():
    world, ann = await with_ben()
    world.broker.hint(world.move())
    await world.settle()
    assert world.received(ann) == [2]
    world.log.commit()
    world.broker.hint(world.move())
    await world.settle()
    assert world.received(ann) == [2, 3, 4]
    assert ROOM not in ann.rooms


async def test_what_is_remembered_of_rooms_that_were_left_is_bounded():
    world = World()
    await world.start()
    ann = world.connect(ANN)
    for number in range(3000):
        for joined, sequence in ((True, 1), (False, 2)):
            subject = subjects.room(NAMESPACE, subjects.user_room(ANN.user_id))
            world.broker.publish(subject, Delivery([], [MembershipChange(f"r{number}", joined, sequence)]).encode())
            items = [RoomEvent("message.sent", b'{"sequence":0}', sequence)]
            world.broker.publish(subjects.room(NAMESPACE, f"r{number}"), Delivery(items).encode())
    assert ann.rooms == {subjects.user_room(ANN.user_id)}
    for kept in (ann.last_change, ann.left or {}, ann.heard_at or {}):
        assert len(kept) <= memory.MAX_LEFT
    await world.fanout.close()


async def test_where_too_much_was_heard_to_remember_an_older_answer_counts_for_nothing():
    world, ann = await with_ben()
    world.broker.deliver(world.move().sequence)
    mark, stale = world.fanout.count_question(), world.log.memberships()
    world.broker.deliver(world.move().sequence)
    for number in range(memory.MAX_LEFT + 1):
        memory.note_change(ann, f"another {number}", 1, mark)
    assert ROOM not in ann.last_change
    world.fanout.apply_memberships([ann], stale, mark)
    await world.settle()
    assert world.received(ann) == [2, 3]
    assert ROOM not in ann.rooms


# -- a log that was restored -------------------------------------------------------------------------------------------


async def test_after_a_restore_of_the_log_members_are_told_and_new_events_arrive():
    world, ann = await with_ben(messages=3)
    world.broker.deliver(world.move().sequence)
    del world.log.events[2:]
    world.log.commit("member.joined", joins=ANN.user_id)
    world.fanout.verify_all()
    await world.settle()
    world.broker.deliver(world.log.commit())
    assert world.sockets.written[ann] == [5, "reset 3", 4]


async def test_a_beacon_that_is_late_resets_nothing_and_one_that_stays_behind_is_looked_into(
    monkeypatch: pytest.MonkeyPatch,
):
    world, ann = await with_ben(messages=3)
    world.broker.deliver(world.move().sequence)
    await world.settle()
    asked = world.broker.asked
    world.broker.beacon(2)
    world.broker.beacon(2)
    await world.settle()
    assert world.broker.asked == asked
    assert world.received(ann) == [5]
    del world.log.events[2:]
    monkeypatch.setattr(heads, "LATE_SECONDS", 0)
    world.broker.beacon(2)
    await world.settle()
    assert world.sockets.written[ann] == [5, "reset 2"]
