"""Who is suspended reads and does not write, at once, over the socket and over HTTP, until it ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from parley.common.wire.identity import Identity
from parley.testing.stock_client import StockClient
from tests.support.administration import Stack, stack
from tests.support.auth.service import PASSWORD, bearer, code
from tests.support.waiting import until


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path) as running:
        yield running


async def room_of(everything: Stack, token: str) -> str:
    made = await everything.call("POST", "/api/rooms", token, {"name": "General", "kind": "public"})
    return made.json()["room"]["id"]


async def said(client: StockClient, room: str, number: int) -> str:
    """The code of what became of a message, or `ok`."""
    answer: Any = await client.emit("message.send", {"id": f"m{number}", "room": room, "body": "hello"})
    return "ok" if answer["ok"] else answer["error"]["code"]


async def test_open_connections_go_on_reading_and_are_refused_to_write_at_once(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    room, client = await room_of(everything, ann["access_token"]), await everything.connected(ann["access_token"])
    sid = client.sid
    assert await said(client, room, 1) == "ok"
    suspended = await auth.post(f"/admin/users/{ann['user_id']}/suspension", {"reason": "calm down"}, admin)
    assert (suspended.status_code, suspended.json()["refreshed"], suspended.json()["unanswered"]) == (200, 1, [])
    assert await said(client, room, 2) == "suspended"
    assert (await client.emit("history", {"room": room}))["ok"]
    assert (await client.emit("sync", {"cursors": {room: 0}}))["ok"]
    body = {"id": "m3", "body": "hello"}
    refused = await everything.call("POST", f"/api/rooms/{room}/messages", ann["access_token"], body)
    assert (refused.status_code, code(refused)) == (403, "suspended")
    assert (await everything.call("GET", f"/api/rooms/{room}/messages", ann["access_token"])).status_code == 200
    profile = await auth.client.put("/auth/me", json={"name": "Ann again"}, headers=bearer(ann["access_token"]))
    assert (profile.status_code, code(profile)) == (403, "suspended")
    # A login while suspended is suspended as well, and so is a new connection.
    fresh = (await auth.login("ann", PASSWORD)).json()["access_token"]
    assert await said(await everything.connected(fresh), room, 4) == "suspended"
    assert (await auth.get(f"/admin/users/{ann['user_id']}", admin)).json()["suspension"]["reason"] == "calm down"
    lifted = await auth.client.delete(f"/admin/users/{ann['user_id']}/suspension", headers=bearer(admin))
    assert (lifted.json()["lifted"], lifted.json()["refreshed"]) == (True, 2)
    assert await said(client, room, 5) == "ok"
    assert client.sid == sid  # the connection stayed all the while


async def test_it_ends_by_time_for_those_who_stayed_connected(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    room, client = await room_of(everything, ann["access_token"]), await everything.connected(ann["access_token"])
    await auth.post(f"/admin/users/{ann['user_id']}/suspension", {"duration_seconds": 3}, admin)
    assert await said(client, room, 1) == "suspended"
    numbers = iter(range(2, 1000))

    async def writes() -> bool:
        return await said(client, room, next(numbers)) == "ok"

    await until(writes)
    assert (await auth.get(f"/admin/users/{ann['user_id']}", admin)).json()["suspension"] is None


async def test_an_administrator_who_is_suspended_only_looks_and_roles_reach_open_connections(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann, ben = await auth.register("ann"), (await auth.register("ben"))["user_id"]
    client = await everything.connected(ann["access_token"])
    path = f"/admin/users/{ann['user_id']}"
    given = await auth.client.put(f"{path}/roles", json={"roles": ["admin:moderate"]}, headers=bearer(admin))
    assert given.json()["refreshed"] == 1
    assert (await auth.post(f"/admin/users/{ben}/kick", {}, ann["access_token"])).status_code == 200
    await auth.post(f"{path}/suspension", {}, admin)
    assert (await auth.post(f"/admin/users/{ben}/kick", {}, ann["access_token"])).status_code == 403
    assert (await auth.get("/admin/users", ann["access_token"])).status_code == 200
    assert client.connected


async def test_a_gateway_that_missed_it_finds_out_when_it_asks_who_is_welcome(everything: Stack):
    auth = everything.auth
    ann = await auth.register("ann")
    room, client = await room_of(everything, ann["access_token"]), await everything.connected(ann["access_token"])
    async with auth.components.database.transaction() as connection:
        new = "INSERT INTO auth.suspensions (user_id, reason, suspended_by) VALUES (:user, '', 'somebody')"
        await connection.execute(text(new), {"user": ann["user_id"]})
    assert await said(client, room, 1) == "ok"
    # What a gateway asks after a reconnect to NATS and every few minutes is what it asks when it is told to.
    assert (await auth.components.gateways.recheck([ann["user_id"]])).disconnected == 1
    assert await said(client, room, 2) == "suspended"


async def test_who_is_being_let_in_while_they_are_suspended_is_let_in_as_suspended(
    everything: Stack, monkeypatch: pytest.MonkeyPatch
):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    room = await room_of(everything, ann["access_token"])
    authenticator = auth.components.authenticator
    looked_up, answer, look_up = asyncio.Event(), asyncio.Event(), authenticator._welcome

    known: list[Identity] = []

    async def slowly(proved: Identity) -> Identity:
        if proved.user_id != ann["user_id"] or answer.is_set():
            return await look_up(proved)
        # The question is repeated after a while; what was known when it came first is the answer to all of them.
        known.append(known[0] if known else await look_up(proved))
        looked_up.set()
        await answer.wait()
        return known[0]

    monkeypatch.setattr(authenticator, "_welcome", slowly)
    connecting = asyncio.create_task(everything.connected(ann["access_token"]))
    await looked_up.wait()
    await auth.post(f"/admin/users/{ann['user_id']}/suspension", {}, admin)
    answer.set()
    assert await said(await connecting, room, 1) == "suspended"


@pytest.mark.parametrize("body", [{"duration_seconds": 0}, {"duration_seconds": 1.5}, {"reason": "x" * 501}], ids=str)
async def test_malformed_suspensions_are_refused(everything: Stack, body: dict[str, Any]):
    auth, admin = everything.auth, await everything.auth.admin_token()
    response = await auth.post("/admin/users/x/suspension", body, admin)
    assert (response.status_code, code(response)) == (422, "invalid_payload")
    assert code(await auth.post("/admin/users/x/suspension", {}, admin)) == "not_found"
