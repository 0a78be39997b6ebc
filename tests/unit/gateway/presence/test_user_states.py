"""What users chose by hand, and what they are by their devices here."""

from __future__ import annotations

from typing import cast

from parley.common.wire.identity import Identity
from parley.common.wire.presence import PresentUser
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection
from parley.gateway.presence.user_states import UserChoices, choice_in


def entry(state: str, since: int = 0) -> PresentUser:
    return PresentUser("ann", state, since)


def connection(*, idle: bool) -> Connection:
    return Connection("sid", cast("Session", None), "/chat", Identity("ann", "Ann"), 0.0, idle=idle)


def test_a_choice_is_of_a_user_in_a_namespace_and_lasts_until_it_is_forgotten_or_taken_back():
    choices, desk = UserChoices(), connection(idle=True)
    choices.set("/other", "ann", "dnd", 1)
    choices.set("/chat", "ben", "dnd", 1)
    assert choices.entry("ann", [desk]) == entry("away")
    assert choices.entry("ann", [desk, connection(idle=False)]) == entry("online")
    choices.set("/chat", "ann", "invisible", 7)
    assert choices.entry("ann", [desk]) == entry("invisible", 7)
    assert choices.entry("ann", []) is None
    choices.set("/chat", "ann", "nonsense", 8)
    assert choices.entry("ann", [desk]) == entry("invisible", 7)
    choices.set("/chat", "ann", "automatic", 9)
    assert choices.entry("ann", [desk]) == entry("away")


def test_what_a_client_names_at_connect_is_one_of_the_choices_or_nothing():
    assert choice_in({"presence": "invisible"}) == "invisible"
    for nonsense in ({}, {"presence": "here"}, {"presence": ["dnd"]}, {"presence": {"a": 1}}, {"presence": None}):
        assert not choice_in(nonsense)
