"""The admin API, with gateways and chat played by NATS subscribers of the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from parley.auth.moderation import kicks as gateways
from parley.auth.tables import users
from parley.common.errors import Code, Reject
from parley.common.nats.bus import connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.admin import (
    ArchiveRoomRequest,
    EraseUser,
    ErasureInfo,
    GetErasure,
    ListRooms,
    RoomInfo,
    RoomList,
)
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.operations import (
    Kick,
    ListConnections,
    decode_operation,
)
from parley.common.wire.processes import SignOfLife
from parley.framework.remote import gateway_registry
from tests.support.auth.played_gateway import played_gateway, registry_of, settled
from tests.support.auth.service import PASSWORD, Auth, code, running_auth
from tests.support.waiting import until


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def admin(auth: Auth) -> str:
    return await auth.admin_token()


def ended(response: httpx.Response) -> tuple[int, list[str]]:
    """What a kick says: how many connections were ended, and who did not answer."""
    told = response.json()
    return told["disconnected"], told["unanswered"]


async def audited(auth: Auth, admin: str) -> list[tuple[str, str]]:
    entries = (await auth.get("/admin/audit", admin)).json()["entries"]
    return [(entry["action"], entry["target"]) for entry in entries]


async def test_admin_api_needs_a_token_and_the_role(auth: Auth) -> None:
    granted = await auth.register()
    paths = {
        "GET": ["users", "users/x", "users/x/connections", "connections", "gateways", "rooms", "audit"],
        "POST": ["users/x/kick", "users/x/ban", "users/x/unban", "users/x/revoke", "rooms/x/close"],
    }
    for method, under in paths.items():
        for path in under:
            for token, status in (("", 401), ("nonsense", 401), (granted["access_token"], 403)):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                response = await auth.client.request(method, f"/admin/{path}", json={}, headers=headers)
                assert response.status_code == status, (method, path)
    assert await audited(auth, await auth.admin_token()) == []


async def test_users_are_listed_newest_first_in_pages_and_found(auth: Auth, admin: str) -> None:
    for number in range(5):
        await auth.register(f"user_{number}")
    first = (await auth.get("/admin/users", admin, limit=3)).json()
    assert [user["name"] for user in first["users"]] == ["user_4", "user_3", "user_2"]
    assert first["more"] is True
    second = (await auth.get("/admin/users", admin, limit=3, before=first["users"][-1]["id"])).json()
    assert [user["name"] for user in second["users"]] == ["user_1", "user_0", "admin"]
    assert second["more"] is False
    found = (await auth.get("/admin/users", admin, search="USER_3")).json()
    assert [user["name"] for user in found["users"]] == ["user_3"]
    for wildcard in ("user%3", "u_er_3"):
        assert (await auth.get("/admin/users", admin, search=wildcard)).json()["users"] == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"search": "\x00"}, {"before": "x" * 200}], ids=str)
async def test_malformed_queries_are_refused(auth: Auth, admin: str, query: dict[str, Any]) -> None:
    assert code(await auth.get("/admin/users", admin, **query)) == "invalid_payload"


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("kick", {"reason": "x" * 501}),
        ("kick", {"reason": "\x00"}),
        ("kick", []),
        ("ban", {"duration_seconds": 0}),
        ("ban", {"duration_seconds": 10**12}),
        ("ban", {"duration_seconds": "for ever"}),
        ("ban", {"duration_seconds": True}),
        ("ban", {"duration_seconds": "60"}),
        ("ban", {"duration_seconds": 1.5}),
    ],
)
async def test_malformed_actions_are_refused_and_not_audited(auth: Auth, admin: str, action: str, body: Any) -> None:
    granted = await auth.register()
    response = await auth.client.post(
        f"/admin/users/{granted['user_id']}/{action}", json=body, headers={"authorization": f"Bearer {admin}"}
    )
    assert (response.status_code, code(response)) == (422, "invalid_payload")
    assert await audited(auth, admin) == []


async def test_unknown_users_are_not_found(auth: Auth, admin: str) -> None:
    assert code(await auth.get("/admin/users/nobody", admin)) == "not_found"
    for action in ("ban", "revoke"):
        assert code(await auth.post(f"/admin/users/nobody/{action}", {}, admin)) == "not_found"
    assert code(await auth.get("/admin/users/a%00b", admin)) == "invalid_payload"
    assert await audited(auth, admin) == []


async def test_kick_reaches_every_gateway_and_counts(auth: Auth, admin: str, nats_url: str) -> None:
    guest = "guest:1"
    async with (
        played_gateway(nats_url, "g1", [guest, guest, "other"]) as one,
        played_gateway(nats_url, "g2", [guest]) as two,
    ):
        await settled(auth, "g1", "g2")
        assert [gateway["id"] for gateway in (await auth.get("/admin/gateways", admin)).json()["gateways"]] == [
            "g1",
            "g2",
        ]
        started = time.monotonic()
        response = await auth.post(f"/admin/users/{guest}/kick", {"reason": "calm down"}, admin)
        assert time.monotonic() - started < gateways.ANSWER_TIMEOUT / 2
        assert ended(response) == (3, [])
        (kick,) = one.kicks
        assert two.kicks == [kick]
        assert (kick.selection.user_id, kick.code, kick.reason) == (guest, "kicked", "calm down")
    assert await audited(auth, admin) == [("user.kick", guest)]


async def test_gateway_that_does_not_answer_is_named(auth: Auth, admin: str, nats_url: str) -> None:
    async with (
        played_gateway(nats_url, "g1", ["guest:1"]),
        played_gateway(nats_url, "g2", ["guest:1"]) as deaf,
    ):
        await settled(auth, "g1", "g2")
        deaf.silent = True
        response = await auth.post("/admin/users/guest:1/kick", {}, admin)
        assert ended(response) == (1, ["g2"])


async def test_a_kick_is_sent_and_names_a_gateway_that_fell_silent_though_none_lives(
    auth: Auth, admin: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_registry, "SILENT_AFTER", 0.2)
    async with connect(ServiceSettings(nats_url=nats_url, instance="observer"), "test") as bus:
        heard: list[bytes] = []
        bus.listen(subjects.GATEWAYS, heard.append)
        await bus.flush()
        await bus.publish(subjects.alive("gateway", "stalled:1a2b"), SignOfLife(1).encode())

        async def silent() -> bool:
            return registry_of(auth).warmed_up and "stalled:1a2b" in registry_of(auth).silent()

        await until(silent)
        response = await auth.post("/admin/users/guest:1/kick", {}, admin)
        assert ended(response) == (0, ["stalled"])
        assert (await auth.get("/admin/users/guest:1/connections", admin)).json()["unanswered"] == ["stalled"]

        async def both() -> bool:
            return [type(decode_operation(data)) for data in heard] == [Kick, ListConnections]

        await until(both)


async def test_gateway_that_ended_is_forgotten(auth: Auth, nats_url: str) -> None:
    async with played_gateway(nats_url, "g1", []):
        await settled(auth, "g1")
    await settled(auth)


async def test_registry_just_started_waits_for_every_answer(auth: Auth, admin: str, nats_url: str) -> None:
    async with played_gateway(nats_url, "g1", ["guest:1"]) as gateway:
        registry_of(auth).start_over()
        gateway.on_kick = lambda: asyncio.sleep(0.3)
        response = await auth.post("/admin/users/guest:1/kick", {}, admin)
        assert response.json()["disconnected"] == 1


async def test_without_gateways_a_kick_answers_at_once(auth: Auth, admin: str) -> None:
    await settled(auth)
    user = (await auth.register())["user_id"]
    started = time.monotonic()
    assert ended(await auth.post(f"/admin/users/{user}/kick", {}, admin)) == (0, [])
    assert time.monotonic() - started < gateways.ANSWER_TIMEOUT, "which is how long it waits for a gateway"


async def test_connections_are_listed_with_where_they_are(auth: Auth, admin: str, nats_url: str) -> None:
    async with (
        played_gateway(nats_url, "g1", ["guest:1", "u_2"]),
        played_gateway(nats_url, "g2", ["guest:1"]),
    ):
        await settled(auth, "g1", "g2")
        page = (await auth.get("/admin/connections", admin)).json()
        assert sorted(found["user_id"] for found in page["connections"]) == ["guest:1", "guest:1", "u_2"]
        assert page["unanswered"] == []
        page = (await auth.get("/admin/users/u_2/connections", admin)).json()
        assert page["connections"] == [
            {
                "sid": "sid1",
                "user_id": "u_2",
                "name": "Somebody",
                "namespace": "/chat",
                "gateway": "g1",
                "address": "192.0.2.1",
                "transport": "websocket",
                "connected_at": "2001-09-09T01:46:40Z",
            }
        ]
        assert len((await auth.get("/admin/connections", admin, limit=1)).json()["connections"]) == 1


async def test_ban_is_in_force_before_connections_are_ended(auth: Auth, admin: str, nats_url: str) -> None:
    granted = await auth.register()
    user_id = granted["user_id"]
    async with played_gateway(nats_url, "g1", [user_id]) as gateway:
        await settled(auth, "g1")
        seen: list[Code] = []

        async def ask() -> None:
            with pytest.raises(Reject) as rejection:
                await gateway.bus.request(subjects.AUTHENTICATE, Authenticate(granted["access_token"]), Identity)
            seen.append(rejection.value.code)

        gateway.on_kick = ask
        response = await auth.post(f"/admin/users/{user_id}/ban", {"reason": "spam", "duration_seconds": 3600}, admin)
        assert response.json()["disconnected"] == 1
        assert seen == [Code.BANNED]
        until_when = datetime.fromisoformat(response.json()["banned_until"])
        assert abs(until_when - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
        (kick,) = gateway.kicks
        assert kick.code == "banned"
        assert kick.reason == f"You are banned until {until_when:%Y-%m-%d %H:%M:%S} UTC: spam"
    entry = (await auth.get("/admin/audit", admin)).json()["entries"][0]
    assert (entry["action"], entry["admin_name"], entry["target"]) == ("user.ban", "admin", user_id)
    assert entry["detail"] == {"reason": "spam", "duration_seconds": 3600}
    assert entry["correlation"] == response.headers["x-request-id"]


async def test_a_body_that_says_nothing_may_be_left_out_and_a_whole_number_be_written_with_a_fraction(
    auth: Auth, admin: str
) -> None:
    granted = await auth.register()
    user, headers = f"/admin/users/{granted['user_id']}", {"authorization": f"Bearer {admin}"}
    assert (await auth.client.post(f"{user}/kick", headers=headers)).status_code == 200
    banned = await auth.client.post(
        f"{user}/ban", headers=headers | {"content-type": "application/json"}, content=b'{"duration_seconds": 60.0}'
    )
    until_when = datetime.fromisoformat(banned.json()["banned_until"])
    assert abs(until_when - datetime.now(UTC) - timedelta(minutes=1)) < timedelta(seconds=20)


@pytest.mark.parametrize(
    "body", [b'{"reason": "x", "other": NaN}', b'{"other": "\\ud83d"}', b"[", b"\xff\xfe{\x00}\x00"]
)
async def test_json_that_is_none_is_refused_like_any_malformed_body(auth: Auth, admin: str, body: bytes) -> None:
    headers = {"authorization": f"Bearer {admin}", "content-type": "application/json"}
    response = await auth.client.post("/admin/users/guest:1/kick", headers=headers, content=body)
    assert (response.status_code, code(response)) == (422, "invalid_payload")
    as_text = headers | {"content-type": "text/plain"}
    response = await auth.client.post("/admin/users/guest:1/kick", headers=as_text, content=b"{}")
    assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_the_openapi_document_says_what_bodies_are(auth: Auth) -> None:
    paths = (await auth.get("/auth/openapi.json")).json()["paths"]
    bodies = {
        path: found["post"]["requestBody"] for path, found in paths.items() if "requestBody" in found.get("post", {})
    }
    assert set(bodies) >= {
        "/auth/register", "/auth/login", "/auth/refresh", "/auth/logout", "/admin/users/{user_id}/kick",
        "/admin/users/{user_id}/ban", "/admin/rooms/{room}/close", "/auth/oidc/token",
        "/auth/oidc/{name}/backchannel-logout",
    }  # fmt: skip
    schema = bodies["/auth/login"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["username", "password"]
    assert schema["properties"]["password"] == {"type": "string", "minLength": 8, "maxLength": 256}
    assert not bodies["/admin/users/{user_id}/kick"]["required"]


async def test_the_page_after_a_user_who_is_not_there_is_no_empty_page(auth: Auth, admin: str) -> None:
    assert code(await auth.get("/admin/users", admin, before="nobody")) == "not_found"


async def test_banned_user_can_do_nothing_until_unbanned(auth: Auth, admin: str) -> None:
    granted = await auth.register()
    user = f"/admin/users/{granted['user_id']}"
    assert (await auth.post(f"{user}/ban", {"reason": "spam"}, admin)).json()["banned_until"] is None
    responses = [
        await auth.get("/auth/me", granted["access_token"]),
        await auth.login(),
        await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]}),
    ]
    for response in responses:
        assert (response.status_code, code(response)) == (403, "banned")
        assert response.json()["error"]["message"] == "You are banned: spam"
    assert code(await auth.login(password="wrong password")) == "invalid_credentials"
    seen = (await auth.get(user, admin)).json()["ban"]
    assert (seen["reason"], seen["expires_at"]) == ("spam", None)

    assert (await auth.post(f"{user}/unban", {}, admin)).json() == {"unbanned": True}
    assert (await auth.post(f"{user}/unban", {}, admin)).json() == {"unbanned": False}
    assert (await auth.get(user, admin)).json()["ban"] is None
    assert (await auth.get("/auth/me", granted["access_token"])).status_code == 200
    assert (await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})).status_code == 200


async def test_ban_ends_by_itself_and_a_new_one_replaces_it(auth: Auth, admin: str) -> None:
    granted = await auth.register()
    user = f"/admin/users/{granted['user_id']}"
    await settled(auth)
    await auth.post(f"{user}/ban", {"reason": "for ever"}, admin)
    await auth.post(f"{user}/ban", {"reason": "for a second", "duration_seconds": 1}, admin)
    assert (await auth.get(user, admin)).json()["ban"]["reason"] == "for a second"

    async def welcome_again() -> bool:
        return (await auth.get("/auth/me", granted["access_token"])).status_code == 200

    await until(welcome_again)
    assert (await auth.get(user, admin)).json()["ban"] is None
    await auth.post(f"{user}/ban", {"reason": "again"}, admin)
    assert (await auth.get(user, admin)).json()["ban"]["reason"] == "again"


async def test_parallel_bans_of_one_user_leave_one(auth: Auth, admin: str) -> None:
    granted = await auth.register()
    await settled(auth)
    path = f"/admin/users/{granted['user_id']}/ban"
    responses = await asyncio.gather(*(auth.post(path, {"reason": str(number)}, admin) for number in range(5)))
    assert [response.status_code for response in responses] == [200] * 5
    assert code(await auth.login()) == "banned"


async def test_administrator_cannot_ban_themselves(auth: Auth, admin: str) -> None:
    me = (await auth.get("/auth/me", admin)).json()["user_id"]
    response = await auth.post(f"/admin/users/{me}/ban", {}, admin)
    assert (response.status_code, code(response)) == (403, "forbidden")


async def test_revoked_user_is_out_at_once_and_may_log_in_again(auth: Auth, admin: str, nats_url: str) -> None:
    granted = await auth.register()
    user_id = granted["user_id"]
    async with played_gateway(nats_url, "g1", [user_id]) as gateway:
        await settled(auth, "g1")
        response = await auth.post(f"/admin/users/{user_id}/revoke", {}, admin)
        assert response.json()["disconnected"] == 1
        assert [kick.code for kick in gateway.kicks] == ["revoked_token"]
    assert code(await auth.get("/auth/me", granted["access_token"])) == "revoked_token"
    refreshed = await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})
    assert code(refreshed) == "revoked_token"
    again = (await auth.login(password=PASSWORD)).json()
    assert (await auth.get("/auth/me", again["access_token"])).status_code == 200


async def test_rooms_are_listed_and_closed_through_chat(auth: Auth, admin: str, nats_url: str) -> None:
    made = RoomInfo("r1", "General", "public", False, 7, 3, "u_1", datetime(2026, 1, 2, tzinfo=UTC))
    asked: list[Any] = []

    async def list_rooms(request: ListRooms) -> RoomList:
        asked.append(request)
        return RoomList([made], more=False)

    async def archive(request: ArchiveRoomRequest) -> None:
        asked.append(request)
        if request.room != "r1":
            raise Reject(Code.NOT_FOUND)

    assert code(await auth.get("/admin/rooms", admin)) == "unavailable"
    async with connect(ServiceSettings(nats_url=nats_url, instance="c1"), "chat") as chat:
        await chat.respond(subjects.LIST_ROOMS, ListRooms, list_rooms, "chat")
        await chat.respond(subjects.ARCHIVE_ROOM, ArchiveRoomRequest, archive, "chat")
        await chat.flush()
        page = (await auth.get("/admin/rooms", admin, search="gen", limit=10, before="r0")).json()
        assert page["rooms"][0]["name"] == "General"
        assert page["rooms"][0]["created_at"] == "2026-01-02T00:00:00Z"
        assert asked.pop() == ListRooms("gen", "r0", 10)

        assert (await auth.post("/admin/rooms/r1/close", {"reason": "done"}, admin)).json() == {"ok": True}
        closed = asked.pop()
        assert (closed.room, closed.reason, closed.admin.name) == ("r1", "done", "admin")
        assert (await auth.post("/admin/rooms/r1/close", {"reason": "again, no answer came"}, admin)).status_code == 200
        assert code(await auth.post("/admin/rooms/r2/close", {}, admin)) == "not_found"
    assert await audited(auth, admin) == [("room.close", "r2"), ("room.close", "r1")]


async def test_a_user_is_erased_through_chat_and_the_asking_is_audited(auth: Auth, admin: str, nats_url: str) -> None:
    asked: list[Any] = []

    async def erase(request: EraseUser) -> ErasureInfo:
        asked.append(request)
        return ErasureInfo("e1", request.user, "requested", datetime(2026, 1, 2, tzinfo=UTC), None, 0)

    async def how_far(request: GetErasure) -> ErasureInfo:
        if not asked:
            raise Reject(Code.NOT_FOUND)
        return ErasureInfo("e1", request.user, "completed", datetime(2026, 1, 2, tzinfo=UTC), datetime.now(UTC), 7)

    assert code(await auth.post("/admin/users/u%2F1/erase", {}, admin)) == "unavailable"
    async with connect(ServiceSettings(nats_url=nats_url, instance="c1"), "chat") as chat:
        await chat.respond(subjects.ERASE_USER, EraseUser, erase, "chat")
        await chat.respond(subjects.GET_ERASURE, GetErasure, how_far, "chat")
        await chat.flush()
        assert code(await auth.get("/admin/users/u%2F1/erase", admin)) == "not_found"
        answer = (await auth.post("/admin/users/u%2F1/erase", {}, admin)).json()
        assert answer == {
            "id": "e1", "user": "u/1", "state": "requested", "requested_at": "2026-01-02T00:00:00Z",
            "completed_at": None, "events": 0,
        }  # fmt: skip
        assert asked == [EraseUser("u/1")]
        found = (await auth.get("/admin/users/u%2F1/erase", admin)).json()
        assert (found["state"], found["events"]) == ("completed", 7)
    assert await audited(auth, admin) == [("user.erase", "u/1"), ("user.erase", "u/1")]


async def test_audit_is_read_in_pages(auth: Auth, admin: str) -> None:
    await settled(auth)
    for number in range(5):
        await auth.post(f"/admin/users/guest:{number}/kick", {}, admin)
    first = (await auth.get("/admin/audit", admin, limit=3)).json()
    assert [entry["target"] for entry in first["entries"]] == ["guest:4", "guest:3", "guest:2"]
    second = (await auth.get("/admin/audit", admin, limit=3, before=first["entries"][-1]["id"])).json()
    assert [entry["target"] for entry in second["entries"]] == ["guest:1", "guest:0"]
    assert (first["more"], second["more"]) == (True, False)
    assert code(await auth.get("/admin/audit", admin, before=2**63)) == "invalid_payload"


async def test_ids_with_slashes_are_one_id(auth: Auth, admin: str) -> None:
    await settled(auth)
    path, user = "/admin/users/https%3A%2F%2Fid.example.com%2Fbob", "https://id.example.com/bob"
    async with auth.components.database.transaction() as connection:
        await connection.execute(insert(users).values(id=user, name="Bob", kind="external"))
    assert (await auth.post(f"{path}/kick", {}, admin)).status_code == 200
    assert await audited(auth, admin) == [("user.kick", user)]
