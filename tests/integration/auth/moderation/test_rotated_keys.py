"""What the secret of an API key opened ends with it, when the overlap of a rotation is over, whoever was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.moderation import kicks, rotated_keys
from parley.auth.moderation.rotated_keys import RotatedKeys
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, UnwelcomeUsers
from tests.support.administration import Stack, stack
from tests.support.auth.identities import identify
from tests.support.auth.played_gateway import played_gateway, settled
from tests.support.auth.service import Auth, code, running_auth
from tests.support.bus import running_bus
from tests.support.waiting import until

KEY = {"name": "server", "scopes": ["chat:read", "chat:write"]}


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path) as running:
        yield running


async def bot_of(auth: Auth, owner: str) -> tuple[str, dict[str, Any], str]:
    """A bot, a key of it, and where the key is rotated."""
    bot = (await auth.post("/auth/bots", {"name": "Robbie"}, owner)).json()["id"]
    key = (await auth.post(f"/auth/bots/{bot}/keys", KEY, owner)).json()
    return bot, key, f"/auth/bots/{bot}/keys/{key['id']}/rotate"


async def end_overlap(auth: Auth) -> None:
    """Have the overlap of every rotation be over."""
    async with auth.components.database.transaction() as connection:
        over = "UPDATE auth.api_keys SET previous_until = least(previous_until, clock_timestamp())"
        await connection.execute(text(over))


async def followed_up(auth: Auth) -> bool:
    async with auth.components.database.autocommit() as connection:
        return not await connection.scalar(text("SELECT count(*) FROM auth.api_keys WHERE previous_hash IS NOT NULL"))


async def test_connections_by_the_secret_of_before_end_with_the_overlap_and_others_stay(everything: Stack):
    auth = everything.auth
    owner = (await auth.register("ann"))["access_token"]
    _, key, path = await bot_of(auth, owner)
    before = await everything.connected(key["key"])
    second = (await auth.post(path, {"overlap_seconds": 3600}, owner)).json()
    meanwhile, after = await everything.connected(key["key"]), await everything.connected(second["key"])
    assert (await before.emit("rooms", {}))["ok"]
    await end_overlap(auth)
    for client in (before, meanwhile):
        await client.disconnected()
    assert (await after.emit("rooms", {}))["ok"]
    await until(lambda: followed_up(auth), "the rotation is followed up")
    assert code(await auth.get("/auth/me", key["key"])) == "invalid_token"


async def test_a_second_rotation_ends_what_came_by_the_secret_before_the_one_that_stays_good(everything: Stack):
    auth = everything.auth
    owner = (await auth.register("ann"))["access_token"]
    _, first, path = await bot_of(auth, owner)
    by_first = await everything.connected(first["key"])
    second = (await auth.post(path, {"overlap_seconds": 3600}, owner)).json()
    by_second = await everything.connected(second["key"])
    await auth.post(path, {"overlap_seconds": 3600}, owner)
    await by_first.disconnected()
    assert (await by_second.emit("rooms", {}))["ok"]


async def test_an_identity_by_the_secret_of_before_is_no_longer_good_than_that(database_url: str, nats_url: str):
    async with running_auth(database_url, nats_url) as auth, running_bus(nats_url) as bus:
        owner = (await auth.register("ann"))["access_token"]
        _, key, path = await bot_of(auth, owner)
        second = (await auth.post(path, {"overlap_seconds": 60}, owner)).json()
        old, new = await identify(bus, key["key"]), await identify(bus, second["key"])
        assert 50 < old.valid_for <= 60
        assert (new.valid_for, new.expires_at) == (0, 0)
        assert old.issued_at < new.issued_at


async def test_it_is_followed_up_by_who_starts_anew_and_until_every_gateway_has_asked(
    database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kicks, "ANSWER_TIMEOUT", 0.3)
    async with running_auth(database_url, nats_url) as auth:
        owner = (await auth.register("ann"))["access_token"]
        bot, _, path = await bot_of(auth, owner)
        await auth.post(path, {"overlap_seconds": 3600}, owner)
    monkeypatch.setattr(rotated_keys, "LOOK_INTERVAL", 3600)
    async with running_auth(database_url, nats_url) as auth, played_gateway(nats_url, "g1", [bot]) as gateway:
        await settled(auth, "g1")
        rotations = RotatedKeys(auth.components.database, auth.components.gateways)
        assert not await rotations.step()
        assert gateway.told == []
        await end_overlap(auth)
        gateway.silent = True
        await rotations.step()
        assert not await followed_up(auth)
        gateway.silent = False
        await rotations.step()
        assert await followed_up(auth)
        assert [each.selection.users for each in gateway.told] == [(bot,)]
        await asyncio.gather(rotations.step(), rotations.step())
        assert len(gateway.told) == 1


async def test_what_a_key_left_to_be_done_goes_on_after_rotations_unless_one_had_no_overlap(
    database_url: str, nats_url: str
):
    async with running_auth(database_url, nats_url) as auth, running_bus(nats_url) as bus:
        owner = (await auth.register("ann"))["access_token"]
        bot, first, path = await bot_of(auth, owner)
        identities = [await identify(bus, first["key"])]

        async def rotated(overlap: int) -> None:
            key = (await auth.post(path, {"overlap_seconds": overlap}, owner)).json()
            identities.append(await identify(bus, key["key"]))

        async def done(*, later: bool = True) -> list[bool]:
            held = [HeldUser(bot, one.issued_at, 0.0, one.login, later=later) for one in identities]
            answer = await bus.request(subjects.WELCOME, CheckWelcome(held), UnwelcomeUsers)
            return [place not in {one.position for one in answer.users} for place in range(len(held))]

        await rotated(3600)
        await rotated(3600)
        await end_overlap(auth)
        assert await done(later=False) == [False, False, True]
        assert await done() == [True, True, True]
        await rotated(0)
        assert await done() == [False, False, False, True], "a secret that is replaced at once was in wrong hands"
        await rotated(3600)
        await end_overlap(auth)
        assert await done() == [False, False, False, True, True]
        headers = {"Authorization": f"Bearer {owner}"}
        assert (await auth.client.delete(path.removesuffix("/rotate"), headers=headers)).status_code == 200
        assert await done() == [False] * 5
