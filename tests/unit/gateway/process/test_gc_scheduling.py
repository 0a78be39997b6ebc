"""Garbage is collected in small portions, and the collector is as it was afterwards."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest

from parley.gateway.process import gc_scheduling
from tests.support.waiting import until


class Node:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.me = self


async def test_a_cycle_is_found_soon_and_what_lives_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gc_scheduling, "INTERVAL", 0.01)
    collecting = asyncio.create_task(gc_scheduling.run_collector())
    try:
        await until(lambda: not gc.isenabled() and gc.get_freeze_count() > 0)
        found = weakref.ref(Node())
        await until(lambda: found() is None, "the cycle is found")
    finally:
        collecting.cancel()
        with suppress(asyncio.CancelledError):
            await collecting
    assert gc.isenabled()
