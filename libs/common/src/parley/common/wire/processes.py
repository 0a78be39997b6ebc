"""The sign of life of a process."""

from __future__ import annotations

from parley.common.wire.codec import Wire


class SignOfLife(Wire, frozen=True):
    """A process lives, or with `leaving` stops in order. `started` is in Unix milliseconds, by its own clock."""

    started: int
    leaving: bool = False
