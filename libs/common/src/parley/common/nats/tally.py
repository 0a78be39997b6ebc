"""Prometheus counters for what happens ten thousand times a second: counting is one addition to a number in a dict.

A counter of the library's own takes a lock, and looks its labels up, each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """One metric. `counts` is by the values of its labels: `tally.counts["/chat", "accepted"] += 1`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._name = name
        self._documentation = documentation
        self._labels = labels
        if not labels:
            self.counts[()] = 0
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What the library asks for when somebody reads the metrics."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in list(self.counts.items()):
            family.add_metric(values, count)
        yield family
