"""A clock that nobody sets. On Linux it also goes on while the machine sleeps."""

from __future__ import annotations

import time

# macOS has no CLOCK_BOOTTIME.
# macOS has no CLOCK_BOOTTIME.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Return the seconds since this machine was started."""
    return time.clock_gettime(_CLOCK)
