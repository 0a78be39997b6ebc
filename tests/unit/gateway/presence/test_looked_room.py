"""A room that is looked at: what its lookers are told adds up to who is there."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from parley.common.wire.presence import PresentUser, UserPresence, shown_state
from parley.gateway.presence.looked_room import LookedRoom

LINGER = 4.0


def online(*user_ids: str) -> list[PresentUser]:
    return [PresentUser(user_id, "online") for user_id in user_ids]


def gone(*user_ids: str) -> list[PresentUser]:
    return [PresentUser(user_id, "offline") for user_id in user_ids]


def told(changes: Iterable[UserPresence] | None) -> dict[str, str] | None:
    return None if changes is None else {user.id: user.state for user in changes}


def test_a_user_on_two_gateways_counts_once_and_goes_with_the_last():
    room = LookedRoom(LINGER)
    room.put("a", online("ann", "ben"), whole=True)
    room.put("b", online("ben"), whole=True)
    assert told(room.settle(0)) == {"ann": "online", "ben": "online"}
    assert room.count == 2
    room.put("a", gone("ben"), whole=False)
    assert room.settle(1) is None
    room.put("b", gone("ben"), whole=False)
    assert room.settle(2) is None
    assert room.due == 2 + LINGER
    assert told(room.settle(2 + LINGER)) == {"ben": "offline"}
    assert room.due is None


def test_who_is_back_in_time_was_never_gone():
    room = LookedRoom(LINGER)
    room.put("a", online("ann"), whole=True)
    room.settle(0)
    assert room.drop("a")
    assert not room.drop("a")
    assert room.settle(1) is None
    room.put("b", online("ann"), whole=True)
    assert room.settle(4) is None
    assert room.settle(100) is None
    assert room.count == 1


def test_who_has_gone_is_told_of_in_time_though_others_went_later():
    room = LookedRoom(LINGER)
    room.put("a", online("ann", "ben"), whole=True)
    room.settle(0)
    room.put("a", gone("ann"), whole=False)
    room.settle(1)
    room.put("a", gone("ben"), whole=False)
    room.settle(3)
    assert told(room.settle(5)) == {"ann": "offline"}
    assert told(room.settle(7)) == {"ben": "offline"}


def test_who_does_not_want_to_be_seen_is_gone_at_once():
    room = LookedRoom(LINGER)
    room.put("a", online("ann"), whole=True)
    room.settle(0)
    room.put("b", [PresentUser("ann", "invisible", 9)], whole=True)
    assert told(room.settle(1)) == {"ann": "offline"}
    assert room.count == 0


def test_of_very_many_some_are_shown_and_others_take_their_places():
    room = LookedRoom(LINGER, most=2)
    room.put("a", online("ann", "ben", "cem", "dan"), whole=True)
    assert told(room.settle(0)) == {"ann": "online", "ben": "online"}
    assert room.count == 4
    room.put("a", gone("dan"), whole=False)
    room.settle(1)
    assert told(room.settle(5)) == {}
    assert room.count == 3
    room.put("a", gone("ann"), whole=False)
    room.settle(5)
    assert told(room.settle(9)) == {"ann": "offline", "cem": "online"}
    assert told(room.shown()) == {"ben": "online", "cem": "online"}


users = st.builds(
    PresentUser,
    st.sampled_from("abcdefg"),
    st.sampled_from(["online", "away", "dnd", "invisible", "offline"]),
    st.integers(0, 3),
)
inputs = st.one_of(
    st.tuples(st.sampled_from("xyz"), st.lists(users, max_size=6), st.booleans()),
    st.tuples(st.sampled_from("xyz"), st.none(), st.booleans()),
    st.floats(0, 5),
)


@given(st.lists(inputs, max_size=40), st.integers(1, 4))
def test_all_changes_applied_to_an_earlier_list_are_the_present_one(steps: list[object], most: int):
    room, now = LookedRoom(LINGER, most), 0.0
    parts: dict[str, dict[str, PresentUser]] = {}
    known: dict[str, str] = {}

    def settle() -> None:
        for user in room.settle(now) or ():
            if user.state == "offline":
                del known[user.id]  # it is said only of who was shown
            else:
                known[user.id] = user.state
        assert known == told(room.shown())
        assert len(known) == min(most, room.count)

    for step in steps:
        if isinstance(step, tuple):
            gateway, entries, whole = step
            if entries is None:
                room.drop(gateway)
                parts.pop(gateway, None)
            else:
                room.put(gateway, entries, whole=whole)
                part = {} if whole else parts.get(gateway, {})
                part |= {user.user_id: user for user in entries}
                parts[gateway] = {user_id: user for user_id, user in part.items() if user.state != "offline"}
        else:
            assert isinstance(step, float)
            now += step
            settle()
    now += LINGER
    settle()
    now += LINGER
    settle()
    expected = {
        user_id: state
        for user_id in "abcdefg"
        if (state := shown_state(part[user_id] for part in parts.values() if user_id in part)) != "offline"
    }
    assert room.count == len(expected)
    assert known.items() <= expected.items()
    assert room.due is None
    assert room.entries == sum(map(len, parts.values()))
