"""How many events a consumer is handed at once, and when it is tried again after a failure, pure.

    | outcome                | events at once                      | pause                                       |
    |------------------------|-------------------------------------|---------------------------------------------|
    | the batch is done      | twice as many, up to its `most`     | none                                        |
    | the first failure      | as many                             | `FIRST_PAUSE`                               |
    | each further failure   | half as many, at last a single one  | twice the one before, up to `LONGEST_PAUSE` |
    | no service answers     | as many                             | twice the one before, up to `AWAY_PAUSE`    |
    | Postgres fails         | half as many                        | the runner's                                |

So an event that cannot be processed is alone in its batch at last, and operators can be told which it is.
"""

from __future__ import annotations

MOST = 500
"""Events in a batch at most; `log.tail` ends a batch earlier where its bytes would not fit one message."""
# In seconds. A service that is away may be back any moment, and asking it costs nothing; one that fails may do harm
# each time, or log it.
FIRST_PAUSE, LONGEST_PAUSE, AWAY_PAUSE = 0.5, 60.0, 2.0

SCAN = 20_000
"""Events that are looked through for a batch at most. Around a page, some two thousand others are read in vain."""


def next_scan(scan: int, most: int, found: int, *, cut: bool = False) -> int:
    """Return how many events to look through for the next batch, when `scan` of them had `found` wanted ones.

    A batch has at most `most`, and may be `cut` earlier by its bytes; what was looked through beyond it is looked
    through again. Fewer than `most` are looked through only until batches are as large again as before.
    """
    if found >= most:
        return most
    if cut:
        return max(1, found)
    return scan if 2 * found >= scan >= most else min(SCAN, 2 * scan)


class Pace:
    """The pace of one consumer, which takes `most` events at once. `failures` counts those since its last success."""

    def __init__(self, most: int = MOST) -> None:
        self.most = self._most = most
        self.failures = 0
        self._pause = 0.0

    def succeeded(self) -> None:
        """Note that the consumer has processed its batch."""
        self.most = min(self._most, 2 * self.most)
        self.failures, self._pause = 0, 0.0

    def failed(self) -> float:
        """Note that the consumer failed. Returns the seconds to wait."""
        self.failures += 1
        # The first failure may have any cause, so only further ones make the batches smaller.
        if self.failures > 1:
            self.shorten()
        return self._lengthen(LONGEST_PAUSE)

    def shorten(self) -> None:
        """Take half as many events at once: what was too much for a statement's time is too much each time."""
        self.most = max(1, self.most // 2)

    def away(self) -> float:
        """Note that no service took the batch. Returns the seconds to wait."""
        return self._lengthen(AWAY_PAUSE)

    def _lengthen(self, longest: float) -> float:
        self._pause = min(longest, max(FIRST_PAUSE, 2 * self._pause))
        return self._pause
