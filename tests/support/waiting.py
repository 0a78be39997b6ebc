"""Waiting for what has to happen, with a deadline, and never for time to pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

SECONDS = 10.0
SHORTEST, LONGEST = 0.005, 0.025
"""Seconds between two looks: the longer it takes the fewer, since who looks takes time from what is waited for."""


async def until(condition: Callable[[], Any], why: str | Callable[[], str] = "", seconds: float = SECONDS) -> Any:
    """Wait until a condition holds, which may have to be awaited itself, and return what it said.

    If it does not in time, the test fails and says `why` it waited, or else the condition as it is written.
    """
    holds: Any = None
    limit, started = asyncio.timeout(seconds), time.monotonic()
    try:
        async with limit:
            while True:
                holds = condition()
                if inspect.isawaitable(holds):
                    holds = await holds
                if holds:
                    return holds
                await asyncio.sleep(min(max((time.monotonic() - started) / 50, SHORTEST), LONGEST))
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(_failure(condition, why, seconds, holds)) from None


def until_blocking(condition: Callable[[], Any], why: str | Callable[[], str] = "", seconds: float = 60.0) -> Any:
    """The same for tests that are not async: they wait for whole processes."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()):
        assert time.monotonic() < deadline, _failure(condition, why, seconds, holds)
        time.sleep(0.02)
    return holds


def _failure(condition: Callable[[], Any], why: str | Callable[[], str], seconds: float, holds: Any) -> str:
    reason = why() if callable(why) else why
    return f"not within {seconds:g} s: {reason or _written(condition)} (but {holds!r})"


def _written(condition: Callable[[], Any]) -> str:
    """The source of a condition, on one line."""
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
