"""Some cases of every target, so that the fuzzer fits the code it is for. `python -m tests.fuzz.run` runs millions."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_some_cases_of_each_target_find_nothing(target: str):
    assert fuzz(target, seed=2, first=0, cases=300) is None
