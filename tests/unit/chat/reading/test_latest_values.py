"""Values of which the last one counts, at most one per interval."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.reading.latest_values import LatestValues

QUARTERS = [quarter / 4 for quarter in range(13)]
"""Pauses whose sums are exact, so that an interval is over when it says so."""


def latest(most: int = 10) -> LatestValues[str, int]:
    return LatestValues(1.0, most, max)


def test_the_first_value_is_taken_at_once_and_later_ones_when_the_interval_is_over():
    values = latest()
    values.put("a", 1)
    assert values.take(10.0, 5) == {"a": 1}
    values.put("a", 2)
    values.put("a", 5)
    values.put("a", 3)
    assert values.take(10.9, 5) == {}
    assert values.take(11.0, 5) == {"a": 5}
    assert values.take(99.0, 5) == {}


def test_no_more_keys_wait_than_allowed_and_those_that_wait_go_on():
    values = latest(2)
    assert [values.put(key, 1) for key in ("a", "b", "c")] == [True, True, False]
    assert values.put("a", 2)
    assert values.take(1.0, 1) == {"a": 2}
    assert values.take(1.0, 5) == {"b": 1}


def test_what_could_not_be_stored_waits_again_and_a_later_value_counts_more():
    values = latest()
    values.put("a", 1)
    values.put("b", 7)
    taken = values.take(1.0, 5)
    values.put("a", 4)
    values.put_back(taken)
    assert values.take_all() == {"a": 4, "b": 7}
    assert len(values) == 0


@given(st.lists(st.tuples(st.sampled_from(QUARTERS), st.sampled_from("abc"), st.integers(0, 9)), max_size=60))
def test_of_a_key_no_two_values_are_taken_within_an_interval_and_the_last_is_never_lost(
    steps: list[tuple[float, str, int]],
):
    values: LatestValues[str, int] = LatestValues(1.0, 10, lambda _, later: later)
    now, taken_at, last, seen = 0.0, dict[str, float](), dict[str, int](), dict[str, int]()
    for pause, key, value in steps:
        now += pause
        values.put(key, value)
        last[key] = value
        for each, got in values.take(now, 2).items():
            assert now - taken_at.get(each, -9.0) >= 1.0
            taken_at[each], seen[each] = now, got
    assert seen | values.take_all() == last
