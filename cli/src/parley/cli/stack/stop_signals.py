"""Stops the one-command stack in order, whatever asks for it and whenever."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal that was closed."""


class StopSignals:
    """The first stop signal raises `KeyboardInterrupt`. Further ones are ignored, so that cleaning up is not cut short.

    While `held`, a signal only sets `requested`: an event loop, or Alembic, cannot bear an exception at any point.
    """

    def __init__(self) -> None:
        self.requested = False
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in self._before.items():
            # A signal that is ignored already stays ignored: `nohup parley up &` is meant to outlive its terminal.
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Generator[None]:
        """Put a stop signal off until the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.requested:
            raise KeyboardInterrupt

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self.requested = True
        if not self._held:
            raise KeyboardInterrupt
