"""Offsets against a plain list of everything sent: what a returning connection lacks, no more and no less."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.common.wire.rooms import UnloggedEvent
from parley.gateway.recovery import packet_history as offsets_module
from parley.gateway.recovery.packet_history import PacketHistory, with_offset

LOGGED = ("chat", "news")
UNLOGGED = ("lobby", "game")
SIDS = ("me", "you")


class Send(NamedTuple):
    """One event as the gateway sends it."""

    rooms: tuple[str, ...] | None
    sid: str = ""
    excepted: tuple[str, ...] = ()
    logged: bool = False
    back: int = 0
    """How far behind the room's head a logged event for one connection is."""

    def reaches(self, sid: str, rooms: set[str]) -> bool:
        """Whether a connection gets it."""
        if self.sid:
            return self.sid == sid
        return not rooms & set(self.excepted) and (self.rooms is None or bool(rooms & set(self.rooms)))


anywhere = st.lists(st.sampled_from(UNLOGGED + LOGGED + SIDS), max_size=3).map(tuple)
logs, sids = st.sampled_from(LOGGED), st.sampled_from(SIDS)
sends = st.one_of(
    logs.map(lambda room: Send((room,), logged=True)),
    st.tuples(logs, sids, st.integers(0, 5)).map(lambda t: Send((t[0],), t[1], logged=True, back=t[2])),
    st.tuples(anywhere, anywhere).map(lambda t: Send(t[0] or None, excepted=t[1])),
    sids.map(lambda sid: Send(None, sid)),
)


class Ledger:
    """Everything sent, and what each event was numbered."""

    def __init__(self) -> None:
        self.history = PacketHistory("gateway1.run")
        self.sent: list[tuple[Send, int, UnloggedEvent | None]] = []
        self.heads: dict[str, int] = dict.fromkeys(LOGGED, 0)

    def send(self, send: Send) -> str:
        """Send it: to a room the next event of its log, to one connection an earlier one once more."""
        if not send.logged:
            missed = UnloggedEvent("event", str(len(self.sent)).encode())
            self.sent.append((send, 0, missed))
            return self.history.add(send.rooms, sid=send.sid, except_rooms=send.excepted, missed=missed)
        assert send.rooms is not None
        (room,) = send.rooms
        if not send.sid or not self.heads[room]:  # the room has an event before one connection gets it once more
            self.heads[room] += 1
        sequence = max(self.heads[room] - send.back, 1)
        self.sent.append((send, sequence, None))
        return self.history.add(send.rooms, sequence=sequence, sid=send.sid)


@given(
    history=st.lists(sends, max_size=40),
    received=st.integers(0, 40),
    mine=st.sets(st.sampled_from(LOGGED + UNLOGGED)),
)
def test_what_a_connection_lacks_is_everything_sent_to_it_after_the_last_it_received(
    history: list[Send], received: int, mine: set[str]
):
    ledger = Ledger()
    numbers = ["", *(ledger.send(send) for send in history)]
    received = min(received, len(history))
    rooms = {*mine, "me"}
    number = ledger.history.parse(numbers[received], 0)
    assert number == received
    heads = {room: ledger.heads[room] for room in LOGGED if room in mine}
    lacks = ledger.history.missed_after(number, "me", heads, rooms)
    assert lacks is not None
    cursors, missed = lacks
    later = [entry for entry in ledger.sent[received:] if entry[0].reaches("me", rooms)]
    assert missed == [event for _, _, event in later if event is not None]
    assert set(cursors) == set(heads)
    for room, cursor in cursors.items():
        unseen = [sequence for send, sequence, event in later if event is None and send.rooms == (room,)]
        assert cursor == min((sequence - 1 for sequence in unseen), default=heads[room])


