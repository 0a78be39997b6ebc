"""One room on a gateway: who is let in with which event, who leaves after which, and what is kept meanwhile."""

from __future__ import annotations

from typing import cast

import pytest

from parley.common.wire.identity import Identity
from parley.common.wire.rooms import RoomEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.engineio.session import Session
from parley.gateway.rooms.cursor import UNKNOWN
from parley.gateway.rooms.local_room import RECENT, LocalRoom


def connection(name: str = "ann") -> Connection:
    return Connection(f"sid-{name}", cast("Session", None), "/chat", Identity(f"u_{name}", name), 0.0)


def event(sequence: int) -> RoomEvent:
    return RoomEvent("message.sent", b"{}", sequence)


def room(name: str, head: int) -> LocalRoom:
    return LocalRoom("/chat", name, head, lambda _feed, _data: None)


@pytest.fixture
def feed() -> LocalRoom:
    """A room at sequence 10."""
    return room("r1", 10)


def test_who_has_everything_goes_live_at_once_and_who_lacks_something_is_caught_up(feed: LocalRoom):
    ann, ben, cleo = connection("ann"), connection("ben"), connection("cleo")
    assert [feed.join(ann, 10), feed.join(ben, 9), feed.join(cleo, 11)] == [False, True, False]
    assert feed.live == {ann}
    assert set(feed.members) == {ann, ben, cleo}


def test_a_member_ahead_of_the_gateway_goes_live_with_the_first_event_it_lacks(feed: LocalRoom):
    ann = connection()
    feed.join(ann, 12)
    for sequence, live in [(11, False), (12, False), (13, True)]:
        feed.begin(event(sequence))
        assert (ann in feed.live) == live


def test_signals_let_nobody_in_and_end_no_membership(feed: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    feed.join(ann, 11)
    feed.join(ben, 10)
    assert not feed.leave(ben, 11)
    signal = RoomEvent("typing", b"{}")
    feed.begin(signal)
    assert feed.live == {ben}
    assert feed.finish(signal) == []


def test_a_departing_member_is_gone_after_its_last_event(feed: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    for member, last in ((ann, 11), (ben, 12)):
        feed.join(member, 10)
        assert not feed.leave(member, last)
    assert feed.finish(event(11)) == [ann]
    assert feed.live == set(feed.members) == {ben}
    assert feed.finish(event(12)) == [ben]


def test_who_leaves_and_joins_again_stays_a_member_and_misses_what_lies_between(feed: LocalRoom):
    ann = connection()
    feed.join(ann, 10)
    feed.leave(ann, 11)
    assert not feed.join(ann, 13)
    heard: list[int] = []
    for sequence in range(11, 16):
        feed.begin(event(sequence))
        heard += [sequence] if ann in feed.live else []
        assert feed.finish(event(sequence)) == []
    assert heard == [11, 14, 15]


def test_a_leave_that_has_been_delivered_takes_effect_at_once(feed: LocalRoom):
    ann = connection()
    feed.join(ann, 10)
    assert feed.leave(ann, 10)
    assert feed.empty


def test_a_removed_member_is_forgotten_wherever_it_was(feed: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    feed.join(ann, 10)
    feed.leave(ann, 12)
    feed.join(ben, 11)
    feed.remove(ann)
    feed.remove(ben)
    assert feed.empty
    feed.begin(event(12))
    assert not feed.live
    assert feed.finish(event(12)) == []


def test_recent_events_are_kept_only_while_somebody_is_caught_up_and_only_so_many(feed: LocalRoom):
    feed.begin(event(11))
    assert not feed.recent
    with feed.catching_up(connection("ann"), 0):
        with feed.catching_up(connection("ben"), 0):
            feed.begin(RoomEvent("typing", b"{}"))
            feed.begin(event(12))
        assert [item.sequence for item in feed.recent] == [12], "the other still needs it"
        for sequence in range(13, 13 + RECENT):
            feed.begin(event(sequence))
        assert len(feed.recent) == RECENT
        assert feed.recent[-1].sequence == 12 + RECENT
    assert not feed.recent


def test_catching_up_is_over_when_the_member_is_removed_meanwhile(feed: LocalRoom):
    ann = connection()
    feed.join(ann, 3)
    with feed.catching_up(ann, 0) as mark:
        assert feed.is_catching_up(ann, mark)
        feed.remove(ann)
        assert not feed.is_catching_up(ann, mark)


def test_who_is_removed_while_being_caught_up_does_not_disturb_whoever_else_is(feed: LocalRoom):
    ann, ben = connection("ann"), connection("ben")
    feed.join(ann, 3)
    feed.join(ben, 4)
    with feed.catching_up(ann, 0):
        with feed.catching_up(ben, 0) as mark:
            feed.remove(ann)
            feed.begin(event(11))
            assert [item.sequence for item in feed.recent] == [11]
            assert feed.is_catching_up(ben, mark)
        assert not feed.recent
    assert feed.members == [ben]


def test_who_waits_to_be_let_in_is_a_member_and_hears_nothing(feed: LocalRoom):
    ann = connection()
    feed.register(ann)
    assert ann in feed
    assert not feed.empty
    assert not feed.live
    feed.let_in(ann)
    assert feed.live == set(feed.members) == {ann}
    feed.register(ann)
    assert feed.live == {ann}, "already here"


def test_a_message_is_handed_on_with_the_room_it_is_for():
    heard: list[tuple[LocalRoom, bytes]] = []
    feed = LocalRoom("/chat", "r1", 0, lambda feed, data: heard.append((feed, data)))
    feed(b"news")
    assert heard == [(feed, b"news")]


def test_in_a_room_without_a_known_head_everybody_is_live_and_a_plain_leave_takes_effect_at_once():
    feed, ann = room("r1", UNKNOWN), connection()
    assert not feed.join(ann, feed.cursor.head)
    assert feed.live == {ann}
    assert feed.leave(ann, 0)
    assert feed.empty


def test_a_users_own_room_is_told_by_its_name():
    assert room("user:u_ann", 0).is_user_room
    assert not room("r1", 0).is_user_room
