"""One room on a gateway: who is let in with which event, who leaves after which, and what is kept meanwhile."""

from __future__ import annotations

import itertools
from typing import cast

import pytest

from parley.common.wire.identity import Identity
from parley.common.wire.rooms import RoomEvent
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms import member_state
from parley.gateway.rooms.cursor import UNKNOWN
from parley.gateway.rooms.local_room import RECENT, RECENT_BYTES, LocalRoom
from parley.gateway.rooms.member_state import MAX_CHANGES, CatchingUp, Live, MemberState, ScheduledChange, WaitingToJoin


def connection(name: str = "ann") -> Connection:
    return Connection(f"sid-{name}", cast("Session", None), "/chat", Identity(f"u_{name}", name), 0.0)


def event(sequence: int, *, joins: str = "", leaves: str = "") -> RoomEvent:
    return RoomEvent("message.sent", b"{}", sequence, joined_user=joins, left_user=leaves)


def room(name: str, head: int) -> LocalRoom:
    return LocalRoom("/chat", name, head, lambda _feed, _data: None)


@pytest.fixture
def local() -> LocalRoom:
    """A room at sequence 10."""
    return room("r1", 10)


def delivered(local: LocalRoom, sequence: int, joining: list[Connection] | None = None) -> list[Connection]:
    """Deliver an event; returns who is gone after it."""
    local.cursor.accept([event(sequence)])
    local.before_event(event(sequence), joining or ())
    return local.after_event(event(sequence))


# -- the table of states, against a model ------------------------------------------------------------------------------

HEAD, LAST = 2, 6
"""The room is at 2 when the history begins, and delivers everything up to 6."""


@pytest.mark.parametrize("told", [True, False], ids=["the log says who moves", "only hints do"])
@pytest.mark.parametrize(
    "moves", [stays for size in range(1, 5) for stays in itertools.combinations(range(1, LAST + 1), size)], ids=str
)
def test_in_every_history_a_member_gets_exactly_its_stays(moves: tuple[int, ...], told: bool):
    """`moves` are the events with which it joins, leaves, joins... All are heard of before the room gets there."""
    pairs = [*itertools.zip_longest(moves[::2], moves[1::2], fillvalue=LAST)]
    stays = [number for number in range(1, LAST + 1) if any(first <= number <= last for first, last in pairs)]
    for history in itertools.product(("deliver", "send", "hear"), repeat=6):
        got = play(moves, history, told=told)
        if got is not None:
            assert got == stays, history


def play(moves: tuple[int, ...], history: tuple[str, ...], *, told: bool) -> list[int] | None:
    """What a member is sent. None for a history in which the room is ahead of what was heard, and no log tells."""
    state: MemberState | None = None
    head, heard, got = HEAD, 0, list[int]()

    def joins(sequence: int) -> bool:
        return told and sequence in moves[::2]

    def leaves(sequence: int) -> bool:
        return told and sequence in moves[1::2]

    def hear() -> None:
        nonlocal state, heard
        if heard < len(moves):
            at, joined = moves[heard], heard % 2 == 0
            state = member_state.join(state, at - 1, head) if joined else member_state.leave(state, at, head)
            heard += 1

    def send() -> None:
        nonlocal state
        if isinstance(state, CatchingUp):
            sequence = state.after + 1
            got.append(sequence)
            state = member_state.sent(state, sequence, head, joins=joins(sequence), leaves=leaves(sequence))

    def deliver() -> None:
        nonlocal state, head
        head += 1
        state = member_state.before_event(state, head, joins=joins(head))
        if isinstance(state, Live):
            got.append(head)
        state = member_state.after_event(state, head, leaves=leaves(head))

    hear()
    for step in history:
        if step == "hear":
            hear()
        elif step == "send":
            send()
        elif head < LAST:
            if heard < len(moves) and moves[heard] <= head + 1:
                return None  # a hint that is later than its event is the fanout's concern
            deliver()
    while heard < len(moves):
        hear()
    for _ in range(2 * LAST):
        send()
        if head < LAST:
            deliver()
    assert (state is None) == (len(moves) % 2 == 0)
    return got


