"""Token buckets: a burst at once, then as many as come back, and what is refused costs nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parley.common.rate_limiter import Rate, RateLimiter


def test_a_burst_at_once_and_then_what_comes_back():
    limiter = RateLimiter(2, 4)
    assert [limiter.take("ann", 100.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert limiter.take("ben", 100.0)
    assert [limiter.take("ann", 101.0) for _ in range(3)] == [True, True, False]
    limiter.sweep(101.5)
    assert set(limiter._full_at) == {"ann"}
    limiter.sweep(110.0)
    assert not limiter._full_at


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 12)), max_size=40))
def test_no_more_is_spent_in_any_time_than_the_burst_and_what_comes_back(steps: list[tuple[float, float]]):
    rate, full_at, now, spent = Rate(2, 10), 0.0, 1000.0, 0.0
    for seconds, tokens in steps:
        now += seconds
        if again := rate.spend(full_at, now, tokens):
            full_at, spent = again, spent + tokens
    assert spent <= 10 + 2 * (now - 1000.0) + 1e-6
