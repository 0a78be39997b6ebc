"""How many events a consumer is handed at once, and how soon again after a failure, pure.

    | what happened      | events at once                       | pause                                        |
    |--------------------|--------------------------------------|----------------------------------------------|
    | it dealt with them | twice as many, up to `MOST`          | none                                         |
    | it failed again    | half as many, one in the end         | twice the one before, up to `LONGEST_PAUSE`  |
    | nobody took them   | as many                              | up to `AWAY_PAUSE`: its service is not there |

So a single event that cannot be dealt with comes to stand alone, and can be named.
"""

from __future__ import annotations

MOST = 500
FIRST_PAUSE, LONGEST_PAUSE, AWAY_PAUSE = 0.5, 60.0, 2.0


class Pace:
    """The pace of one consumer. `failures` counts those since it last went on."""

    def __init__(self) -> None:
        self.most = MOST
        self.failures = 0
        self._pause = 0.0

    def succeeded(self) -> None:
        """It has dealt with what it was handed."""
        self.most = min(MOST, 2 * self.most)
        self.failures, self._pause = 0, 0.0

    def failed(self) -> float:
        """It could not deal with it. Returns the seconds to wait."""
        # One failure may be anything: it is only from the second on that fewer are tried.
        self.failures += 1
        if self.failures > 1:
            self.most = max(1, self.most // 2)
        return self._lengthen(LONGEST_PAUSE)

    def away(self) -> float:
        """Its service is not there. Returns the seconds to wait."""
        return self._lengthen(AWAY_PAUSE)

    def _lengthen(self, longest: float) -> float:
        self._pause = min(longest, max(FIRST_PAUSE, 2 * self._pause))
        return self._pause
