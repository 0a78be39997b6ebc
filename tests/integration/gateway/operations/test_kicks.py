"""Whose connections a kick ends: of many users, from ranges of addresses, and of an age."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from parley.common.nats.bus import Bus
from parley.common.wire.operations import Kick, OperationReport, Selection
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.testing import RunningServer
from tests.support.bus import fresh
from tests.support.gateway.lives import Hand, hand, served


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    async with served(nats_url) as running:
        yield running


async def kicked(bus: Bus, selection: Selection, min_age: float = 0.0) -> int:
    """Kick on all gateways; how many connections were ended."""
    requests = GatewayRequests(bus)
    replies = await requests.request(
        lambda inbox: Kick(selection, inbox, "kicked", "bye", min_age), "", OperationReport, 5.0, most=1
    )
    return replies.matched


async def is_here(client: Hand) -> bool:
    return (await client.acked("/a", 7))["n"] == 7


async def test_a_kick_of_an_age_spares_what_has_begun_since(server: RunningServer, bus: Bus):
    user = fresh("user")
    async with hand(server, user) as before, hand(server, user) as after:
        await before.joined("/a")
        between = time.monotonic()
        # As long as the kick may be under way: whoever begins meanwhile is older when it arrives.
        await asyncio.sleep(1)
        await after.joined("/a")
        assert await kicked(bus, Selection("", user_id=user), time.monotonic() - between) == 1
        assert "kicked" in await before.text()
        assert await is_here(after)


async def test_many_users_are_kicked_by_one_message(server: RunningServer, bus: Bus):
    async with hand(server) as ann, hand(server) as ben, hand(server) as cat:
        for client in (ann, ben, cat):
            await client.joined("/a")
        assert await kicked(bus, Selection("", users=(ann.user, ben.user))) == 2
        assert await is_here(cat)


async def test_a_range_is_kicked_wholly_and_another_is_not(server: RunningServer, bus: Bus):
    async with hand(server) as ann:
        await ann.joined("/a")
        requests = GatewayRequests(bus)
        await requests.send(Kick(Selection("", ranges=("192.0.2.0/24", "::/0")), "", "kicked", "bye"), "")
        assert await is_here(ann)
        assert await kicked(bus, Selection("", ranges=("127.0.0.0/8",))) >= 1
        assert "kicked" in await ann.text()
