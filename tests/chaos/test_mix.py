"""The mix is drawn as often as it says."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.mix import PER_MESSAGE, SELDOM, drawn


@pytest.mark.parametrize("amending", [1.0, 6.0])
def test_each_thing_is_done_as_often_for_a_message_as_the_mix_has_it(amending: float):
    dice = random.Random(1)
    counts = Counter(drawn(dice, amending) for _ in range(100_000))
    assert counts.keys() == PER_MESSAGE.keys()
    for what, often in PER_MESSAGE.items():
        due = often * (amending if what in SELDOM else 1)
        assert counts[what] / counts["message"] == pytest.approx(due, rel=0.2)
