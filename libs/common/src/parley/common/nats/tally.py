"""Prometheus counters for what happens ten thousand times a second: to count is to add to a number in a dict.

prometheus_client's own counter takes a lock and looks up its labels each time, which costs more than what is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """One metric. `counts` has a number for each combination of labels: `tally.counts["/chat", "accepted"] += 1`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._name = name
        self._documentation = documentation
        self._labels = labels
        # A metric without labels is shown as 0 before anything was counted, as the library's own are.
        if not labels:
            self.counts[()] = 0
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the metric's values. prometheus_client calls it when somebody reads the metrics."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in list(self.counts.items()):
            family.add_metric(values, count)
        yield family
