"""Counters that are numbers in a dict are metrics like others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY

from parley.common.nats.tally import Tally


@pytest.fixture
def tally() -> Iterator[Callable[..., Tally]]:
    made: list[Tally] = []

    def make(*labels: str) -> Tally:
        made.append(Tally("parley_test_tally", "What a test counts.", labels))
        return made[-1]

    yield make
    for one in made:
        REGISTRY.unregister(one)


def test_what_is_counted_is_read_by_its_labels(tally: Callable[..., Tally]):
    counted = tally("namespace", "outcome")
    counted.counts["/chat", "accepted"] += 2
    counted.counts["/chat", "refused"] += 1
    labels = {"namespace": "/chat", "outcome": "accepted"}
    assert REGISTRY.get_sample_value("parley_test_tally_total", labels) == 2
    assert REGISTRY.get_sample_value("parley_test_tally_total", labels | {"outcome": "lost"}) is None


def test_without_labels_it_is_there_before_anything_was_counted(tally: Callable[..., Tally]):
    counted = tally()
    assert REGISTRY.get_sample_value("parley_test_tally_total") == 0
    counted.counts[()] += 1
    assert REGISTRY.get_sample_value("parley_test_tally_total") == 1
