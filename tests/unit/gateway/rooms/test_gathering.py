"""Events that may wait for each other: in order, each once, and never more than so many bytes."""

from __future__ import annotations

import pytest

from parley.common.wire.rooms import RoomEvent
from parley.gateway.rooms import gathering
from parley.gateway.rooms.gathering import MOST_BYTES, Gathering
from parley.gateway.rooms.local_room import LocalRoom
from tests.support.waiting import until


def room_of(name: str = "r") -> LocalRoom:
    return LocalRoom("/n", name, 0, lambda _room, _data: None)


def events(*sequences: int, may_wait: bool = True, size: int = 2) -> list[RoomEvent]:
    return [RoomEvent("reaction.added", b"x" * size, sequence, may_wait=may_wait) for sequence in sequences]


def sequences(found: list[RoomEvent]) -> list[int]:
    return [event.sequence for event in found]


async def test_the_first_goes_at_once_and_the_others_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathering, "SECONDS", 0.01)
    delivered: list[list[int]] = []
    gathered = Gathering(lambda _room, found: delivered.append(sequences(found)))
    room = room_of()
    assert sequences(gathered.take(room, events(1))) == [1]
    assert gathered.take(room, events(2)) == []
    assert gathered.take(room, events(3, 4)) == []
    await until(lambda: delivered == [[2, 3, 4]], "their time is over")
    at_once = gathered.take(room, events(5))
    await until(lambda: sequences(at_once) == [5] or delivered[1:] == [[5]], "the next one, in either way, once")


async def test_what_may_not_wait_goes_at_once_behind_what_waits():
    gathered = Gathering(lambda _room, _found: pytest.fail("nothing is left to wait"))
    room, other = room_of(), room_of("other")
    assert sequences(gathered.take(room, events(1, may_wait=False))) == [1]
    gathered.take(room, events(2))
    gathered.take(room, events(3))
    assert sequences(gathered.take(other, events(9, may_wait=False))) == [9], "rooms do not wait for each other"
    assert sequences(gathered.take(room, [*events(4), *events(5, may_wait=False)])) == [3, 4, 5]
    gathered.take(room, events(6))
    assert sequences(gathered.flush(room)) == [6]
    assert gathered.flush(room) == []
    gathered.take(room, events(7))
    gathered.forget(room)
    assert gathered.flush(room) == []


async def test_bytes_that_wait_are_bounded():
    gathered = Gathering(lambda _room, _found: None)
    room = room_of()
    gathered.take(room, events(1))
    assert gathered.take(room, events(2, size=MOST_BYTES)) == []
    assert sequences(gathered.take(room, events(3, size=1))) == [2, 3]
