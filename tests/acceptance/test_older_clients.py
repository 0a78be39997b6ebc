"""Apps that still have socket.io-client 2.x: where they are allowed they are members like all others."""

from __future__ import annotations

import signal
from typing import Any

import httpx
import pytest

from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import AnyStack, People
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import HAS_OLDER_CLIENT, JsClient
from tests.support.services.tiny_service import TinyService
from tests.support.stack.stack import Stack

needs_older_client = pytest.mark.skipif(
    not HAS_OLDER_CLIENT, reason="needs Node, and npm ci in web/ and tests/support/node/: the older stock client"
)
TRANSPORTS = [
    pytest.param(["websocket"], id="websocket"),
    pytest.param(["polling"], id="polling"),
    pytest.param(["polling", "websocket"], id="upgrade"),
]


async def older(people: People, **options: Any) -> tuple[JsClient, dict[str, Any]]:
    """A user with an older client."""
    client, account = await people.join("older", kind="old", **options)
    assert isinstance(client, JsClient)
    return client, account


@needs_older_client
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_an_older_and_a_newer_client_talk_with_each_other(
    edge_people: People, edge_stack: Stack, transports: list[str]
):
    old, account = await older(edge_people, transports=transports)
    await old.until(lambda: old.transport == transports[-1], "the upgrade")
    new, _ = await edge_people.join("newer", kind="js", gateway=edge_stack.gateways[1])
    room = await make_room(old, new)
    for number in range(20):
        await ok(old if number % 2 else new, "message.send", room=room, body=f"{number} ☂ 🎈")
    for client in (old, new):
        await client.until(lambda c=client: len(c.bodies(room)) == 20, "all messages")
        assert client.bodies(room) == [f"{n} ☂ 🎈" for n in range(20)]
    assert old.logged(room)[-1]["actor"]["id"] == account["user_id"]
    assert code(await command(old, "message.send", room=room, body="")) == "invalid_payload"
    assert code(await command(old, "no.such.event")) == "unknown_event"
    await old.tell("no.such.event", {})
    await old.until(lambda: old.of("error"), "an error event")
    assert old.of("error")[0]["code"] == "unknown_event"
    assert old.disconnects == []


@needs_older_client
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_binary_data_reaches_older_clients_and_comes_from_them(
    edge_people: People, edge_stack: Stack, tiny: TinyService, transports: list[str]
):
    old, _ = await older(edge_people, transports=transports, namespace="/tiny")
    await old.until(lambda: old.transport == transports[-1], "the upgrade")
    new, _ = await edge_people.join("newer", kind="js", gateway=edge_stack.gateways[1], namespace="/tiny")
    room = f"binary {transports}"
    data, more = bytes(range(256)), [b"", b"\x00\xff", b"x" * 20_000]
    for client in (old, new):
        await ok(client, "enter", room=room)
    for client in (old, new):
        assert (await ok(client, "share", room=room, data=data, more=more))["bytes"] == 256 + 2 + 20_000
    for client in (old, new):
        await client.until(lambda c=client: len(c.of("shared")) == 2, "the data")
        assert client.of("shared") == [{"data": data, "more": more}] * 2


@needs_older_client
@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_a_refusal_reaches_older_clients_as_an_error(edge_people: People, transports: list[str]):
    for token, expected in [("", "missing_token"), ("not.a.token", "invalid_token")]:
        client = await edge_people.attempt({"token": token}, kind="old", transports=transports)
        await client.until(lambda c=client: c.errors, "a refusal")
        data = client.errors[0]["data"]
        assert set(data) == {"code", "message", "retryable"}
        assert data["code"] == expected
        assert client.connects == []


@needs_older_client
@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_a_kick_tells_older_clients_why(edge_people: People, edge_stack: Stack, transports: list[str]):
    client, account = await older(edge_people, transports=transports)
    answer = await edge_stack.admin("POST", f"/users/{account['user_id']}/kick", reason="Too loud")
    assert answer["disconnected"] == 1
    await client.until(lambda: client.of("kicked") and client.disconnects, "the kick")
    assert client.of("kicked") == [{"code": "kicked", "reason": "Too loud"}]
    path = f"/users/{account['user_id']}/connections"
    assert (await edge_stack.admin("GET", path))["connections"] == []


@needs_older_client
@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_an_older_client_that_disconnects_is_gone(edge_people: People, edge_stack: Stack, transports: list[str]):
    client, account = await older(edge_people, transports=transports)
    await client.leave()
    path = f"/users/{account['user_id']}/connections"
    while (await edge_stack.admin("GET", path))["connections"]:
        pass


@needs_older_client
async def test_older_clients_reconnect_by_themselves_and_read_what_they_missed(edge_people: People, edge_stack: Stack):
    clients = [(await older(edge_people, transports=transports))[0] for transports in (["websocket"], ["polling"])]
    talker, _ = await edge_people.join("talker", gateway=edge_stack.gateways[1])
    room = await make_room(talker, *clients)
    await edge_stack.gateways[0].restart(signal.SIGKILL)
    for client in clients:
        await client.connected(2)
    await ok(talker, "message.send", room=room, body="back")
    for client in clients:
        await client.until(lambda c=client: c.bodies(room) == ["back"], "events after the reconnect")
        page = await client.emit("history", {"room": room})
        assert [event["type"] for event in page["events"]][-2:] == ["member.joined", "message.sent"]


async def test_they_are_refused_unless_they_are_allowed(stack: AnyStack):
    async with plain_http() as http:
        for url in (f"{stack.gateways[0].url}/socket.io/", f"{stack.gateways[0].url}/socket.io/?EIO=3"):
            answer = await http.get(url, params={"transport": "polling", **dict(httpx.URL(url).params)})
            assert answer.status_code == 400
            assert answer.json() == {"code": 5, "message": "Unsupported protocol version"}


@needs_older_client
async def test_an_older_client_that_is_not_allowed_is_told_so_and_does_no_harm(people: People):
    client = await people.attempt({"token": "x"}, kind="old", transports=["polling"])
    await client.until(lambda: client.errors, "a refusal")
    assert client.connects == []
