"""Whoever mistypes an id is told so: every endpoint of the admin API that names somebody or something, in one table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.http.admin.rights import RIGHTS
from tests.support.auth.played_gateway import played_gateway, settled
from tests.support.auth.service import Auth, bearer, code, running_auth

NOBODY = "u_" + "0" * 32
BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/admin/users/{user_id:path}/roles"): {"roles": []},
    ("PUT", "/admin/users/{user_id:path}/password"): {"password": "correct horse battery"},
}
WITHOUT_TARGET = {
    ("GET", "/admin/users"), ("GET", "/admin/connections"), ("GET", "/admin/gateways"), ("GET", "/admin/rooms"),
    ("GET", "/admin/audit"), ("GET", "/admin/audit/export"), ("GET", "/admin/address-bans"), ("GET", "/admin/api-keys"),
    ("POST", "/admin/kicks"), ("POST", "/admin/bans"), ("POST", "/admin/api-keys"), ("POST", "/admin/bots"),
}  # fmt: skip
"""Those whose path names nobody."""
OF_ROOMS = {
    ("GET", "/admin/users/{user_id:path}/erase"), ("POST", "/admin/users/{user_id:path}/erase"),
    ("POST", "/admin/rooms/{room}/close"),
}  # fmt: skip
"""Those that chat answers: it has people of whom auth knows nothing."""
TARGETS = {
    "user_id": NOBODY,
    "bot_id": NOBODY,
    "key_id": "pk_" + "0" * 16,
    "ban_id": "1",
    "kick_id": "kick_" + "0" * 32,
}


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


def path_of(path: str, target: str = "") -> str:
    for name, unknown in TARGETS.items():
        path = path.replace(f"{{{name}}}", target or unknown).replace(f"{{{name}:path}}", target or unknown)
    assert "{" not in path, path
    return path


async def test_an_unknown_id_is_not_found_everywhere_and_leaves_nothing(auth: Auth):
    admin = await auth.admin_token()
    wrong: dict[tuple[str, str, str], Any] = {}
    for method, path in RIGHTS.keys() - WITHOUT_TARGET - OF_ROOMS:
        for target in ("", "Bob@example.com", "nobody") if "user_id" in path else ("",):
            body = BODIES.get((method, path), {})
            answer = await auth.client.request(method, path_of(path, target), json=body, headers=bearer(admin))
            if (answer.status_code, code(answer)) != (404, "not_found"):
                wrong[method, path, target] = answer.text
    assert not wrong
    assert (await auth.get("/admin/audit", admin)).json()["entries"] == []
    async with auth.components.database.autocommit() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM auth.kicks")) == 0


async def test_so_it_is_in_bodies_lists_and_filters(auth: Auth):
    admin = await auth.admin_token()
    ann = (await auth.register("ann"))["user_id"]
    for path in ("/admin/kicks", "/admin/bans"):
        answer = (await auth.post(path, {"users": [NOBODY, ann, "nobody"]}, admin)).json()
        found = {each["target"]: each["result"] for each in answer["results"]}
        assert found == {NOBODY: "not_found", ann: "ok", "nobody": "not_found"}
    key = {"user_id": NOBODY, "name": "key", "scopes": ["chat:read"]}
    for answer in (
        await auth.post("/admin/bots", {"name": "Robbie", "owner_id": NOBODY}, admin),
        await auth.post("/admin/api-keys", key, admin),
        await auth.get("/admin/api-keys", admin, user_id=NOBODY),
        await auth.get("/admin/api-keys", admin, before="pk_" + "0" * 16),
        await auth.get("/admin/users", admin, before=NOBODY),
    ):
        assert (answer.status_code, code(answer)) == (404, "not_found"), answer.request.url
    assert (await auth.get("/admin/api-keys", admin, user_id=ann)).json() == {"keys": [], "more": False}


async def test_who_exists_or_did_is_kicked_without_a_connection(auth: Auth):
    admin = await auth.admin_token()
    ann, ben = await auth.register("ann"), await auth.register("ben")
    gone = {"password": "correct horse battery"}
    assert (await auth.client.request("DELETE", "/auth/me", json=gone, headers=bearer(ben["access_token"]))).is_success
    for user in (ann["user_id"], ben["user_id"]):
        # Of one who was deleted a gateway that was cut off may hold connections yet.
        answer = await auth.post(f"/admin/users/{user}/kick", {}, admin)
        assert (answer.status_code, answer.json()["disconnected"]) == (200, 0)


async def test_a_guest_is_found_where_they_are_connected_and_nowhere_else(auth: Auth, nats_url: str):
    admin = await auth.admin_token()
    async with played_gateway(nats_url, "g1", ["guest:1"]) as gateway:
        await settled(auth, "g1")
        assert code(await auth.post("/admin/users/guest:2/kick", {}, admin)) == "not_found"
        headers = {**bearer(admin), "idempotency-key": "once"}
        # A retry, whose first answer was lost, is no mistake.
        for disconnected in (1, 0):
            answer = await auth.client.post("/admin/users/guest:1/kick", json={}, headers=headers)
            assert (answer.status_code, answer.json()["disconnected"]) == (200, disconnected)
        assert code(await auth.post("/admin/users/guest:1/kick", {}, admin)) == "not_found"
        # It may hold them for all that is known.
        gateway.silent = True
        answer = await auth.post("/admin/users/guest:1/kick", {}, admin)
        assert (answer.status_code, answer.json()["unanswered"]) == (200, ["g1"])
