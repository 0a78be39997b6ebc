"""What a login or an API key left to be done later ends with it: so does what a thief left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.clients.conversation import make_room
from tests.support.clients.people import AnyStack, People
from tests.support.stack.stack import Stack
from tests.support.waiting import until


def later(room: str, command_id: str, seconds: float = 1.0) -> dict[str, Any]:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"at": at.isoformat(), "message": {"id": command_id, "room": room, "body": command_id}}


async def test_what_a_login_scheduled_is_not_sent_when_that_login_was_ended(people: People, stack: AnyStack):
    if not isinstance(stack, Stack):
        pytest.skip("logs in once more")
    stolen, account = await people.join("ann", gateway=stack.gateways[0])
    login = {"username": account["username"], "password": "a long password"}
    second = (await stack.http.post(f"{stack.auth.url}/auth/login", json=login)).json()
    own = await people.attempt({"token": second["access_token"]}, gateway=stack.gateways[1])
    await own.connected()
    room = await make_room(own)
    for client, command_id in ((stolen, "spam"), (own, "mine")):
        assert (await client.emit("message.schedule", later(room, command_id)))["ok"]
    ended = await stack.http.post(f"{stack.auth.url}/auth/logout", json={"refresh_token": account["refresh_token"]})
    assert ended.status_code == 200
    await own.until(lambda: len(own.of("scheduled")) == 2, "both are decided")
    assert {(one["id"], one["state"], one.get("code")) for one in own.of("scheduled")} == {
        ("spam", "failed", "revoked_token"), ("mine", "sent", None),
    }  # fmt: skip
    await own.until(lambda: own.bodies(room), "the one that is sent")
    assert own.bodies(room) == ["mine"]
    (failed,) = (await own.emit("scheduled", {}))["scheduled"]
    assert (failed["id"], failed["code"]) == ("spam", "revoked_token")
    # Who wants it sent schedules it again, from a login that stands.
    assert (await own.emit("message.schedule", later(room, "spam", 0.3)))["ok"]
    await own.until(lambda: own.bodies(room) == ["mine", "spam"], "it is sent")


async def test_what_a_key_scheduled_is_sent_after_a_rotation_and_not_when_the_key_or_its_secret_was_ended(
    people: People, stack: AnyStack
):
    if not isinstance(stack, Stack):
        pytest.skip("registers a bot")
    _, owner = await people.join("owner")
    auth, chat = f"{stack.auth.url}/auth", f"{stack.chats[0].url}/api"
    mine = {"Authorization": f"Bearer {owner['access_token']}"}

    async def made(path: str, **body: Any) -> Any:
        answer = await stack.http.post(f"{auth}/bots{path}", json=body, headers=mine)
        assert answer.status_code < 300, answer.text
        return answer.json()

    bot = (await made("", name=f"later {owner['username']}"))["id"]
    names = ("lost", "kept", "rotated", "replaced")
    keys = [await made(f"/{bot}/keys", name=name, scopes=["chat:read", "chat:write"]) for name in names]

    async def asked(key: Any, method: str, path: str, body: Any = None) -> Any:
        answer = await stack.http.request(
            method, chat + path, json=body, headers={"Authorization": f"Bearer {key['key']}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    room = (await asked(keys[0], "POST", "/rooms", {"name": "Bots"}))["room"]["id"]
    # The overlap of one second is over when they are due.
    for key, command_id in zip(keys, ("spam", "mine", "on", "off"), strict=True):
        await asked(key, "POST", "/me/scheduled", later(room, command_id, 2.5))
    gone = await stack.http.delete(f"{auth}/bots/{bot}/keys/{keys[0]['id']}", headers=mine)
    assert gone.status_code == 200
    for key, overlap in ((keys[2], 1), (keys[3], 0)):
        await made(f"/{bot}/keys/{key['id']}/rotate", overlap_seconds=overlap)

    async def states() -> set[tuple[str, str]]:
        return {(one["id"], one.get("code", "")) for one in (await asked(keys[1], "GET", "/me/scheduled"))["scheduled"]}

    async def decided() -> bool:
        return await states() == {("spam", "revoked_token"), ("off", "revoked_token")}

    await until(decided, "two are sent, the others refused")
    refused = await stack.http.get(f"{chat}/rooms", headers={"Authorization": f"Bearer {keys[2]['key']}"})
    assert refused.status_code == 401, "the secret that scheduled it is good no more"
    page = await asked(keys[1], "GET", f"/rooms/{room}/messages")
    bodies = [event["data"]["body"] for event in page["events"] if event["type"] == "message.sent"]
    assert sorted(bodies) == ["mine", "on"]
