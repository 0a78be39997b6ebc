"""The metric of what clients are refused because of a limit. Its labels are in docs/operations.md.

It is here because several modules count with it; the engine's other metrics are defined where they are counted. All
have the gateway's name, since that is the process that has them.
"""

from __future__ import annotations

from prometheus_client import Counter

LIMIT_HITS = Counter("parley_gateway_limited_total", "What clients were refused because of a limit", ["limit"])
