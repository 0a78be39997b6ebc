"""Logs an outage with one line every few seconds, however many requests fail meanwhile."""

from __future__ import annotations

import time
from typing import Any

SECONDS = 10.0
"""Seconds between two lines about the same outage."""


class OutageLog:
    """Logs that something cannot be reached: at once, then every ten seconds, with the number of failures between."""

    def __init__(self, log: Any, message: str) -> None:
        self._log = log
        self._message = message
        self._next = 0.0
        self._unsaid = 0

    def note(self, error: BaseException | str, **fields: Any) -> None:
        """Note a failure. It is logged without a traceback, since code does not explain an outage."""
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
