"""Banned ranges of addresses: at the door, with a token, and for those who are here; over restarts, until they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from parley.auth.moderation import address_bans
from parley.common.errors import Reject
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, Identity
from parley.gateway.admission import banned_addresses as at_the_door
from parley.testing.stock_client import StockClient
from tests.support.administration import Stack, stack
from tests.support.auth.service import bearer, code, running_auth
from tests.support.bus import running_bus
from tests.support.waiting import until

PROXY = {"trusted_proxies": "127.0.0.1"}
RANGE = "192.0.2.0/24"


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path, settings=PROXY) as running:
        yield running


async def connect(everything: Stack, token: str, address: str) -> StockClient:
    client = StockClient("/chat")
    headers = {"x-forwarded-for": address}
    await client.connect(everything.urls[0], auth={"token": token}, headers=headers)
    everything.open.push_async_callback(client.close)
    return client


async def handshake(everything: Stack, address: str) -> int:
    async with httpx.AsyncClient(base_url=everything.urls[0]) as client:
        path = "/socket.io/?EIO=4&transport=polling"
        return (await client.get(path, headers={"x-forwarded-for": address})).status_code


async def ban(everything: Stack, **body: Any) -> dict[str, Any]:
    answer = await everything.auth.post("/admin/bans", body, await everything.auth.admin_token())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_those_who_are_here_end_and_nobody_else_begins(everything: Stack):
    token = (await everything.auth.register("ann"))["access_token"]
    inside = await connect(everything, token, "192.0.2.7")
    outside = await connect(everything, token, "198.51.100.7")
    answer = await ban(everything, ranges=["192.0.2.99/24"], reason="flood")
    assert answer["results"] == [{"target": RANGE, "result": "ok"}]
    await inside.disconnected()
    assert outside.connected
    assert await handshake(everything, "192.0.2.8") == 403
    assert await handshake(everything, "::ffff:192.0.2.8") == 403
    assert await handshake(everything, "198.51.100.8") == 200


async def test_it_is_lifted_by_hand_or_ends_by_itself(everything: Stack):
    admin = await everything.auth.admin_token()
    await ban(everything, ranges=[RANGE])
    await ban(everything, ranges=["2001:db8::/32"], duration_seconds=1)
    assert await handshake(everything, "192.0.2.8") == 403
    (six, four) = (await everything.auth.get("/admin/address-bans", admin)).json()["bans"]
    assert (six["range"], four["range"], four["expires_at"]) == ("2001:db8::/32", RANGE, None)
    path = f"/admin/address-bans/{four['id']}"
    assert (await everything.auth.client.delete(path, headers=bearer(admin))).status_code == 200
    assert await handshake(everything, "192.0.2.8") == 200
    assert code(await everything.auth.client.delete(path, headers=bearer(admin))) == "not_found"

    async def begins() -> bool:
        return await handshake(everything, "2001:db8::8") == 200

    await until(begins)


async def test_auth_itself_refuses_whoever_comes_from_one_and_knows_it_after_a_restart(
    database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with running_auth(database_url, nats_url) as auth:
        await auth.post("/admin/bans", {"ranges": [RANGE]}, await auth.admin_token())
    async with running_auth(database_url, nats_url), running_bus(nats_url) as bus:
        for guest in (Authenticate("", True, "192.0.2.7"), Authenticate("nonsense", False, "192.0.2.7")):
            with pytest.raises(Reject, match="banned"):
                await bus.request(subjects.AUTHENTICATE, guest, Identity)
        assert await bus.request(subjects.AUTHENTICATE, Authenticate("", True, "192.0.3.7"), Identity)


async def test_a_gateway_that_starts_or_missed_it_learns_of_it_by_itself(
    database_url: str, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(at_the_door, "RENEW_SECONDS", 0.05)
    async with running_auth(database_url, nats_url) as auth:
        await auth.post("/admin/bans", {"ranges": [RANGE]}, await auth.admin_token())
    async with stack(database_url, nats_url, tmp_path, settings=PROXY) as everything:

        async def refused(address: str = "192.0.2.8") -> bool:
            return await handshake(everything, address) == 403

        await until(refused)
        components = everything.auth.components
        monkeypatch.setattr(components.gateways._requests, "request", None)  # nobody is told any more
        async with components.database.transaction() as connection:
            new = address_bans.insert(address_bans.address_bans).values(
                range="203.0.113.0/24", reason="", banned_by="somebody"
            )
            await connection.execute(new)
        await until(lambda: refused("203.0.113.1"))


async def test_rest_is_refused_too_and_the_admin_api_is_not(everything: Stack):
    admin, ann = await everything.auth.admin_token(), await everything.auth.register("ann")
    # What calls chat here comes from 127.0.0.1, as does the administrator, who could not ban that themselves.
    async with everything.auth.components.database.transaction() as connection:
        new = address_bans.insert(address_bans.address_bans).values(
            range="127.0.0.0/8", reason="", banned_by="somebody"
        )
        await connection.execute(new)
    await everything.auth.components.address_bans.renew()
    assert code(await everything.call("GET", "/api/rooms", ann["access_token"])) == "banned"
    assert (await everything.auth.get("/admin/users", admin)).status_code == 200
