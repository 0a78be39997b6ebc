"""Who looks at rooms: how much, how often, and what is left to be told."""

from __future__ import annotations

from typing import cast

from parley.common.errors import Code
from parley.common.wire.identity import Identity
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection
from parley.gateway.presence.lookers import LOOKS_BURST, LOOKS_PER_SECOND, MAX_LOOKS, YOUNG, Lookers
from parley.gateway.presence.peer_gateways import RoomKey

LOBBY = RoomKey(("/chat", "lobby"))


def connection(user_id: str = "ann") -> Connection:
    return Connection(f"sid of {user_id}", cast("Session", None), "/chat", Identity(user_id, user_id), 0.0)


def test_a_connection_looks_at_so_many_rooms_and_at_one_of_them_again():
    lookers, ann = Lookers(), connection()
    for number in range(MAX_LOOKS):
        assert lookers.refusal(ann, ("/chat", f"r{number}"), number) is None
        lookers.add(ann, ("/chat", f"r{number}"), number)
    assert lookers.refusal(ann, LOBBY, 1000) is Code.LIMIT_EXCEEDED
    assert lookers.refusal(ann, ("/chat", "r7"), 1000) is None
    lookers.remove(ann, ("/chat", "r7"))
    assert lookers.refusal(ann, LOBBY, 1000) is None
    lookers.leave(ann)
    assert not lookers.of(("/chat", "r8"))


def test_a_user_begins_to_look_so_often_with_all_connections():
    lookers = Lookers()
    for _ in range(LOOKS_BURST):
        assert lookers.refusal(connection(), LOBBY, 0) is None
    assert lookers.refusal(connection(), LOBBY, 0) is Code.RATE_LIMITED
    assert lookers.refusal(connection("ben"), LOBBY, 0) is None
    assert lookers.refusal(connection(), LOBBY, 1.01 / LOOKS_PER_SECOND) is None


def test_what_changes_while_an_answer_is_on_its_way_is_told_again_when_it_has_arrived():
    lookers, ann = Lookers(), connection()
    lookers.add(ann, LOBBY, 0)
    looker = lookers.of(LOBBY)[ann]
    lookers.told(LOBBY, ann, looker, ["ben"], 1)
    assert lookers.any_unsettled
    assert not list(lookers.unsettled(YOUNG - 0.1))
    assert list(lookers.unsettled(YOUNG)) == [(LOBBY, ann, looker)]
    assert looker.again == {"ben"}
    lookers.settled(LOBBY, ann, looker)
    lookers.told(LOBBY, ann, looker, ["ben"], YOUNG)
    assert not lookers.any_unsettled


def test_who_missed_something_is_left_until_all_was_told_or_it_looks_no_more():
    lookers, ann = Lookers(), connection()
    lookers.add(ann, LOBBY, 0)
    looker = lookers.of(LOBBY)[ann]
    lookers.missed(LOBBY, ann, looker)
    assert list(lookers.unsettled(0)) == [(LOBBY, ann, looker)]
    assert looker.stale
    lookers.leave(ann)
    assert not lookers.any_unsettled
