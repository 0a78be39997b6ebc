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
