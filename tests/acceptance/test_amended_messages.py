"""What becomes of messages, between stock clients on two gateways and two chats: every command and every event."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chat.page_reducer import Page
from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People

THUMB = "\N{THUMBS UP SIGN}"


def types(client: Any, room: str) -> list[str]:
    """The types of the events that a client was sent of a room."""
    return [event["type"] for event in client.logged(room)]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_command_reaches_everybody_and_an_old_page_becomes_a_fresh_one(
    people: People, stack: AnyStack, kind: str
):
    ann, _ = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    ben, his = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    message = (await ok(ann, "message.send", room=room, body="one", mentions=[his["user_id"]], data={"n": 1}))[
        "sequence"
    ]
    page = Page(await ok(ben, "history", room=room), his["user_id"])
    edited = await ok(ann, "message.edit", room=room, message=message, body="two", version=1)
    reply = await ok(ben, "message.send", room=room, body="re", thread=message, reply_to=message)
    await ok(ben, "reaction.add", room=room, message=message, emoji=THUMB)
    await ok(ann, "reaction.add", room=room, message=message, emoji=THUMB)
    await ok(ben, "reaction.remove", room=room, message=message, emoji=THUMB)
    await ok(ann, "message.pin", room=room, message=message)
    await ok(ann, "message.unpin", room=room, message=message)
    await ok(ben, "thread.unfollow", room=room, thread=message)
    await ok(ben, "thread.follow", room=room, thread=message)
    await ok(ann, "message.send", room=room, body="Hello @all", mention_all=True)
    last = await ok(ben, "message.delete", room=room, message=reply["sequence"])
    for client in (ann, ben):
        await client.until(lambda c=client: c.logged(room)[-1]["sequence"] == last["sequence"], "the last event")
    assert types(ann, room) == types(ben, room) or types(ann, room)[1:] == types(ben, room)
    assert {"message.edited", "reaction.added", "reaction.removed", "message.pinned", "message.unpinned",
            "thread.followed", "thread.unfollowed", "message.deleted"} <= set(types(ben, room))  # fmt: skip
    event = next(one for one in ben.logged(room) if one["type"] == "message.edited")
    assert (event["sequence"], event["data"]) == (
        edited["sequence"], {"message": message, "body": "two", "version": 2}
    )  # fmt: skip
    for event in ben.logged(room):
        page.apply(event)
    fresh = await ok(ben, "history", room=room)
    assert (page.events, page.head, page.stale) == (fresh["events"], fresh["head"], False)
    assert (await ok(ann, "history", room=room, thread=message))["events"][0]["data"]["deleted"] is True


async def test_what_is_refused_is_refused_with_a_code_and_leaves_nothing(people: People, stack: AnyStack):
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    room, other = await make_room(ann, ben), await make_room(ann)
    message = (await ok(ann, "message.send", room=room, body="one"))["sequence"]
    far = (await ok(ann, "message.send", room=other, body="two"))["sequence"]
    head = (await ok(ann, "history", room=room))["head"]
    for event, fields, expected in (
        ("message.edit", {"message": message, "body": "mine", "version": 1}, "forbidden"),
        ("message.delete", {"message": message}, "forbidden"),
        ("message.pin", {"message": message}, "forbidden"),
        ("message.edit", {"message": 1, "body": "x", "version": 1}, "not_found"),
        ("message.delete", {"message": 10**9}, "not_found"),
        ("reaction.add", {"message": message, "emoji": "x" * 10_240}, "invalid_payload"),
        ("reaction.add", {"message": message, "emoji": "\x07"}, "invalid_payload"),
        ("reaction.add", {"message": 1, "emoji": "x"}, "not_found"),
        ("reaction.add", {"message": "1", "emoji": "x"}, "invalid_payload"),
        ("message.send", {"body": "x", "thread": far + 10}, "invalid_payload"),
        ("message.send", {"body": "x", "thread": 1}, "invalid_payload"),
        ("message.send", {"body": "x", "mentions": [f"u{n}" for n in range(10_000)]}, "invalid_payload"),
        ("message.send", {"body": "@all", "mention_all": True}, "forbidden"),
        ("message.send", {"body": "`@all`", "mention_all": True}, "invalid_payload"),
        ("message.send", {"body": "x", "data": {"a": "x" * 9000}}, "payload_too_large"),
        ("message.send", {"body": "x", "forward": {"room": "nowhere", "message": 1}}, "invalid_payload"),
    ):
        assert code(await command(ben, event, room=room, **fields)) == expected, (event, fields)
    conflict = await command(ann, "message.edit", room=room, message=message, body="x", version=2)
    assert (conflict["error"]["code"], conflict["error"]["data"]) == ("conflict", {"version": 1})
    assert (await ok(ann, "history", room=room))["head"] == head


async def test_what_is_on_a_deleted_message_is_not_found_and_a_resent_command_gets_its_first_answer(
    people: People, stack: AnyStack
):
    ann, account = await people.join("ann", gateway=stack.gateways[0])
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    message = (await ok(ann, "message.send", room=room, body="one"))["sequence"]
    reply = (await ok(ben, "message.send", room=room, body="re", thread=message))["sequence"]
    await ok(ann, "reaction.add", room=room, message=message, emoji=THUMB)
    await ok(ann, "message.pin", room=room, message=message)
    commands: dict[str, dict[str, Any]] = {
        "reaction.remove": {"emoji": THUMB}, "message.unpin": {}, "message.delete": {"reason": "off topic"},
    }  # fmt: skip
    first = {event: await ok(ann, event, id=event, room=room, message=message, **commands[event]) for event in commands}
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    paths = {"reaction.remove": "unreact", "message.unpin": "unpin", "message.delete": "delete"}
    for event, fields in commands.items():
        again = await ok(ann, event, id=event, room=room, message=message, **fields)
        assert again == first[event], event
        assert code(await command(ann, event, room=room, message=message, **fields)) == "not_found", event
        url = f"{stack.chats[1].url}/api/rooms/{room}/messages/{message}/{paths[event]}"
        assert (await stack.http.post(url, json=fields, headers=headers)).status_code == 404, event
    # The thread of a deleted message goes on.
    await ok(ann, "thread.unfollow", room=room, thread=message)
    await ok(ann, "thread.follow", room=room, thread=message)
    await ok(ann, "message.send", room=room, body="still here", thread=message)
    page = await ok(ben, "history", room=room, thread=message)
    assert page["events"][0]["sequence"] == reply
    assert [event["data"]["body"] for event in page["events"]] == ["re", "still here"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thread_is_followed_read_and_left_on_all_devices(people: People, stack: AnyStack, kind: str):
    ann, account = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    second = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[1], kind=kind)
    await second.connected()
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    root = (await ok(ann, "message.send", room=room, body="root"))["sequence"]
    replies = [(await ok(ben, "message.send", room=room, body=f"re {n}", thread=root))["sequence"] for n in range(3)]
    await ann.until(lambda: types(ann, room).count("thread.followed") == 2, "author and replier follow")
    followed = {one["data"]["user"]["id"] for one in ann.logged(room) if one["type"] == "thread.followed"}
    assert account["user_id"] in followed

    async def listed(client: Any) -> list[tuple[int, int, int]]:
        found = (await ok(client, "threads"))["threads"]
        return [(one["thread"], one["replies"], one["unread"]) for one in found]

    for client in (ann, second):
        assert await listed(client) == [(root, 3, 3)]
        assert (await ok(client, "rooms"))["rooms"][0]["unread_threads"] is True
    await ben.until(lambda: any(one["sequence"] == replies[2] for one in ben.of("thread.read")), "who replies has read")
    assert await listed(ben) == [(root, 3, 0)]
    read = await ann.emit("thread.read", {"room": room, "thread": root, "sequence": replies[1]})
    assert read == {"ok": True, "sequence": replies[1], "unread": 1}
    told = {"room": room, "thread": root, "sequence": replies[1], "unread": 1}
    await second.until(lambda: told in second.of("thread.read"), "the other device is told")
    assert await listed(second) == [(root, 3, 1)]
    back = await second.emit("thread.read", {"room": room, "thread": root, "sequence": replies[0]})
    assert (back["sequence"], back["unread"]) == (replies[1], 1), "a cursor moves forward only"
    await ok(ann, "thread.unfollow", room=room, thread=root)
    assert await listed(second) == []
    assert code(await second.emit("thread.read", {"room": room, "thread": root, "sequence": replies[2]})) == "not_found"
    assert "unread_threads" not in (await ok(second, "rooms"))["rooms"][0]
    await ok(second, "thread.follow", room=room, thread=root)
    assert await listed(ann) == [(root, 3, 0)], "who begins to follow has read what was there"
    await ok(ben, "message.send", room=room, body="re 3", thread=root)
    assert await listed(ann) == [(root, 4, 1)]


async def test_the_same_over_rest(people: People, stack: AnyStack):
    ann, account = await people.join("ann")
    room = await make_room(ann)
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    api = f"{stack.chats[1].url}/api/rooms/{room}"

    async def post(path: str, **body: Any) -> Any:
        answer = await stack.http.post(api + path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    message = (await post("/messages", body="one"))["sequence"]
    await post(f"/messages/{message}/edit", body="two", version=1)
    await post(f"/messages/{message}/react", emoji=THUMB)
    reacted = (await stack.http.get(f"{api}/messages/{message}/reactions", headers=headers)).json()
    assert [(one["emoji"], one["user"]["id"]) for one in reacted["reactions"]] == [(THUMB, account["user_id"])]
    await post(f"/messages/{message}/unreact", emoji=THUMB)
    await post(f"/messages/{message}/pin")
    await post(f"/messages/{message}/unpin")
    await post(f"/threads/{message}/follow")
    await post(f"/threads/{message}/unfollow")
    page = (await stack.http.get(f"{api}/messages", params={"around": message, "limit": 1}, headers=headers)).json()
    assert [event["data"]["body"] for event in page["events"]] == ["two"]
    wrong = await stack.http.post(f"{api}/messages/{message}/edit", json={"body": "x", "version": 1}, headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["data"]) == (409, {"version": 2})
    assert (await stack.http.post(f"{api}/messages/first/delete", json={}, headers=headers)).status_code == 404
    await post(f"/messages/{message}/delete")
    page = (await stack.http.get(f"{api}/messages", headers=headers)).json()
    assert page["events"][-1]["data"] == {"deleted": True}
