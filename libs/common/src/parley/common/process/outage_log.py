"""One line in the log per outage and some seconds, however many requests fail meanwhile."""

from __future__ import annotations

import time
from typing import Any

SECONDS = 10.0
"""Between two lines about the same thing."""


class OutageLog:
    """Says that something cannot be reached: at once, and then at most every ten seconds, with how often it was so."""

    def __init__(self, log: Any, message: str) -> None:
        self._log = log
        self._message = message
        self._next = 0.0
        self._unsaid = 0

    def note(self, error: BaseException | str, **fields: Any) -> None:
        """Take note of a failure. No traceback: an outage is nothing that code could explain."""
        now = time.monotonic()
        if now < self._next:
            self._unsaid += 1
            return
        text = str(error)
        if isinstance(error, BaseException):
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._log.warning(self._message, error=text, unsaid=self._unsaid, **fields)
        self._next = now + SECONDS
        self._unsaid = 0
