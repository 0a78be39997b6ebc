"""Who gets in: tokens of every kind, kicks, bans, revocations, guests of a namespace that is not there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jwt
import pytest

from tests.support.clients.conversation import command, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.stock_clients import Client
from tests.support.stack.stack import SECRET, RemoteStack


def signed(**claims: Any) -> str:
    """A token of the adopter's own server."""
    return jwt.encode({"sub": "customer-7", "name": "Cleo", "exp": time.time() + 60, **claims}, SECRET, "HS256")


async def refusal(client: Client) -> dict[str, Any]:
    """The data of the refused CONNECT."""
    await client.until(lambda: client.errors, "a refusal")
    data = client.errors[0]["data"]
    assert set(data) == {"code", "message", "retryable"}, client.errors
    return data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("auth", "code"),
    [
        (None, "missing_token"),
        ({}, "missing_token"),
        ({"token": ""}, "missing_token"),
        ({"token": 7}, "invalid_token"),
        ({"token": ["x"]}, "invalid_token"),
        ({"token": "x" * 9000}, "invalid_token"),
        ({"token": "not.a.token"}, "invalid_token"),
        ({"token": signed() + "x"}, "invalid_token"),
        ({"token": signed(exp=time.time() - 10)}, "expired_token"),
        ({"token": jwt.encode({"sub": "x", "exp": time.time() + 60}, "", "none")}, "invalid_token"),
    ],
    ids=["no auth", "empty auth", "empty", "number", "list", "huge", "garbage", "forged", "expired", "alg none"],
)
async def test_a_connection_without_a_valid_token_is_refused_with_a_code(
    people: People, kind: str, auth: Any, code: str
):
    client = await people.attempt(auth, kind=kind)
    assert (await refusal(client))["code"] == code
    assert client.connects == []


