"""Real gateway processes under one name: a second one is refused, and one that stood still gives way to a younger."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.auth.moderation.kicks import Gateways, KickOrder
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.framework.remote.gateway_requests import GatewayRequests
from tests.support.bus import fresh
from tests.support.stack.stack import Process
from tests.support.waiting import until


@pytest.fixture
async def gateways(nats_url: str, tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes with the same name; neither is started."""
    name = fresh("gateway")
    environment = dict(os.environ) | {"PARLEY_NATS_URL": nats_url, "PARLEY_GATEWAY_DRAIN_SECONDS": "0"}
    first, second = (Process("gateway", environment, tmp_path / place, name) for place in ("first", "second"))
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
    try:
        yield first, second
    finally:
        for process in (first, second):
            if process.running:
                os.kill(process.pid, signal.SIGCONT)
            process.kill()


async def ended(process: Process) -> int:
    """Wait until a process has ended by itself, and return its exit code."""
    await until(lambda: not process.running, seconds=20)
    assert process._process is not None
    return process._process.wait()


async def test_a_second_gateway_under_a_name_does_not_start_and_says_why_in_a_line(gateways: tuple[Process, Process]):
    first, second = gateways
    first.start()
    await first.ready()
    second.start()
    assert await ended(second) != 0
    (line,) = (line for line in second.log().splitlines() if "answers under the name" in line)
    assert first.name in line
    assert "PARLEY_INSTANCE" in line
    assert "Traceback" not in second.log()
    assert first.running


async def test_after_a_crash_the_next_one_starts_at_once_under_the_same_name(gateways: tuple[Process, Process]):
    first, second = gateways
    first.start()
    await first.ready()
    first.kill()
    second.start()
    await second.ready()


async def test_one_that_stands_still_is_named_in_a_kick_and_gives_way_to_a_younger(
    gateways: tuple[Process, Process], bus: Bus
):
    first, second = gateways
    requests = GatewayRequests(bus)
    await requests.start()
    first.start()
    await first.ready()

    def is_named(addresses: dict[str, float]) -> list[str]:
        return [address for address in addresses if requests.registry.name_of(address) == first.name]

    await until(lambda: is_named(requests.registry.alive()))
    os.kill(first.pid, signal.SIGSTOP)
    await until(lambda: is_named(requests.registry.silent()))
    result = await Gateways(requests).kick(KickOrder(fresh("kick"), (fresh("user"),), (), Code.BANNED, "spam"))
    assert first.name in result.unanswered
    began = time.monotonic()
    second.start()
    await second.ready()
    assert time.monotonic() - began < 10
    await until(lambda: is_named(requests.registry.alive()))
    assert not is_named(requests.registry.silent())
    os.kill(first.pid, signal.SIGCONT)
    assert await ended(first) == 0
    assert "another process has this one's name" in first.log()
    assert second.running
    await asyncio.to_thread(second.stop)
