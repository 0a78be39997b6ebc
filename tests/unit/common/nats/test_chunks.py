"""What was gathered is cut into messages: none too large but a single item, in order, and nothing is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from parley.common.nats.chunks import split_by_size


@given(st.lists(st.integers(1, 15)), st.integers(1, 20))
def test_chunks_are_as_large_as_they_may_be_and_hold_everything_in_order(weights: list[int], most: int):
    chunks = list(split_by_size(weights, most, int))
    assert [weight for chunk in chunks for weight in chunk] == weights
    assert all(chunk and (sum(chunk) <= most or len(chunk) == 1) for chunk in chunks)
    assert all(sum(chunk) + after[0] > most for chunk, after in pairwise(chunks))
