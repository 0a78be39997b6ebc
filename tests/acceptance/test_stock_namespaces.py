"""Several namespaces on one transport, as the stock client of npm has them by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from parley.common.wire.identity import Authenticate, Identity
from parley.gateway import lifecycle
from parley.testing import RunningServer, running_server
from parley.testing.tokens import authenticate, token_for
from tests.support.bus import fresh
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.gateway.lives import NAMESPACES, gate, kick, served
from tests.support.paths import CLIENTS

pytestmark = pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client")

SCRIPT = CLIENTS / "namespaces_client.mjs"


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    gate.set()
    async with served(nats_url) as running:
        yield running


class Scenario:
    """A script that runs in Node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def begin(cls, name: str, server: RunningServer, user: str) -> Scenario:
        return cls(
            await asyncio.create_subprocess_exec(
                "node", str(SCRIPT), name, server.url, token_for(user),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def says(self) -> str:
        """Its next word."""
        assert self._process.stderr is not None
        return (await self._process.stderr.readline()).decode().strip()

    async def found(self) -> Any:
        """What happened."""
        try:
            async with asyncio.timeout(30):
                said, failed = await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise
        assert self._process.returncode == 0, failed.decode()
        return json.loads(said)


async def played(name: str, server: RunningServer) -> Any:
    """What happened in a scenario."""
    return await (await Scenario.begin(name, server, fresh("user"))).found()


async def test_leaving_and_joining_in_a_hurry_ends_in_a_living_socket(server: RunningServer):
    assert await played("twice", server) == {
        "errors": [], "ok": True, "same": True, "connected": True, "active": True, "b": True,
    }  # fmt: skip


async def test_half_an_emoji_is_told_to_who_sent_it_and_ends_nothing(server: RunningServer):
    found = {"code": "invalid_payload", "acked": "invalid_payload", "fine": True, "ended": []}
    assert await played("half_emoji", server) == {"found": [found, found], "refused": "invalid_payload"}


async def test_a_neighbour_whose_service_is_away_is_no_concern_of_the_others(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lifecycle, "PATIENCE", 0.2)
    monkeypatch.setattr(lifecycle, "FIRST_PAUSE", 0.2)
    assert await played("neighbour", server) == {"ok": 30, "ended": []}


async def test_buffered_emits_are_not_lost_to_a_slow_neighbour(server: RunningServer):
    gate.clear()
    asyncio.get_running_loop().call_later(0.5, gate.set)
    assert await played("buffered", server) == {"ok": 200}


async def test_a_guest_is_recovered_three_times_running(server: RunningServer):
    once = {"recovered": True, "same": True}
    assert await played("guest", server) == {"found": [once, once, once], "ok": True}


async def test_who_is_kicked_hears_why_in_every_namespace_and_stays_away(server: RunningServer):
    user = fresh("user")
    scenario = await Scenario.begin("kicked", server, user)
    assert await scenario.says() == "connected"
    await kick(server, user)
    told = {"code": "kicked", "reason": "io server disconnect"}
    assert await scenario.found() == {"told": [told, told], "active": [False, False]}


async def test_who_is_let_go_with_the_token_comes_back_with_another_and_is_recovered(monkeypatch: pytest.MonkeyPatch):
    async def briefly(claim: Authenticate) -> Identity:
        return msgspec.structs.replace(await authenticate(claim), expires_at=time.time() + 1.5)

    monkeypatch.setattr(running_server, "authenticate", briefly)
    async with served(namespaces=NAMESPACES | {"/b": {"expires": True, "recovery": 60}}) as server:
        assert await played("expired", server) == {
            "asked": 2, "ended": ["transport close"], "recovered": True, "same": True,
        }  # fmt: skip
