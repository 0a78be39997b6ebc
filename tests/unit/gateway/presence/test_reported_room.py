"""A room that is looked at, as this gateway tells of its own connections there."""

from __future__ import annotations

from parley.common.wire.presence import PresentUser
from parley.gateway.presence.reported_room import ReportedRoom


def test_gateways_are_told_what_has_changed_and_new_ones_everything():
    here = {"ann": PresentUser("ann", "online"), "ben": PresentUser("ben", "away")}
    room = ReportedRoom()
    room.compare(here)
    room.begin("a")
    changes, new = room.report(here.get)
    assert (changes, new) == ([*here.values()], {"a"})
    assert list(room.told.values()) == changes
    room.reported()
    assert room.gateways == {"a"}
    room.changed(["ann", "ben", "nobody"])
    assert room.report(here.get)[0] == []
    here["ann"] = PresentUser("ann", "dnd", 7)
    del here["ben"]
    room.changed(["ann", "ben"])
    room.begin("b")
    assert room.report(here.get) == ([PresentUser("ann", "dnd", 7), PresentUser("ben", "offline")], {"b"})
    room.reported()
    assert room.gateways == {"a", "b"}
    room.end("a")
    room.end("b")
    assert not room.looked_at


def test_what_nobody_noticed_is_found_by_a_comparison():
    here = {"ann": PresentUser("ann", "online")}
    room = ReportedRoom()
    room.compare(here)
    room.report(here.get)
    here["ben"] = PresentUser("ben", "online")
    del here["ann"]
    assert room.report(here.get)[0] == []
    room.compare(here)
    assert room.report(here.get)[0] == [PresentUser("ann", "offline"), PresentUser("ben", "online")]


def test_a_gateway_tells_of_so_many_and_no_more():
    here = {f"u{number}": PresentUser(f"u{number}", "online") for number in range(5)}
    room = ReportedRoom(most=3)
    room.compare(here)
    assert len(room.report(here.get)[0]) == 3
    del here["u0"]
    room.compare(here)
    assert room.report(here.get)[0] == [PresentUser("u0", "offline"), PresentUser("u3", "online")]
