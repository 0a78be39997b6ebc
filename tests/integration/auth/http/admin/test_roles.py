"""Roles and passwords that administrators set: what they change at once, who may, and that an owner always stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.auth.service import ADMIN_PASSWORD, PASSWORD, Auth, bearer, code, running_auth


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def admin(auth: Auth) -> str:
    return await auth.admin_token()


async def put(auth: Auth, user: str, what: str, body: Any, token: str):
    return await auth.client.put(f"/admin/users/{user}/{what}", json=body, headers=bearer(token))


async def own_id(auth: Auth, token: str) -> str:
    return (await auth.get("/auth/me", token)).json()["user_id"]


async def test_roles_count_at_once_for_tokens_in_use_and_are_audited_with_before_and_after(auth: Auth, admin: str):
    ann = await auth.register("ann")
    assert (await auth.get("/admin/users", ann["access_token"])).status_code == 403
    given = await put(auth, ann["user_id"], "roles", {"roles": ["admin:read", "vip", "vip"]}, admin)
    assert (given.status_code, given.json()["roles"]) == (200, ["admin:read", "vip"])
    assert (await auth.get("/admin/users", ann["access_token"])).status_code == 200
    await put(auth, ann["user_id"], "roles", {"roles": []}, admin)
    assert (await auth.get("/admin/users", ann["access_token"])).status_code == 403
    entries = (await auth.get("/admin/audit", admin, action="user.roles")).json()["entries"]
    changes = [(entry["before"], entry["after"]) for entry in entries]
    assert changes == [
        ({"roles": ["admin:read", "vip"]}, {"roles": []}),
        ({"roles": []}, {"roles": ["admin:read", "vip"]}),
    ]


async def test_the_last_owner_stays_whoever_tries_at_once(auth: Auth, admin: str):
    first, ann = await own_id(auth, admin), await auth.register("ann")
    assert code(await put(auth, first, "roles", {"roles": ["admin:read"]}, admin)) == "forbidden"
    await put(auth, ann["user_id"], "roles", {"roles": ["admin"]}, admin)
    # Each takes the other's ownership, or bans them, at the same time: one of them is too late.
    answers = await asyncio.gather(
        put(auth, first, "roles", {"roles": []}, ann["access_token"]),
        auth.post(f"/admin/users/{ann['user_id']}/ban", {}, admin),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    tokens = [admin, ann["access_token"]]
    assert sorted([(await auth.get("/admin/users", token)).status_code for token in tokens]) == [200, 403]


async def test_nobody_acts_on_who_may_more(auth: Auth, admin: str):
    first, ann = await own_id(auth, admin), await auth.register("ann")
    await put(auth, ann["user_id"], "roles", {"roles": ["admin:operate"]}, admin)
    for action in ("kick", "ban", "suspension", "revoke", "erase"):
        assert code(await auth.post(f"/admin/users/{first}/{action}", {}, ann["access_token"])) == "forbidden", action
    bulk = await auth.post("/admin/bans", {"users": [first]}, ann["access_token"])
    assert bulk.json()["results"] == [{"target": first, "result": "forbidden"}]
    assert (await auth.get("/admin/users", admin)).status_code == 200


@pytest.mark.parametrize(
    "roles", [None, "admin", ["x" * 65], [""], ["a\nb"], [1], [f"role{number}" for number in range(33)]], ids=str
)
async def test_malformed_roles_are_refused(auth: Auth, admin: str, roles: Any):
    granted = await auth.register()
    response = await put(auth, granted["user_id"], "roles", {"roles": roles}, admin)
    assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_a_password_that_is_set_ends_what_the_old_one_gave(auth: Auth, admin: str):
    ann = await auth.register("ann")
    short = await put(auth, ann["user_id"], "password", {"password": "short"}, admin)
    assert (short.status_code, code(short)) == (422, "invalid_payload")
    assert (await put(auth, ann["user_id"], "password", {"password": "another one, longer"}, admin)).status_code == 200
    assert code(await auth.get("/auth/me", ann["access_token"])) == "revoked_token"
    assert (await auth.post("/auth/refresh", {"refresh_token": ann["refresh_token"]})).status_code == 401
    assert code(await auth.login("ann", PASSWORD)) == "invalid_credentials"
    assert (await auth.login("ann", "another one, longer")).status_code == 200
    (entry,) = (await auth.get("/admin/audit", admin, action="user.password")).json()["entries"]
    assert "another" not in str(entry)
    assert (await auth.login("admin", ADMIN_PASSWORD)).status_code == 200


async def test_unknown_users_have_neither(auth: Auth, admin: str):
    assert code(await put(auth, "nobody", "roles", {"roles": []}, admin)) == "not_found"
    assert code(await put(auth, "nobody", "password", {"password": "long enough"}, admin)) == "not_found"
