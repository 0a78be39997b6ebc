"""A person on one page, and seeing with their eyes: read, never write, and known to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.administration import Stack, stack
from tests.support.auth.service import bearer, code


@pytest.fixture
async def everything(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(database_url, nats_url, tmp_path) as running:
        yield running


async def test_all_there_is_about_somebody_is_in_one_answer(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    bot = (await auth.post("/auth/bots", {"name": "Robbie"}, ann["access_token"])).json()
    await auth.post(f"/auth/bots/{bot['id']}/keys", {"name": "k", "scopes": ["chat:read"]}, ann["access_token"])
    await everything.connected(ann["access_token"])
    path = f"/admin/users/{ann['user_id']}"
    await auth.post(f"{path}/suspension", {"reason": "calm down"}, admin)
    person = (await auth.get(path, admin)).json()
    assert (person["id"], person["kind"], person["suspension"]["reason"]) == (ann["user_id"], "local", "calm down")
    assert [session["method"] for session in person["sessions"]] == ["password"]
    assert [(each["namespace"], each["gateway"]) for each in person["connections"]] == [("/chat", "gateway1")]
    assert (person["bots"], person["unanswered"], person["bans"]) == ([bot], [], [])
    assert [entry["action"] for entry in person["audit"]] == ["user.suspend"]
    robot = (await auth.get(f"/admin/users/{bot['id']}", admin)).json()
    assert (robot["kind"], robot["owner_id"], [key["name"] for key in robot["api_keys"]]) == (
        "bot", ann["user_id"], ["k"],
    )  # fmt: skip
    await auth.post(f"{path}/ban", {"reason": "once"}, admin)
    await auth.post(f"{path}/unban", {}, admin)
    person = (await auth.get(path, admin)).json()
    assert ([ban["reason"] for ban in person["bans"]], person["ban"]) == (["once"], None)


async def test_a_view_token_reads_and_never_writes_and_its_user_sees_it(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann = await auth.register("ann")
    made = await everything.call("POST", "/api/rooms", ann["access_token"], {"name": "Secret", "kind": "private"})
    room = made.json()["room"]["id"]
    view = (await auth.post(f"/admin/users/{ann['user_id']}/view-token", {"reason": "ticket 7"}, admin)).json()
    token = view["access_token"]
    assert (await everything.call("GET", f"/api/rooms/{room}/messages", token)).status_code == 200
    body = {"id": "m1", "body": "not hers"}
    assert code(await everything.call("POST", f"/api/rooms/{room}/messages", token, body)) == "forbidden"
    client = await everything.connected(token)
    assert (await client.emit("history", {"room": room}))["ok"]
    written = await client.emit("message.send", {"id": "m2", "room": room, "body": "not hers"})
    assert written["error"]["code"] == "forbidden"
    for path in ("/auth/sessions", "/auth/bots"):
        assert code(await auth.get(path, token)) == "forbidden"
    (seen, _own) = sorted(
        (await auth.get("/auth/sessions", ann["access_token"])).json()["sessions"],
        key=lambda session: session["method"] != "view",
    )
    assert (seen["id"], seen["method"], seen["device"]) == (view["session_id"], "view", "seen by admin")
    (entry,) = (await auth.get("/admin/audit", admin, action="user.view")).json()["entries"]
    assert entry["detail"] == {"reason": "ticket 7", "session_id": view["session_id"]}
    path = f"/auth/sessions/{view['session_id']}"
    assert (await auth.client.delete(path, headers=bearer(ann["access_token"]))).status_code == 200
    assert code(await everything.call("GET", "/api/rooms", token)) == "revoked_token"
    await client.disconnected()


async def test_who_looks_on_marks_nothing_as_read_subscribes_to_nothing_and_is_not_seen(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    ann, ben = await auth.register("ann"), await auth.register("ben")
    room = (await everything.call("POST", "/api/rooms", ben["access_token"], {"name": "Open"})).json()["room"]["id"]
    assert (await everything.call("POST", f"/api/rooms/{room}/join", ann["access_token"], {})).status_code == 200
    token = (await auth.post(f"/admin/users/{ann['user_id']}/view-token", {}, admin)).json()["access_token"]
    client = await everything.connected(token, presence="dnd")
    changes = {
        "read": {"room": room, "sequence": 2},
        "unread.mark": {"room": room, "sequence": 1},
        "preferences.update": {"private_receipts": True},
        "notification.level": {"room": room, "level": "none"},
        "notification.read": {"up_to": 1},
        "push.subscribe": {"endpoint": "https://push.example.com/1", "keys": {"p256dh": "a", "auth": "b"}},
        "push.unsubscribe": {"endpoint": "https://push.example.com/1"},
        "presence.set": {"state": "dnd"},
    }
    refused = {event: (await client.emit(event, body))["error"]["code"] for event, body in changes.items()}
    assert refused == dict.fromkeys(changes, "forbidden")
    assert code(await everything.call("POST", f"/api/rooms/{room}/read", token, {"sequence": 2})) == "forbidden"
    assert (await client.emit("rooms", {}))["ok"]
    watcher = await everything.connected(ben["access_token"])
    seen = await watcher.emit("presence", {"room": room})
    assert [user["id"] for user in seen["users"]] == [ben["user_id"]]


async def test_a_view_token_of_an_administrator_administrates_nothing(everything: Stack):
    auth, admin = everything.auth, await everything.auth.admin_token()
    me = (await auth.get("/auth/me", admin)).json()["user_id"]
    token = (await auth.post(f"/admin/users/{me}/view-token", {}, admin)).json()["access_token"]
    assert code(await auth.get("/admin/users", token)) == "forbidden"
    assert code(await auth.post("/admin/users/nobody/view-token", {}, admin)) == "not_found"