def test_a_leave_that_is_only_supposed_is_forgotten_with_any_join_that_is_not_before_it():
    state = member_state.leave(Live(), 14, 10, supposed=True)
    assert state == Live((ScheduledChange(14, joined=False, supposed=True),))
    assert member_state.join(state, 11, 10) == Live((ScheduledChange(12, joined=True),))
    assert member_state.before_event(state, 11, joins=True) == Live()
    assert member_state.after_event(state, 14, leaves=False) is None
    certain = member_state.leave(Live(), 14, 10)
    assert member_state.join(certain, 11, 10) == Live(
        (ScheduledChange(12, joined=True), ScheduledChange(14, joined=False))
    )


def test_of_very_many_changes_to_come_the_first_ones_and_the_last_are_kept():
    state: MemberState | None = Live()
    for sequence in range(20, 20 + 2 * MAX_CHANGES):
        state = member_state.join(state, sequence, 10)
    assert isinstance(state, Live)
    assert len(state.changes) == MAX_CHANGES
    assert state.changes[-1].sequence == 20 + 2 * MAX_CHANGES


# -- a room ------------------------------------------------------------------------------------------------------------


def test_who_has_everything_goes_live_at_once_and_who_lacks_something_is_caught_up(local: LocalRoom):
    ann, ben, cleo = connection("ann"), connection("ben"), connection("cleo")
    assert [local.join(ann, 10), local.join(ben, 9), local.join(cleo, 11)] == [False, True, False]
    assert local.live.keys() == {ann}
    assert set(local.members) == {ann, ben, cleo}
    assert [local.delivered_up_to(member) for member in (ann, ben, cleo)] == [10, 9, 11]


def test_a_member_ahead_of_the_gateway_goes_live_with_the_first_event_it_lacks(local: LocalRoom):
    ann = connection()
    local.join(ann, 12)
    for sequence, live in [(11, False), (12, False), (13, True)]:
        delivered(local, sequence)
        assert (ann in local.live) == live


def test_who_came_back_ahead_of_the_gateway_is_not_let_in_by_a_join_of_their_own_that_they_have(local: LocalRoom):
    ann = connection()
    assert not local.join(ann, 12, sent=12)
    delivered(local, 11, [ann])
    assert ann not in local.live
    assert local.delivered_up_to(ann) == 12
    delivered(local, 12)
    delivered(local, 13)
    assert ann in local.live


