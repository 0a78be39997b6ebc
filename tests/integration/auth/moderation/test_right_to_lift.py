"""Who may less does not undo what an owner decided, and nobody shuts everybody out with a slip of the hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.auth.service import Auth, bearer, code, running_auth

RANGE = "192.0.2.0/24"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def admin(auth: Auth) -> str:
    return await auth.admin_token()


@pytest.fixture
async def moderator(auth: Auth, admin: str) -> str:
    granted = await auth.register("moderator")
    path = f"/admin/users/{granted['user_id']}/roles"
    await auth.client.put(path, json={"roles": ["admin:moderate"]}, headers=bearer(admin))
    return granted["access_token"]


async def remove(auth: Auth, path: str, token: str) -> httpx.Response:
    return await auth.client.delete(path, headers=bearer(token))


async def results(auth: Auth, token: str, **body: Any) -> list[str]:
    answer = await auth.post("/admin/bans", body, token)
    assert answer.status_code == 200, answer.text
    return [each["result"] for each in answer.json()["results"]]


async def test_what_an_owner_set_is_lifted_and_replaced_by_an_equal_alone(auth: Auth, admin: str, moderator: str):
    ann = (await auth.register("ann"))["user_id"]
    await auth.post(f"/admin/users/{ann}/ban", {"reason": "for ever"}, admin)
    await auth.post(f"/admin/users/{ann}/suspension", {"reason": "for ever"}, admin)
    assert code(await auth.post(f"/admin/users/{ann}/unban", {}, moderator)) == "forbidden"
    assert code(await remove(auth, f"/admin/users/{ann}/suspension", moderator)) == "forbidden"
    # A ban of a second in its place would lift it as well.
    for action in ("ban", "suspension"):
        body = {"reason": "a second", "duration_seconds": 1}
        assert code(await auth.post(f"/admin/users/{ann}/{action}", body, moderator)) == "forbidden"
    ben = (await auth.register("ben"))["user_id"]
    assert sorted(await results(auth, moderator, users=[ann, ben], duration_seconds=1)) == ["forbidden", "ok"]
    seen = (await auth.get(f"/admin/users/{ann}", admin)).json()
    assert (seen["ban"]["reason"], seen["suspension"]["reason"]) == ("for ever", "for ever")
    assert (seen["ban"]["expires_at"], seen["suspension"]["expires_at"]) == (None, None)
    assert (await auth.post(f"/admin/users/{ann}/unban", {}, admin)).json() == {"unbanned": True}
    # Whoever may more lifts what a moderator set, and moderators each other's.
    await auth.post(f"/admin/users/{ann}/ban", {}, moderator)
    assert (await auth.post(f"/admin/users/{ann}/unban", {}, admin)).json() == {"unbanned": True}
    await auth.post(f"/admin/users/{ann}/ban", {}, moderator)
    assert (await auth.post(f"/admin/users/{ann}/unban", {}, moderator)).json() == {"unbanned": True}


async def test_a_range_that_an_owner_banned_is_lifted_and_replaced_by_an_equal_alone(
    auth: Auth, admin: str, moderator: str
):
    assert await results(auth, admin, ranges=[RANGE], reason="for ever") == ["ok"]
    (ban,) = (await auth.get("/admin/address-bans", admin)).json()["bans"]
    assert code(await remove(auth, f"/admin/address-bans/{ban['id']}", moderator)) == "forbidden"
    assert await results(auth, moderator, ranges=[RANGE], duration_seconds=1) == ["forbidden"]
    assert (await auth.get("/admin/address-bans", admin)).json()["bans"] == [ban]
    assert (await remove(auth, f"/admin/address-bans/{ban['id']}", admin)).status_code == 200


async def test_what_ended_by_itself_is_in_nobodys_way(auth: Auth, admin: str, moderator: str):
    ann = (await auth.register("ann"))["user_id"]
    await auth.post(f"/admin/users/{ann}/ban", {"duration_seconds": 1}, admin)
    await asyncio.sleep(1.1)
    assert (await auth.post(f"/admin/users/{ann}/ban", {}, moderator)).status_code == 200


@pytest.mark.parametrize(
    "too_wide", ["0.0.0.0/0", "::/0", "10.0.0.0/7", "2000::/3", "2001:db8::/18", "::ffff:0.0.0.0/96", "::ffff:0:0/103"]
)
async def test_ranges_that_shut_out_half_the_world_are_refused_whole(auth: Auth, admin: str, too_wide: str):
    for path in ("/admin/bans", "/admin/kicks"):
        refused = await auth.post(path, {"ranges": [RANGE, too_wide]}, admin)
        assert (refused.status_code, code(refused)) == (422, "invalid_payload")
        assert "wider than" in refused.json()["error"]["message"]
    assert (await auth.get("/admin/address-bans", admin)).json()["bans"] == []
    assert (await auth.get("/admin/audit", admin)).json()["entries"] == []


async def test_how_wide_a_range_may_be_is_a_setting(database_url: str, nats_url: str):
    options = {"auth_widest_range_ipv4": 16, "auth_widest_range_ipv6": 0}
    async with running_auth(database_url, nats_url, **options) as auth:
        admin = await auth.admin_token()
        assert code(await auth.post("/admin/bans", {"ranges": ["192.0.0.0/15"]}, admin)) == "invalid_payload"
        assert await results(auth, admin, ranges=["192.0.0.0/16", "::/0"]) == ["ok", "ok"]


async def test_the_range_that_one_comes_from_is_banned_by_force_alone(auth: Auth, admin: str):
    assert await results(auth, admin, ranges=["127.0.0.0/8"]) == ["forbidden"]
    assert await results(auth, admin, ranges=["127.0.0.0/8"], force=True) == ["ok"]
    # Whoever did it still reaches what lifts it.
    (ban,) = (await auth.get("/admin/address-bans", admin)).json()["bans"]
    assert (await remove(auth, f"/admin/address-bans/{ban['id']}", admin)).status_code == 200


async def test_a_range_that_is_banned_by_many_at_once_is_banned_once(auth: Auth, admin: str):
    assert await asyncio.gather(*(results(auth, admin, ranges=[RANGE]) for _ in range(5))) == [["ok"]] * 5
    assert len((await auth.get("/admin/address-bans", admin)).json()["bans"]) == 1


async def test_a_key_of_a_bot_that_may_more_is_not_revoked(auth: Auth, admin: str):
    operator = await auth.register("operator")
    path = f"/admin/users/{operator['user_id']}/roles"
    await auth.client.put(path, json={"roles": ["admin:operate"]}, headers=bearer(admin))
    keys: dict[str, str] = {}
    for name, roles in (("plain", []), ("owner", ["admin"])):
        bot = (await auth.post("/admin/bots", {"name": name}, admin)).json()["id"]
        await auth.client.put(f"/admin/users/{bot}/roles", json={"roles": roles}, headers=bearer(admin))
        body = {"user_id": bot, "name": name, "scopes": ["admin:own"]}
        keys[name] = (await auth.post("/admin/api-keys", body, admin)).json()["id"]
    assert code(await remove(auth, f"/admin/api-keys/{keys['owner']}", operator["access_token"])) == "forbidden"
    assert (await remove(auth, f"/admin/api-keys/{keys['plain']}", operator["access_token"])).status_code == 200