async def test_an_adopters_own_users_connect_without_registering(people: People, stack: AnyStack):
    client = await people.attempt({"token": signed()})
    await client.connected()
    room = await make_room(client)
    await client.until(lambda: client.logged(room), "its room")
    assert client.logged(room)[0]["actor"] == {"id": "customer-7", "name": "Cleo"}
    found = await stack.admin("GET", "/users?search=Cleo")
    assert [user["id"] for user in found["users"]] == ["customer-7"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_namespace_is_refused_as_socket_io_refuses_it(people: People, kind: str):
    client = await people.attempt({}, kind=kind, namespace="/nowhere")
    await client.until(lambda: client.errors, "a refusal")
    assert client.errors[0]["message"] == "Invalid namespace"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kick_tells_why_and_ends_every_connection_on_every_gateway(people: People, stack: AnyStack, kind: str):
    account = await people.account("victim")
    auth = {"token": account["access_token"]}
    devices = [
        await people.attempt(auth, gateway=stack.gateways[0], kind=kind),
        await people.attempt(auth, gateway=stack.gateways[1]),
        await people.attempt(auth, gateway=stack.gateways[1], transports=["polling"]),
    ]
    for device in devices:
        await device.connected()
    bystander, _ = await people.join("bystander")
    listed = await stack.admin("GET", f"/users/{account['user_id']}/connections")
    assert sorted(c["transport"] for c in listed["connections"]) == ["polling", "websocket", "websocket"]
    if not isinstance(stack, RemoteStack):
        assert sorted(c["gateway"] for c in listed["connections"]) == ["gateway1", "gateway2", "gateway2"]
    answer = await stack.admin("POST", f"/users/{account['user_id']}/kick", reason="Too loud")
    assert answer["disconnected"] == 3
    for device in devices:
        await device.until(lambda d=device: d.of("kicked") and d.disconnects, "the kick")
        assert device.of("kicked") == [{"code": "kicked", "reason": "Too loud"}]
    assert (await stack.admin("GET", f"/users/{account['user_id']}/connections"))["connections"] == []
    assert bystander.disconnects == []
    audited = (await stack.admin("GET", "/audit?limit=5"))["entries"]
    assert ("user.kick", account["user_id"]) in [(entry["action"], entry["target"]) for entry in audited]
    again = await people.attempt(auth)
    await again.connected()


async def test_a_kick_closes_the_transport_and_not_just_the_namespace(people: People, stack: AnyStack):
    account = await people.account("victim")
    async with RawSocket.open(stack.gateways[0].url) as socket:
        await socket.handshake()
        assert (await socket.join("/chat", {"token": account["access_token"]})).startswith("40/chat,")
        await stack.admin("POST", f"/users/{account['user_id']}/kick", reason="bye")
        assert await socket.text() == '42/chat,["kicked",{"code":"kicked","reason":"bye"}]'
        assert await socket.text() == "41/chat,"
        await socket.closed()


async def test_a_ban_ends_connections_and_keeps_the_user_out_until_it_is_lifted(people: People, stack: AnyStack):
    client, account = await people.join("banned")
    auth = {"token": account["access_token"]}
    answer = await stack.admin("POST", f"/users/{account['user_id']}/ban", reason="Spam", duration_seconds=3600)
    assert answer["disconnected"] == 1
    await client.until(lambda: client.of("kicked"), "the ban")
    assert client.of("kicked")[0]["code"] == "banned"
    for gateway in stack.gateways:
        refused = await people.attempt(auth, gateway=gateway)
        data = await refusal(refused)
        assert data["code"] == "banned"
        assert "Spam" in data["message"]
    login = {"username": account["username"], "password": "a long password"}
    assert (await stack.http.post(f"{stack.auth.url}/auth/login", json=login)).status_code == 403
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    assert (await stack.http.get(f"{stack.chats[0].url}/api/rooms", headers=headers)).status_code == 403
    await stack.admin("POST", f"/users/{account['user_id']}/unban")
    back = await people.attempt(auth)
    await back.connected()


async def test_a_ban_wins_against_connections_that_are_being_set_up(people: People, stack: AnyStack):
    account = await people.account("racer")
    auth = {"token": account["access_token"]}

    async def hammer() -> None:
        client = await people.attempt(auth, gateway=stack.gateways[len(people._clients) % 2])
        await client.until(lambda: client.connects or client.errors, "an outcome")

    attempts = [asyncio.create_task(hammer()) for _ in range(24)]
    await asyncio.sleep(0)
    await stack.admin("POST", f"/users/{account['user_id']}/ban", reason="Race")
    await asyncio.gather(*attempts)
    clients = people._clients[-24:]
    for client in clients:
        await client.until(lambda c=client: c.errors or c.disconnects, "its end")
    assert (await stack.admin("GET", f"/users/{account['user_id']}/connections"))["connections"] == []


async def test_a_revoked_token_is_refused_and_a_new_login_works(people: People, stack: AnyStack):
    client, account = await people.join("lost_phone")
    await stack.admin("POST", f"/users/{account['user_id']}/revoke")
    await client.until(lambda: client.of("kicked"), "the end of the session")
    assert client.of("kicked")[0]["code"] == "revoked_token"
    refused = await people.attempt({"token": account["access_token"]})
    assert (await refusal(refused))["code"] == "revoked_token"
    login = {"username": account["username"], "password": "a long password"}
    fresh = (await stack.http.post(f"{stack.auth.url}/auth/login", json=login)).json()
    back = await people.attempt({"token": fresh["access_token"]})
    await back.connected()


async def test_an_administrator_closes_a_room_for_good(people: People, stack: AnyStack):
    client, _ = await people.join()
    room = await make_room(client, kind="private")
    listed = await stack.admin("GET", f"/rooms?search={room}")
    assert [r["id"] for r in listed["rooms"]] == [room]
    await stack.admin("POST", f"/rooms/{room}/close", reason="Off topic")
    await client.until(lambda: client.of("room.archived"), "the end of the room")
    assert client.of("room.archived")[0]["data"] == {"reason": "Off topic", "closed": True}
    answer = await command(client, "message.send", room=room, body="anyone?")
    assert answer["error"]["code"] == "room_archived"
    assert len((await client.emit("history", {"room": room}))["events"]) == 2


async def test_the_admin_api_is_closed_to_everybody_else(people: People, stack: AnyStack):
    account = await people.account()
    url = f"{stack.auth.url}/admin/users/{account['user_id']}/kick"
    assert (await stack.http.post(url, json={"reason": "x"})).status_code == 401
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    assert (await stack.http.post(url, json={"reason": "x"}, headers=headers)).status_code == 403


async def test_two_tabs_of_one_user_are_both_served(people: People, stack: AnyStack):
    first, account = await people.join()
    second = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[1])
    await second.connected()
    room = await make_room(first)
    await ok(first, "message.send", room=room, body="hello")
    for tab in (first, second):
        await tab.until(lambda t=tab: t.bodies(room) == ["hello"], "the message")
