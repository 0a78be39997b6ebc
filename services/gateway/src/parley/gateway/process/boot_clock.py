"""A clock that nobody sets, and that goes on while the machine sleeps, where the system has such a one."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Return the seconds since this machine was started."""
    return time.clock_gettime(_CLOCK)
