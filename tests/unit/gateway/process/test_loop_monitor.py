"""Noticing that the own loop stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from parley.common.process.tasks import Tasks
from parley.gateway.process import loop_monitor
from parley.gateway.process.loop_monitor import LoopMonitor
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_monitor, "INTERVAL", 0.02)
    monkeypatch.setattr(loop_monitor, "STALL", 0.3)


async def test_a_stall_is_told_once_and_in_the_order_of_asking():
    told: list[str] = []
    monitor = LoopMonitor()
    monitor.on_stall(lambda: told.append("first"))
    monitor.on_stall(lambda: told.append("second"))
    async with Tasks() as tasks:
        tasks.forever(monitor.run(), name="loop monitor")
        await asyncio.sleep(0.1)
        assert not told
        time.sleep(0.5)  # noqa: ASYNC251 - what it is to notice
        await until(lambda: told)
        await asyncio.sleep(0.1)
    assert told == ["first", "second"]
