"""Rooms and messages between stock clients on two gateways and two chats."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from parley.chat.domain.messages import MessageSent
from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People
from tests.support.stack.stack import RemoteStack


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stock_client_connects_and_talks_on_every_transport(people: People, kind: str, transports: list[str]):
    client, account = await people.join(kind=kind, transports=transports)
    room = await make_room(client)
    sent = await ok(client, "message.send", room=room, body="héllo 👋", id="mine")
    await client.until(lambda: client.bodies(room) == ["héllo 👋"], "its own message")
    event = client.logged(room)[-1]
    assert event == {
        "type": "message.sent",
        "room": room,
        "sequence": sent["sequence"],
        "event_id": sent["event_id"],
        "at": sent["at"],
        "actor": {"id": account["user_id"], "name": account["username"]},
        "data": {"body": "héllo 👋"},
        "id": "mine",
        "number": sent["number"],
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_two_users_on_different_gateways_see_the_same_messages_in_the_same_order(
    people: People, stack: AnyStack, kind: str
):
    ann, _ = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    await asyncio.gather(
        *(
            ok(client, "message.send", room=room, body=f"{name} {n}")
            for n in range(60)
            for name, client in (("a", ann), ("b", ben))
        )
    )
    for client in (ann, ben):
        await client.until(lambda c=client: len(c.bodies(room)) == 120, "all messages")
    assert ann.bodies(room) == ben.bodies(room)
    sequences = [event["sequence"] for event in ben.logged(room)]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_one_connections_messages_keep_the_order_in_which_they_were_sent(people: People):
    client, _ = await people.join()
    room = await make_room(client)
    for n in range(300):
        await client.tell("message.send", {"id": f"m{n}", "room": room, "body": str(n)})
    await client.until(lambda: len(client.bodies(room)) == 300, "all of its messages")
    assert client.bodies(room) == [str(n) for n in range(300)]


async def test_a_resent_command_gets_the_first_ack_and_adds_no_row(people: People, stack: AnyStack):
    client, account = await people.join()
    room = await make_room(client)
    payload = {"id": "send-once", "room": room, "body": "once"}
    first = await client.emit("message.send", payload)
    again = [await client.emit("message.send", payload) for _ in range(3)]
    later = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[1])
    await later.connected()
    again.append(await later.emit("message.send", payload))
    assert all(answer == first for answer in again)
    assert code(await client.emit("message.send", {**payload, "body": "other"})) == "id_conflict"
    history = await client.emit("history", {"room": room})
    assert [e["data"]["body"] for e in history["events"] if e["type"] == "message.sent"] == ["once"]


@pytest.mark.parametrize("kind", KINDS)
async def test_history_pages_both_ways(people: People, kind: str):
    client, _ = await people.join(kind=kind)
    room = await make_room(client)
    for n in range(25):
        await ok(client, "message.send", room=room, body=str(n))
    newest = await client.emit("history", {"room": room, "limit": 10})
    assert [e["sequence"] for e in newest["events"]] == list(range(17, 27))
    assert newest["more"] is True
    older = await client.emit("history", {"room": room, "before": 17, "limit": 10})
    oldest = await client.emit("history", {"room": room, "before": 7, "limit": 10})
    assert [e["sequence"] for e in oldest["events"] + older["events"]] == list(range(1, 17))
    assert (older["more"], oldest["more"]) == (True, False)
    newer = await client.emit("history", {"room": room, "after": 20, "limit": 3})
    last = await client.emit("history", {"room": room, "after": 23, "limit": 3})
    assert [e["sequence"] for e in newer["events"] + last["events"]] == [21, 22, 23, 24, 25, 26]
    assert (newer["more"], last["more"]) == (True, False)


async def test_a_private_room_is_invisible_to_others_until_they_are_invited(people: People, stack: AnyStack):
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    ben, ben_account = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, kind="private")
    await ok(ann, "message.send", room=room, body="secret")
    nowhere = "r" + "a" * 24
    for event, fields in [
        ("room.join", {}),
        ("message.send", {"body": "x"}),
        ("history", {}),
        ("room.leave", {}),
        ("room.invite", {"user": {"id": ben_account["user_id"]}}),
    ]:
        seen = await command(ben, event, room=room, **fields)
        assert seen == await command(ben, event, room=nowhere, **fields), "differs from a room that does not exist"
        assert code(seen) == "not_found"
    synced = await ben.emit("sync", {"cursors": {room: 0, nowhere: 0}})
    assert synced["rooms"][room] == synced["rooms"][nowhere]
    headers = {"Authorization": f"Bearer {ben_account['access_token']}"}
    listed = (await stack.http.get(f"{stack.chats[0].url}/api/rooms", headers=headers)).json()
    assert room not in [r["id"] for r in listed["rooms"]]
    for path in (f"/api/rooms/{room}", f"/api/rooms/{room}/messages", f"/api/rooms/{room}/members"):
        assert (await stack.http.get(stack.chats[0].url + path, headers=headers)).status_code == 404
    assert ben.logged(room) == []

    await ok(ann, "room.invite", room=room, user={"id": ben_account["user_id"], "name": "Ben"})
    await ben.until(lambda: ben.of("member.invited"), "the invitation")
    await ok(ben, "room.join", room=room)
    await ok(ann, "message.send", room=room, body="welcome")
    await ben.until(lambda: ben.bodies(room) == ["welcome"], "messages of the room it joined")


async def test_leaving_ends_the_events_and_every_device_of_the_user_follows(people: People, stack: AnyStack):
    ann, _ = await people.join("ann")
    ben, account = await people.join("ben", gateway=stack.gateways[1])
    tablet = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[0])
    await tablet.connected()
    room = await make_room(ann, ben)
    await tablet.until(lambda: tablet.logged(room), "the room that another device joined")
    left = await ok(ben, "room.leave", room=room)
    for device in (ben, tablet):
        await device.until(lambda d=device: d.of("member.left"), "its own departure")
    await ok(ann, "message.send", room=room, body="among us")
    probe = await make_room(ann, ben)
    await ok(ann, "message.send", room=probe, body="probe")
    for device in (ben, tablet):
        await device.until(lambda d=device: d.bodies(probe) == ["probe"], "a later event")
        assert max(e["sequence"] for e in device.logged(room)) == left["sequence"]


async def test_sync_returns_exactly_what_was_missed(people: People):
    client, _ = await people.join()
    rooms = [await make_room(client) for _ in range(3)]
    for room in rooms:
        for n in range(5):
            await ok(client, "message.send", room=room, body=str(n))
    answer = await client.emit("sync", {"cursors": {rooms[0]: 0, rooms[1]: 4, rooms[2]: 6, "nowhere": 1}})
    found = answer["rooms"]
    assert [e["sequence"] for e in found[rooms[0]]["events"]] == [1, 2, 3, 4, 5, 6]
    assert [e["sequence"] for e in found[rooms[1]]["events"]] == [5, 6]
    assert found[rooms[2]] == {"head": 6}
    assert found["nowhere"]["error"]["code"] == "not_found"
    ahead = await client.emit("sync", {"cursors": {rooms[0]: 99}})
    assert ahead["rooms"][rooms[0]] == {"head": 6, "reset": True}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_was_away_gets_what_it_missed_by_its_cursors(people: People, stack: AnyStack, kind: str):
    ann, _ = await people.join("ann")
    ben, account = await people.join("ben")
    room = await make_room(ann, ben)
    await ok(ann, "message.send", room=room, body="seen")
    await ben.until(lambda: ben.bodies(room) == ["seen"], "the first message")
    cursor = ben.logged(room)[-1]["sequence"]
    await ben.stop()
    for n in range(30):
        await ok(ann, "message.send", room=room, body=f"missed {n}")
    back = await people.attempt(
        {"token": account["access_token"], "cursors": {room: cursor}}, kind=kind, gateway=stack.gateways[1]
    )
    await ok(ann, "message.send", room=room, body="live")
    await back.until(lambda: len(back.bodies(room)) >= 31, "what it missed")
    assert [e["sequence"] for e in back.logged(room)] == list(range(cursor + 1, cursor + 32))
    lost = await people.attempt({"token": account["access_token"], "cursors": {room: 10**9, "nowhere": 3}})
    await lost.until(lambda: lost.of("reset"), "a reset")
    assert lost.of("reset")[0] == {"room": room, "sequence": cursor + 31}


@pytest.mark.parametrize("kind", KINDS)
async def test_cursors_of_another_log_are_answered_with_a_reset(people: People, kind: str):
    ann, account = await people.join("ann")
    room = await make_room(ann)
    log = (await ok(ann, "history", room=room))["log"]
    for n in range(3):
        await ok(ann, "message.send", room=room, body=f"message {n}")
    said = {"token": account["access_token"], "cursors": {room: 2}}
    same = await people.attempt(said | {"log": log}, kind=kind)
    await same.until(lambda: len(same.logged(room)) == 2, "what it missed")
    other = await people.attempt(said | {"log": "of before the backup"}, kind=kind)
    await other.until(lambda: other.of("reset"), "a reset")
    assert other.of("reset")[0] == {"room": room, "sequence": 4}
    assert other.logged(room) == []


async def test_the_same_commands_work_over_rest_and_reach_connected_members(people: People, stack: AnyStack):
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    bot = await people.account("bot")
    headers = {"Authorization": f"Bearer {bot['access_token']}"}
    api = f"{stack.chats[1].url}/api/rooms"

    async def post(path: str, **body: Any) -> Any:
        answer = await stack.http.post(api + path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    room = (await post("", name="Bots", id="make"))["room"]["id"]
    assert (await post("", name="Bots", id="make"))["room"]["id"] == room
    await ok(ben, "room.join", room=room)
    sent = await post(f"/{room}/messages", body="beep", id="m1")
    assert await post(f"/{room}/messages", body="beep", id="m1") == sent
    await ben.until(lambda: ben.bodies(room) == ["beep"], "the bot's message")
    page = (await stack.http.get(f"{api}/{room}/messages", params={"limit": 2}, headers=headers)).json()
    assert [e["type"] for e in page["events"]] == ["member.joined", "message.sent"]
    members = (await stack.http.get(f"{api}/{room}/members", headers=headers)).json()["members"]
    assert sorted((m["role"], m["state"]) for m in members) == [("member", "joined"), ("owner", "joined")]
    refused = await stack.http.post(f"{api}/{room}/messages", json={"body": "x"})
    assert (refused.status_code, code(refused.json())) == (401, "missing_token")
    wrong = await stack.http.post(f"{api}/{room}/messages", json={"text": "x"}, headers=headers)
    assert (wrong.status_code, code(wrong.json())) == (422, "invalid_payload")


async def test_an_acked_message_is_in_the_log_with_the_id_that_followed_it(
    people: People, stack: AnyStack, postgres_url: str
):
    if isinstance(stack, RemoteStack):
        pytest.skip("the database of a remote stack is out of reach")
    client, _ = await people.join()
    room = await make_room(client)
    acked = await ok(client, "message.send", room=room, body="on the record")
    connection = await asyncpg.connect(stack.database_url)
    row = await connection.fetchrow("SELECT * FROM chat.events WHERE event_id = $1", uuid.UUID(acked["event_id"]))
    await connection.close()
    assert row is not None
    stored = (row["sequence"], row["number"], row["type"], row["data"])
    assert stored == (acked["sequence"], acked["number"], MessageSent.NUMBER, '{"body":"on the record"}')
