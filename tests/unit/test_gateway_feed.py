"""One room on a gateway: who is let in with which event, who leaves after which, and what is kept meanwhile."""

from __future__ import annotations

import pytest

from parley.common.envelope import Identity, Item
from parley.gateway.connections import Connection
from parley.gateway.feed import RECENT, Feed


def connection(name: str = "ann") -> Connection:
    return Connection(f"sid-{name}", f"eio-{name}", "/chat", Identity(f"u_{name}", name), "127.0.0.1", 0.0)


def event(sequence: int) -> Item:
    return Item("message.sent", b"{}", sequence)


@pytest.fixture
def feed() -> Feed:
    """A room at sequence 10."""
    return Feed("/chat", "r1", 10)


def test_only_who_has_everything_may_go_live_at_once(feed: Feed):
    assert feed.place(connection(), 10)
    assert not feed.place(connection(), 9)
    assert not feed.place(connection(), 11)


def test_a_member_ahead_of_the_gateway_goes_live_with_the_first_event_it_lacks(feed: Feed):
    ann = connection()
    feed.place(ann, 12)
    for sequence, live in [(11, False), (12, False), (13, True)]:
        feed.begin(event(sequence))
        assert (ann in feed.live) == live


def test_signals_let_nobody_in_and_end_no_membership(feed: Feed):
    ann, ben = connection("ann"), connection("ben")
    feed.place(ann, 11)
    feed.departures[ben] = 11
    signal = Item("typing", b"{}")
    feed.begin(signal)
    assert not feed.live
    assert feed.finish(signal) == []


def test_a_departing_member_is_named_with_its_last_event(feed: Feed):
    ann, ben = connection("ann"), connection("ben")
    feed.live |= {ann, ben}
    feed.departures = {ann: 11, ben: 12}
    assert feed.finish(event(10)) == []
    assert feed.finish(event(11)) == [ann]
    feed.remove(ann)
    assert feed.finish(event(12)) == [ben]


def test_a_removed_member_is_forgotten_wherever_it_was(feed: Feed):
    ann, ben = connection("ann"), connection("ben")
    feed.live.add(ann)
    feed.departures[ann] = 12
    feed.place(ben, 11)
    feed.remove(ann)
    feed.remove(ben)
    feed.begin(event(12))
    assert not feed.live
    assert feed.finish(event(12)) == []


def test_recent_events_are_kept_only_while_somebody_needs_them_and_only_so_many(feed: Feed):
    feed.begin(event(11))
    assert not feed.recent
    with feed.keeping_recent():
        with feed.keeping_recent():
            feed.begin(Item("typing", b"{}"))
            feed.begin(event(12))
        assert [item.sequence for item in feed.recent] == [12], "the other still needs it"
        for sequence in range(13, 13 + RECENT):
            feed.begin(event(sequence))
        assert len(feed.recent) == RECENT
        assert feed.recent[-1].sequence == 12 + RECENT
    assert not feed.recent


def test_a_users_own_room_is_told_by_its_name():
    assert Feed("/chat", "user:u_ann", 0).is_user_room
    assert not Feed("/chat", "r1", 0).is_user_room
