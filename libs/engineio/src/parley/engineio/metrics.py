"""The metric of what clients are refused because of a limit. Its labels are in docs/operations.md.

It is here because several modules count with it. Every other metric is defined where it is counted.
"""

from __future__ import annotations

from prometheus_client import Counter

LIMIT_HITS = Counter("parley_gateway_limited_total", "What clients were refused because of a limit", ["limit"])
