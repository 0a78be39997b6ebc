"""What processes say of themselves."""

from __future__ import annotations

from parley.common.wire.codec import Wire


class SignOfLife(Wire, frozen=True):
    """A process lives; `leaving` is the last it says, when it stops in order. `started` is in Unix milliseconds."""

    started: int
    leaving: bool = False
