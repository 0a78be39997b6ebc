"""Bots and API keys: who may make them, what they are good for, and that an end of any kind counts at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.accounts.programs import api_keys
from parley.testing.stock_client import ConnectError
from tests.support.administration import Stack, stack
from tests.support.auth.service import Auth, bearer, code, running_auth

KEY = {"name": "server", "scopes": ["chat:read", "chat:write"]}


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, auth_bots_per_user=2) as running:
        yield running


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path) as running:
        yield running


async def bot_of(auth: Auth, owner: str, **key: Any) -> tuple[str, dict[str, Any]]:
    """A bot of somebody's, and a key of it."""
    made = await auth.post("/auth/bots", {"name": "Robbie"}, owner)
    assert made.status_code == 200, made.text
    bot = made.json()["id"]
    return bot, (await auth.post(f"/auth/bots/{bot}/keys", {**KEY, **key}, owner)).json()


async def test_a_key_is_its_bot_and_is_shown_once(auth: Auth):
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    me = (await auth.get("/auth/me", key["key"])).json()
    assert (me["user_id"], me["name"], me["roles"]) == (bot, "Robbie", [])
    (listed,) = (await auth.get(f"/auth/bots/{bot}/keys", ann["access_token"])).json()["keys"]
    assert "key" not in listed
    assert listed["last_used_at"] is not None
    async with auth.components.database.autocommit() as connection:
        (stored,) = (await connection.execute(text("SELECT key::text FROM auth.api_keys AS key"))).scalars()
    assert key["key"].split("_", 2)[2] not in stored


async def test_a_revocation_ends_a_bots_keys_and_a_key_that_ended_is_not_rotated_back(auth: Auth):
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    await auth.post(f"/admin/users/{bot}/revoke", token=await auth.admin_token())
    assert code(await auth.get("/auth/me", key["key"])) == "revoked_token"
    path = f"/auth/bots/{bot}/keys"
    # Its user is told so, instead of being given a secret that is good for nothing.
    assert code(await auth.post(f"{path}/{key['id']}/rotate", {}, ann["access_token"])) == "not_found"
    another = (await auth.post(path, KEY, ann["access_token"])).json()
    assert (await auth.get("/auth/me", another["key"])).status_code == 200


async def test_bots_and_keys_are_made_so_often_and_ended_keys_are_forgotten(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api_keys, "MAX_ENDED", 2)
    token = (await auth.register("ann"))["access_token"]
    bot, first = await bot_of(auth, token)
    path, made = f"/auth/bots/{bot}/keys", [first]
    for _ in range(4):
        await auth.client.delete(f"{path}/{made[-1]['id']}", headers=bearer(token))
        made.append((await auth.post(path, KEY, token)).json())
    listed = [key["id"] for key in (await auth.get(path, token)).json()["keys"]]
    assert listed == [key["id"] for key in reversed(made[-3:])]
    assert code(await auth.get("/auth/me", first["key"])) == "invalid_token"
    # Ten so far. Whoever goes on is slowed down, and may still look.
    answers = [await auth.post(path, KEY, token) for _ in range(51)]
    assert code(answers[-1]) == "rate_limited"
    assert "retry-after" in answers[-1].headers
    assert (await auth.get(path, token)).status_code == 200


async def test_what_is_not_quite_a_key_is_none(auth: Auth):
    ann = await auth.register("ann")
    _, key = await bot_of(auth, ann["access_token"])
    right = key["key"]
    wrong = [right[:-1], right + "x", right[:-1] + ("A" if right[-1] != "A" else "B"), "pk_", right.upper(),
             right.replace(key["id"], "pk_0000000000000000")]  # fmt: skip
    for token in wrong:
        response = await auth.get("/auth/me", token)
        assert (response.status_code, code(response)) == (401, "invalid_token"), token


async def test_a_key_is_good_for_its_scopes_alone(everything: Stack):
    auth = everything.auth
    ann = await auth.register("ann")
    _, both = await bot_of(auth, ann["access_token"])
    _, reads = await bot_of(auth, ann["access_token"], scopes=["chat:read"])
    _, writes = await bot_of(auth, ann["access_token"], scopes=["chat:write"])
    _, other = await bot_of(auth, ann["access_token"], scopes=["dice:read", "admin:own"])
    expected = {both["key"]: (200, 200), reads["key"]: (200, 403), writes["key"]: (403, 200), other["key"]: (403, 403)}
    for key, (reading, writing) in expected.items():
        assert (await everything.call("GET", "/api/rooms", key)).status_code == reading
        made = await everything.call("POST", "/api/rooms", key, {"name": "General", "kind": "public"})
        assert made.status_code == writing
        # An account is nobody's but its user's, and a bot without roles administrates nothing.
        assert code(await auth.get("/auth/sessions", key)) == "forbidden"
        assert code(await auth.get("/admin/users", key)) == "forbidden"
    room = (await everything.call("POST", "/api/rooms", both["key"], {"name": "Ours", "kind": "public"})).json()["room"]
    client = await everything.connected(reads["key"])
    joined = await client.emit("room.join", {"id": "j1", "room": room["id"]})
    assert joined["error"]["code"] == "forbidden"
    assert (await client.emit("history", {"room": room["id"]}))["ok"]
    for key in (writes["key"], other["key"]):
        with pytest.raises(ConnectError) as refused:
            await everything.connected(key)
        assert refused.value.data["code"] == "forbidden"


