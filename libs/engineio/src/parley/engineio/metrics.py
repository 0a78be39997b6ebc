"""The metric of everything that clients were refused because of a limit; see docs/operations.md for its labels.

Every other metric stands where it is counted; a test compares all of them with that document.
"""

from __future__ import annotations

from prometheus_client import Counter

LIMIT_HITS = Counter("parley_gateway_limited_total", "What clients were refused because of a limit", ["limit"])
