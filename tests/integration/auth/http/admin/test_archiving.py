"""Whichever way an administrator archives a room, it is in the audit log, once, and before it is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.administration import Stack, stack
from tests.support.auth.service import code


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path) as running:
        yield running


async def test_archiving_over_http_and_over_the_socket_is_audited_as_closing_is(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")

    async def room(token: str) -> str:
        made = await everything.call("POST", "/api/rooms", token, {"name": "General", "kind": "public"})
        return made.json()["room"]["id"]

    mine, also, hers = await room(admin), await room(admin), await room(ann["access_token"])
    # A room of somebody else's is closed through the admin API, and not by the way.
    refused = await everything.call("POST", f"/api/rooms/{hers}/archive", admin, {"reason": "over"})
    assert code(refused) in {"forbidden", "not_a_member"}
    assert not (await everything.call("GET", f"/api/rooms/{hers}", ann["access_token"])).json()["room"]["archived"]
    body = {"id": str(uuid4()), "reason": "over"}
    for _ in range(2):
        assert (await everything.call("POST", f"/api/rooms/{mine}/archive", admin, body)).status_code == 200
    client = await everything.connected(admin)
    assert (await client.emit("room.archive", {"id": "a1", "room": also, "reason": "over"}))["ok"]
    assert (await auth.post(f"/admin/rooms/{hers}/close", {"reason": "over"}, admin)).status_code == 200
    await everything.call("POST", f"/api/rooms/{await room(ann['access_token'])}/archive", ann["access_token"], {})
    entries = (await auth.get("/admin/audit", admin)).json()["entries"]
    said = [(entry["action"], entry["target"], entry["after"]["archived"]) for entry in entries]
    assert sorted(said) == sorted(
        [("room.archive", mine, True), ("room.archive", also, True),
         ("room.close", hers, True)]
    )  # fmt: skip
    (closed,) = [entry for entry in entries if entry["action"] == "room.close"]
    assert closed["before"] == {"name": "General", "archived": False}