async def test_a_revoked_key_is_refused_at_once_and_its_connections_end(everything: Stack):
    auth = everything.auth
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    other = (await auth.post(f"/auth/bots/{bot}/keys", KEY, ann["access_token"])).json()
    going, staying = await everything.connected(key["key"]), await everything.connected(other["key"])
    ended = await auth.client.delete(f"/auth/bots/{bot}/keys/{key['id']}", headers=bearer(ann["access_token"]))
    assert ended.status_code == 200
    assert code(await auth.get("/auth/me", key["key"])) == "revoked_token"
    await going.disconnected()
    assert staying.connected
    assert (await auth.get("/auth/me", other["key"])).status_code == 200


async def test_a_gateway_that_missed_a_revocation_of_a_key_finds_out_when_it_asks(everything: Stack):
    auth = everything.auth
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    client = await everything.connected(key["key"])
    assert (await auth.components.gateways.recheck([bot])).disconnected == 1
    assert client.connected
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.api_keys SET revoked_at = clock_timestamp()"))
    await auth.components.gateways.recheck([bot])
    await client.disconnected()


async def test_a_rotated_key_has_both_secrets_while_they_overlap(auth: Auth):
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    path = f"/auth/bots/{bot}/keys/{key['id']}/rotate"
    second = (await auth.post(path, {}, ann["access_token"])).json()
    assert (second["id"], second["scopes"]) == (key["id"], key["scopes"])
    for text_ in (key["key"], second["key"]):
        assert (await auth.get("/auth/me", text_)).status_code == 200
    third = (await auth.post(path, {"overlap_seconds": 0}, ann["access_token"])).json()
    statuses = [(await auth.get("/auth/me", each["key"])).status_code for each in (key, second, third)]
    assert statuses == [401, 401, 200]


async def test_a_key_that_is_rotated_without_overlap_ends_the_connections_that_came_with_it(everything: Stack):
    auth = everything.auth
    ann = await auth.register("ann")
    bot, key = await bot_of(auth, ann["access_token"])
    path = f"/auth/bots/{bot}/keys/{key['id']}/rotate"
    client = await everything.connected(key["key"])
    await auth.post(path, {"overlap_seconds": 60}, ann["access_token"])
    assert (await client.emit("rooms", {}))["ok"]
    third = (await auth.post(path, {"overlap_seconds": 0}, ann["access_token"])).json()
    await client.disconnected()
    again = await everything.connected(third["key"])
    admin = await auth.admin_token()
    await auth.post(f"/admin/api-keys/{key['id']}/rotate", {"overlap_seconds": 0}, admin)
    await again.disconnected()


async def test_an_expired_key_is_refused(auth: Auth):
    ann = await auth.register("ann")
    _, key = await bot_of(auth, ann["access_token"], duration_seconds=60)
    assert (await auth.get("/auth/me", key["key"])).status_code == 200
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.api_keys SET expires_at = clock_timestamp() - interval '1 second'"))
    assert code(await auth.get("/auth/me", key["key"])) == "expired_token"


async def test_a_bot_may_no_more_than_its_owner(auth: Auth):
    admin, ann = await auth.admin_token(), await auth.register("ann")
    ben = (await auth.register("ben"))["user_id"]
    bot, key = await bot_of(auth, ann["access_token"], scopes=["admin:moderate"])

    async def may() -> list[int]:
        asked = [
            await auth.get("/admin/users", key["key"]),
            await auth.post(f"/admin/users/{ben}/kick", {}, key["key"]),
        ]
        return [response.status_code for response in asked]

    async def give(user: str, *roles: str) -> None:
        response = await auth.client.put(f"/admin/users/{user}/roles", json={"roles": roles}, headers=bearer(admin))
        assert response.status_code == 200, response.text

    await give(bot, "admin", "admin:moderate", "admin:read")
    assert await may() == [403, 403]  # its owner is no administrator
    await give(ann["user_id"], "admin:read")
    assert await may() == [200, 403]
    await give(ann["user_id"], "admin")
    assert await may() == [200, 200]
    # Its key is good up to moderating, whatever its roles are.
    assert code(await auth.post(f"/admin/users/{bot}/revoke", {}, key["key"])) == "forbidden"
    await auth.post(f"/admin/users/{ann['user_id']}/suspension", {}, admin)
    assert await may() == [200, 403]
    await auth.post(f"/admin/users/{ann['user_id']}/ban", {"reason": "spam"}, admin)
    assert code(await auth.get("/auth/me", key["key"])) == "banned"