def test_a_departing_member_is_gone_after_its_last_event(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    for member, last in ((ann, 11), (ben, 12)):
        local.join(member, 10)
        assert not local.leave(member, last)
    assert delivered(local, 11) == [ann]
    assert local.live.keys() == set(local.members) == {ben}
    assert delivered(local, 12) == [ben]


def test_a_leave_that_has_been_delivered_takes_effect_at_once(local: LocalRoom):
    ann = connection()
    local.join(ann, 10)
    assert local.leave(ann, 10)
    assert local.empty


def test_who_is_caught_up_is_live_with_the_rooms_last_event_and_leaves_where_the_log_says(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    local.join(ann, 8)
    local.join(ben, 8)
    assert not local.sent(ann, event(9))
    assert not local.live
    assert not local.sent(ann, event(10))
    assert local.live.keys() == {ann}
    assert local.sent(ben, event(9, leaves=ben.identity.user_id)), "gone"
    assert local.members == [ann]
    assert not local.sent(ben, event(10)), "it is not a member any more"


def test_a_join_that_is_heard_of_while_a_member_is_caught_up_to_its_leave_brings_it_back(local: LocalRoom):
    ann = connection()
    local.join(ann, 8)
    delivered(local, 11, [ann])
    assert not local.sent(ann, event(9, leaves=ann.identity.user_id))
    assert local.catching_up(ann) == CatchingUp(10)


def test_a_removed_member_is_forgotten_wherever_it_was(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    local.join(ann, 10)
    local.leave(ann, 12)
    local.join(ben, 11)
    local.remove(ann)
    assert local.leave(ben, 0)
    assert local.empty
    assert delivered(local, 11) == delivered(local, 12) == []
    assert not local.live


def test_everybody_gets_the_same_unless_somebody_moves_or_is_left_out(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    local.join(ann, 10)
    plain = [event(11), event(12)]
    assert local.changes_nothing(plain)
    assert not local.changes_nothing([event(11), event(12, joins="u")])
    assert not local.changes_nothing([RoomEvent("typing", b"{}", except_sid="x")])
    local.join(ben, 3)
    assert local.changes_nothing(plain), "who is caught up does not disturb"
    local.leave(ann, 12)
    assert not local.changes_nothing(plain)
    delivered(local, 11)
    delivered(local, 12)
    assert local.changes_nothing([event(13)])


def test_recent_events_are_kept_only_while_somebody_is_caught_up_and_only_so_many(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    delivered(local, 11)
    local.keep_recent([event(11)])
    assert not local.recent
    local.join(ann, 3)
    local.join(ben, 3)
    local.keep_recent([RoomEvent("typing", b"{}"), event(12)])
    local.remove(ann)
    assert [item.sequence for item in local.recent] == [12], "the other still needs it"
    local.keep_recent([event(sequence) for sequence in range(13, 13 + RECENT)])
    assert len(local.recent) == RECENT
    assert local.recent[-1].sequence == 12 + RECENT
    local.keep_recent([RoomEvent("message.sent", bytes(RECENT_BYTES // 2), 13 + RECENT + n) for n in range(3)])
    assert len(local.recent) == 2
    local.remove(ben)
    assert not local.recent


def test_who_waits_to_be_let_in_is_a_member_and_hears_nothing(local: LocalRoom):
    ann = connection()
    local.register(ann)
    assert ann in local
    assert not local.empty
    assert not local.live
    local.let_in(ann)
    assert local.live.keys() == set(local.members) == {ann}


def test_after_a_restore_of_the_log_everybody_is_live_from_its_end_on(local: LocalRoom):
    ann, ben, cleo = connection("ann"), connection("ben"), connection("cleo")
    local.join(ann, 10)
    local.join(ben, 3)
    local.join(cleo, 12)
    assert set(local.reset(7)) == {ann, ben, cleo}
    assert local.live.keys() == {ann, ben, cleo}
    assert local.cursor.head == 7


def test_a_message_is_handed_on_with_the_room_it_is_for():
    heard: list[tuple[LocalRoom, bytes]] = []
    local = LocalRoom("/chat", "r1", 0, lambda local, data: heard.append((local, data)))
    local(b"news")
    assert heard == [(local, b"news")]


def test_in_a_room_without_a_known_head_everybody_is_live_and_a_plain_leave_takes_effect_at_once():
    local, ann = room("r1", UNKNOWN), connection()
    assert not local.join(ann, local.cursor.head)
    assert local.live.keys() == {ann}
    assert local.leave(ann, 0)
    assert local.empty


def test_a_users_own_room_is_told_by_its_name():
    assert room("user:u_ann", 0).is_user_room
    assert not room("r1", 0).is_user_room


def test_who_waits_to_join_stays_out_when_an_earlier_leave_is_heard_of():
    waiting = member_state.join(None, 14, 10)
    assert waiting == WaitingToJoin((ScheduledChange(15, joined=True),))
    assert member_state.leave(waiting, 12, 10) == waiting


def test_who_came_back_ahead_of_the_gateway_and_hears_again_of_the_join_before_that_keeps_its_place(local: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    local.join(ann, 14, sent=14)
    local.join(ann, 11)  # the service names the join with which it is a member at all
    assert local.delivered_up_to(ann) == 14
    # A join that it had heard of by itself, of an event before its place.
    local.join(ben, 11, sent=14)
    assert local.delivered_up_to(ben) == 14
