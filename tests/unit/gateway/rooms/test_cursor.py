"""Guarantee 4, its pure part: each event at most once, in order, without a gap, and what late joiners lack."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parley.common.wire.rooms import RoomEvent
from parley.gateway.rooms.cursor import MAX_EARLY, UNKNOWN, RoomCursor, following

LOG_LENGTH = 30


def event(sequence: int) -> RoomEvent:
    """The room's event of this sequence."""
    return RoomEvent("message.sent", b"%d" % sequence, sequence)


LOG = [event(sequence) for sequence in range(1, LOG_LENGTH + 1)]
ARRIVALS = st.lists(st.lists(st.integers(1, LOG_LENGTH).map(event), max_size=6), max_size=25)
"""Any loss, any doubling and any order, in deliveries of any size."""
HEADS = st.integers(0, LOG_LENGTH)


@given(HEADS, ARRIVALS)
def test_whatever_arrives_each_event_is_delivered_at_most_once_in_order_without_a_gap(
    start: int, arrivals: list[list[RoomEvent]]
):
    cursor = RoomCursor(start)
    delivered = [item for items in arrivals for item in cursor.accept(items)]
    assert delivered == LOG[start : cursor.head]


@given(HEADS, ARRIVALS, st.integers(1, 7))
def test_once_what_is_missing_has_come_from_the_log_everything_was_delivered(
    start: int, arrivals: list[list[RoomEvent]], page: int
):
    cursor = RoomCursor(start)
    delivered = [item for items in arrivals for item in cursor.accept(items)]
    newest = max([start, *(item.sequence for items in arrivals for item in items)])
    while cursor.behind:
        delivered += cursor.accept(LOG[cursor.head : cursor.head + page])
    assert [item.sequence for item in delivered] == [*range(start + 1, cursor.head + 1)]
    assert cursor.head >= newest


@given(HEADS, ARRIVALS)
def test_a_room_is_behind_exactly_while_an_event_it_heard_of_was_not_delivered(
    start: int, arrivals: list[list[RoomEvent]]
):
    cursor = RoomCursor(start)
    newest = start
    for items in arrivals:
        cursor.accept(items)
        newest = max([newest, *(item.sequence for item in items)])
        assert cursor.behind == (newest > cursor.head)


@given(st.permutations(LOG))
def test_a_complete_room_is_delivered_whole_from_any_order(shuffled: list[RoomEvent]):
    cursor = RoomCursor(0)
    assert [ready for item in shuffled for ready in cursor.accept([item])] == LOG
    assert not cursor.behind


def test_a_head_heard_of_elsewhere_makes_a_room_behind_and_an_older_one_does_not():
    cursor = RoomCursor(5)
    cursor.raise_known(4)
    assert not cursor.behind
    cursor.raise_known(6)
    assert cursor.behind
    cursor.raise_known(2)
    assert cursor.behind
    assert cursor.accept([event(6)]) == [event(6)]
    assert not cursor.behind


def test_signals_without_a_sequence_pass_at_once_and_move_nothing():
    cursor = RoomCursor(3)
    signal = RoomEvent("typing", b"{}")
    assert cursor.accept([signal, event(5), signal]) == [signal, signal]
    assert cursor.head == 3
    assert cursor.accept([event(4)]) == [event(4), event(5)]


@given(ARRIVALS)
def test_with_an_unknown_head_the_first_event_is_delivered_and_from_there_it_is_as_ever(
    arrivals: list[list[RoomEvent]],
):
    cursor = RoomCursor(UNKNOWN)
    assert not cursor.behind
    delivered = [item for items in arrivals for item in cursor.accept(items)]
    heard = [item.sequence for items in arrivals for item in items]
    assert delivered == (LOG[heard[0] - 1 : cursor.head] if heard else [])
    assert cursor.behind == (max(heard, default=UNKNOWN) > cursor.head)


def test_a_learned_head_places_a_room_whose_head_was_unknown_and_nothing_is_missing():
    cursor = RoomCursor(UNKNOWN)
    signal = RoomEvent("typing", b"{}")
    assert cursor.accept([signal]) == [signal]
    assert cursor.head == UNKNOWN, "a signal tells nothing"
    cursor.raise_known(7)
    assert (cursor.head, cursor.behind) == (7, False)
    assert cursor.accept([event(7), event(8)]) == [event(8)]
    cursor.raise_known(10)
    assert cursor.behind


def test_a_room_is_placed_only_once():
    cursor = RoomCursor(UNKNOWN)
    cursor.start(4)
    cursor.start(9)
    assert (cursor.head, cursor.behind) == (4, False)


def test_events_that_are_ahead_are_kept_up_to_a_bound_and_the_others_come_from_the_log():
    cursor = RoomCursor(0)
    beyond = 2 + MAX_EARLY + 100
    assert cursor.accept(event(sequence) for sequence in range(2, beyond)) == []
    ready = cursor.accept([event(1)])
    assert [item.sequence for item in ready] == [*range(1, 2 + MAX_EARLY)]
    assert cursor.behind
    rest = cursor.accept(event(sequence) for sequence in range(cursor.head + 1, beyond))
    assert rest[-1].sequence == beyond - 1
    assert not cursor.behind


def test_what_the_log_does_not_have_is_given_up_on():
    cursor = RoomCursor(5)
    cursor.raise_known(9)
    cursor.lower_known(7)
    assert cursor.known == 7
    cursor.lower_known(3)
    assert not cursor.behind
    assert (cursor.head, cursor.known) == (5, 5)
    assert cursor.accept([event(6)]) == [event(6)], "later events go on as ever"


def test_giving_up_never_makes_a_room_expect_more_than_it_heard_of():
    cursor = RoomCursor(5)
    cursor.lower_known(100)
    assert not cursor.behind


def test_after_a_reset_a_room_begins_anew_and_nothing_that_was_ahead_is_kept():
    cursor = RoomCursor(5)
    cursor.accept([event(8)])
    cursor.reset(2)
    assert (cursor.head, cursor.behind) == (2, False)
    assert cursor.accept([event(3)]) == [event(3)]
    assert cursor.accept(LOG[3:7]) == LOG[3:7]


@given(HEADS, HEADS, st.integers(0, LOG_LENGTH), HEADS, HEADS)
def test_what_follows_has_no_gap_and_ends_at_the_head_or_where_page_and_recent_events_end(
    after: int, head: int, replayed: int, first: int, last: int
):
    page, recent = LOG[after : after + replayed], LOG[first:last]
    reached = after + len(page)
    if first <= reached:
        reached = max(reached, first + len(recent))
    assert following(after, page, recent, head) == LOG[after : min(head, reached)]


@given(HEADS, HEADS, st.integers(0, LOG_LENGTH), st.lists(st.integers(0, LOG_LENGTH), max_size=8))
def test_doubles_and_signals_do_not_disturb_what_follows(after: int, head: int, replayed: int, noise: list[int]):
    page = LOG[after : after + replayed]
    recent = sorted((RoomEvent("e", b"", sequence) if not sequence else event(sequence) for sequence in noise),
                    key=lambda item: item.sequence)  # fmt: skip
    found = following(after, [*page, *page], recent, head)
    assert found == LOG[after : after + len(found)]