async def test_a_bot_goes_with_its_owner_and_by_itself(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    (bot, key), (lasting, other) = [await bot_of(auth, ann["access_token"]) for _ in range(2)]
    client, observer = await everything.connected(key["key"]), await everything.connected(other["key"])
    assert (await auth.client.delete(f"/auth/bots/{bot}", headers=bearer(ann["access_token"]))).status_code == 200
    await client.disconnected()
    assert code(await auth.get("/auth/me", key["key"])) == "invalid_token"
    # A ban of the owner ends the bot's connections too.
    await auth.post(f"/admin/users/{ann['user_id']}/ban", {}, admin)
    await observer.disconnected()
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("DELETE FROM auth.users WHERE id = :id"), {"id": ann["user_id"]})
    assert code(await auth.get("/auth/me", other["key"])) == "invalid_token"
    assert code(await auth.get(f"/admin/users/{lasting}", admin)) == "not_found"


async def test_bots_are_bounded_and_nobody_elses(auth: Auth):
    ann, ben = await auth.register("ann"), await auth.register("ben")
    bot, key = await bot_of(auth, ann["access_token"])
    await bot_of(auth, ann["access_token"])
    assert code(await auth.post("/auth/bots", {"name": "Third"}, ann["access_token"])) == "limit_exceeded"
    assert code(await auth.post("/auth/bots", {"name": "Child"}, key["key"])) == "forbidden"
    assert (await auth.get("/auth/bots", ben["access_token"])).json() == {"bots": []}
    path = f"/auth/bots/{bot}"
    for method, under, body in [
        ("GET", "/keys", None), ("POST", "/keys", KEY), ("DELETE", "", None), ("DELETE", f"/keys/{key['id']}", None),
        ("POST", f"/keys/{key['id']}/rotate", {}),
    ]:  # fmt: skip
        response = await auth.client.request(method, path + under, json=body, headers=bearer(ben["access_token"]))
        assert (response.status_code, code(response)) == (404, "not_found"), (method, under)
    await auth.post(f"/admin/users/{ann['user_id']}/suspension", {}, await auth.admin_token())
    assert code(await auth.post(f"{path}/keys", KEY, ann["access_token"])) == "suspended"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": ""}, {"name": " "}, {"name": "x" * 65}, {"name": "a\nb"}, {"name": "ok", "scopes": []},
        {"name": "ok", "scopes": ["everything"]}, {"name": "ok", "scopes": ["admin:write"]},
        {"name": "ok", "scopes": ["*:read"]}, {"name": "ok", "scopes": ["chat:read"], "duration_seconds": 0},
        {"name": "ok", "scopes": ["chat:read\n"]}, {"name": "ok", "scopes": ["chat:read"] * 33},
    ],
    ids=str,
)  # fmt: skip
async def test_malformed_keys_are_refused(auth: Auth, body: dict[str, Any]):
    ann = await auth.register("ann")
    bot, _ = await bot_of(auth, ann["access_token"])
    response = await auth.post(f"/auth/bots/{bot}/keys", body, ann["access_token"])
    assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_administrators_make_bots_and_keys_for_anybody_and_it_is_audited(auth: Auth):
    admin, ann = await auth.admin_token(), await auth.register("ann")
    bot = (await auth.post("/admin/bots", {"name": "Server", "owner_id": ann["user_id"]}, admin)).json()
    assert (bot["owner_id"], (await auth.get("/auth/bots", ann["access_token"])).json()["bots"]) == (
        ann["user_id"], [bot],
    )  # fmt: skip
    key = (await auth.post("/admin/api-keys", {"user_id": bot["id"], **KEY}, admin)).json()
    second = (await auth.post(f"/admin/api-keys/{key['id']}/rotate", {"overlap_seconds": 0}, admin)).json()
    assert (await auth.get("/auth/me", second["key"])).status_code == 200
    listed = (await auth.get("/admin/api-keys", admin, user_id=bot["id"])).json()["keys"]
    assert [each["id"] for each in listed] == [key["id"]]
    assert (await auth.client.delete(f"/admin/api-keys/{key['id']}", headers=bearer(admin))).status_code == 200
    assert code(await auth.get("/auth/me", second["key"])) == "revoked_token"
    assert (await auth.client.delete(f"/admin/bots/{bot['id']}", headers=bearer(admin))).status_code == 200
    assert code(await auth.post("/admin/api-keys", {"user_id": ann["user_id"], **KEY}, admin)) == "not_found"
    entries = (await auth.get("/admin/audit", admin)).json()["entries"]
    assert [entry["action"] for entry in reversed(entries)] == [
        "bot.create", "api_key.create", "api_key.rotate", "api_key.revoke", "bot.delete",
    ]  # fmt: skip
    assert second["key"].split("_", 2)[2] not in str(entries)