@given(st.integers(0, 12), st.integers(1, 20))
def test_who_was_away_for_longer_than_is_remembered_cannot_be_told(received: int, sent: int):
    ledger = Ledger()
    limit = 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsets_module, "LIMIT", limit)
        ledger.history = PacketHistory("gateway1.run")
    for _ in range(sent):
        ledger.send(Send(("lobby",)))
    lacks = ledger.history.missed_after(received, "me", {}, {"lobby"})
    if received > sent or sent - received > limit:
        assert lacks is None
    else:
        assert lacks is not None
        assert len(lacks[1]) == sent - received


def test_what_is_remembered_is_bounded_in_bytes_and_given_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(offsets_module, "MAX_BYTES", 100_000)
    history = PacketHistory("gateway1.run")
    for _ in range(50):
        history.add(("lobby", "me"), missed=UnloggedEvent("e", bytes(5_000), (bytes(5_000),)))
    assert 80_000 < history.bytes <= 100_000
    lacks = history.missed_after(45, "me", {}, {"lobby", "me"})
    assert lacks is not None
    assert len(lacks[1]) == 5, "each once, though it went to two rooms"
    assert history.missed_after(10, "me", {}, {"lobby"}) is None
    for number in range(1000):
        history.add((f"room {number}",), sequence=1)
    assert history.bytes <= 100_000
    assert "lobby" not in history._unlogged, "nothing is left of a room whose events are forgotten"
    assert len(history._logged) < 500


def test_what_is_lacked_is_found_without_looking_at_what_others_were_sent():
    history = PacketHistory("gateway1.run")
    for number in range(50_000):
        history.add((f"room {number % 2000}",), sequence=number // 2000 + 1)
    mine = {f"room {number}" for number in range(20)}

    class Counting(list[int]):
        looked_at = 0

        def __getitem__(self, index: Any) -> Any:
            Counting.looked_at += 1
            return super().__getitem__(index)

    for sent in history._logged.values():
        sent._numbers = Counting(sent._numbers)
    lacks = history.missed_after(40_000, "me", dict.fromkeys(mine, 25), mine)
    assert lacks == (dict.fromkeys(mine, 20), [])
    assert Counting.looked_at <= 20 * 8


@pytest.mark.parametrize("offset", ["", "x", "gateway1.run", "gateway1.run-", "gateway1.run-xyz", "gateway2.run-1"])
def test_an_offset_that_is_not_from_here_counts_for_nothing(offset: str):
    history = PacketHistory("gateway1.run")
    history.add(None)
    assert history.parse(offset, 7) == 7


def test_numbers_are_parsed_as_they_were_written():
    history = PacketHistory("gate-way.r-un")
    written = [history.add(None) for _ in range(300)]
    assert [history.parse(offset, 0) for offset in written] == list(range(1, 301))


@pytest.mark.parametrize(
    ("args", "expected"), [(b"[]", b'["run-1"]'), (b"[1]", b'[1,"run-1"]'), (b'[{"a":[]},2]', b'[{"a":[]},2,"run-1"]')]
)
def test_an_offset_is_the_last_argument(args: bytes, expected: bytes):
    assert with_offset(args, "run-1") == expected


def test_how_far_a_room_was_delivered_is_remembered_as_long_as_its_last_event(monkeypatch: pytest.MonkeyPatch):
    history = PacketHistory("gateway")
    monkeypatch.setattr(history, "_limit", 2)
    assert history.delivered("room") == 0
    history.add(("room",), sequence=7)
    history.add(("room",), sequence=8, sid="one connection alone")
    assert history.delivered("room") == 7
    history.add(("other",), sequence=1)
    assert history.delivered("room") == 0


def test_what_a_connection_was_sent_by_itself_it_does_not_lack_when_others_are_sent_it_later():
    history = PacketHistory("gateway")
    history.add(("room",), sequence=11, sid="ben")
    received = history.number
    history.add(("room",), sequence=11)
    assert history.missed_after(received, "ben", {"room": 11}, ["room"]) == ({"room": 11}, [])
    assert history.missed_after(0, "ben", {"room": 11}, ["room"]) == ({"room": 10}, [])
