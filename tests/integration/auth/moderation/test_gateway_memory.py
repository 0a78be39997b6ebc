"""An auth that starts while a gateway is silent names it all the same, as the auth before it did."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from parley.auth.moderation import gateway_memory
from parley.common.wire import subjects
from parley.common.wire.identifiers import uuid7
from parley.common.wire.processes import SignOfLife
from parley.framework.remote.gateway_registry import FORGET_AFTER, Sighting
from tests.support.auth.played_gateway import played_gateway, registry_of, settled
from tests.support.auth.service import Auth, running_auth
from tests.support.bus import running_bus
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_memory, "LOOK_INTERVAL", 0.05)


async def are_written(auth: Auth, *addresses: str) -> None:
    """Wait until exactly these gateways are written down."""

    async def agree() -> bool:
        async with auth.components.database.autocommit() as connection:
            found = await connection.execute(text("SELECT address FROM auth.gateways ORDER BY address"))
            return list(found.scalars()) == sorted(addresses)

    await until(agree)


async def unanswered(auth: Auth) -> list[str]:
    """The gateways that may hold connections of somebody who is banned now."""
    user_id = (await auth.register(f"u{uuid7().hex[-20:]}"))["user_id"]
    return (await auth.post(f"/admin/users/{user_id}/ban", {}, await auth.admin_token())).json()["unanswered"]


async def say(nats_url: str, address: str, sign: SignOfLife) -> None:
    """Let a gateway be heard once."""
    async with running_bus(nats_url) as bus:
        await bus.publish(subjects.alive("gateway", address), sign.encode())
        await bus.flush()


async def test_an_auth_that_starts_while_a_gateway_is_silent_names_it(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url) as auth:
        await say(nats_url, "stalled:1a2b", SignOfLife(1))
        await are_written(auth, "stalled:1a2b")
    async with running_auth(database_url, nats_url) as auth:
        assert await unanswered(auth) == ["stalled"]
        # A run that starts under its name takes its place, also in what the next auth reads.
        async with played_gateway(nats_url, "stalled", []) as gateway:
            await settled(auth, "stalled")
            assert await unanswered(auth) == []
            await are_written(auth, gateway.bus.run_address)
        await are_written(auth)
    async with running_auth(database_url, nats_url) as auth:
        assert await unanswered(auth) == []


async def test_a_gateway_is_remembered_for_as_long_as_if_auth_had_not_started_anew(
    database_url: str, nats_url: str
) -> None:
    async with running_auth(database_url, nats_url) as auth:
        await say(nats_url, "old:1a2b", SignOfLife(1))
        await say(nats_url, "young:1a2b", SignOfLife(1))
        await are_written(auth, "old:1a2b", "young:1a2b")
        async with auth.components.database.transaction() as connection:
            past = "UPDATE auth.gateways SET last_heard = last_heard - interval '%s s' WHERE address = '%s:1a2b'"
            await connection.execute(text(past % (FORGET_AFTER, "old")))
            await connection.execute(text(past % (FORGET_AFTER / 2, "young")))
    async with running_auth(database_url, nats_url) as auth:
        assert registry_of(auth).silent().keys() == {"young:1a2b"}
        assert registry_of(auth).silent()["young:1a2b"] == pytest.approx(FORGET_AFTER / 2, abs=10)


async def test_of_two_runs_under_one_name_the_younger_is_remembered(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url) as auth:
        registry = registry_of(auth)
        registry.remember([Sighting("g:2", 2, 1.0), Sighting("g:1", 1, 1.0), Sighting("h:1", 1, 1.0)])
        assert registry.silent().keys() == {"g:2", "h:1"}
