"""What users are told of, kept for them while they are away, at two gateways and two chats."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clients.conversation import make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People
from tests.support.waiting import until


def told(client: Any) -> list[tuple[int, str, str]]:
    return [(one["sequence"], one["data"]["cause"], one["data"].get("text", "")) for one in client.of("notification")]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_user_was_told_while_away_comes_once_and_in_order_by_their_cursors(
    people: People, stack: AnyStack, kind: str
):
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    ben, account = await people.join("ben", kind=kind, gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    bens = (await ok(ben, "message.send", room=room, body="a question"))["sequence"]
    await ok(ann, "message.send", room=room, body="here", reply_to=bens)
    await ben.until(lambda: told(ben) == [(1, "reply", "here")], "the live notification")
    own = f"user:{account['user_id']}"
    assert ben.of("notification")[0]["room"] == own
    cursors = ben.cursors()
    await ben.stop()

    for number in range(3):
        await ok(ann, "message.send", room=room, body=f"away {number}", reply_to=bens)
    private = await make_room(ann, kind="private")
    await ok(ann, "room.invite", room=private, user={"id": account["user_id"]})
    back = await people.attempt(
        {"token": account["access_token"], "cursors": cursors}, kind=kind, gateway=stack.gateways[0]
    )
    await back.connected()
    missed = [*((number + 2, "reply", f"away {number}") for number in range(3)), (5, "invitation", "")]
    await back.until(lambda: len(told(back)) >= 4, "what was missed")
    assert told(back) == missed
    # Live again, on the other gateway's connection as well, which has no cursor and lists what there is.
    other = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[1])
    await other.connected()
    await ok(ann, "message.send", room=room, body="live", reply_to=bens)
    for client in (back, other):
        await client.until(lambda c=client: (6, "reply", "live") in told(c), "the live one")
    assert told(other) == [(6, "reply", "live")]
    page = await other.emit("notifications", {"limit": 2})
    assert [(one["sequence"], one["data"].get("read", False)) for one in page["notifications"]] == [
        (6, False), (5, False),
    ]  # fmt: skip
    assert (page["more"], page["unread"]) == (True, 6)

    assert (await back.emit("notification.read", {"sequences": [5]}))["unread"] == 5
    await other.until(lambda: other.of("notification.read"), "the other device is told")
    head = (await back.emit("rooms", {}))["rooms"][0]["head"]
    await back.emit("read", {"room": room, "sequence": head})
    await other.until(lambda: other.of("notification.read")[-1]["unread"] == 0, "what is read in the room is read")


async def test_a_cursor_of_ones_own_room_beyond_its_head_is_reset(people: People, stack: AnyStack):
    account = await people.account("eve")
    own = f"user:{account['user_id']}"
    client = await people.attempt({"token": account["access_token"], "cursors": {own: 999}}, gateway=stack.gateways[0])
    await client.connected()
    await client.until(lambda: client.of("reset") == [{"room": own, "sequence": 0}], "the reset")
    stranger = await people.attempt(
        {"token": (await people.account("mal"))["access_token"], "cursors": {own: 0}}, gateway=stack.gateways[0]
    )
    await stranger.connected()
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    room = await make_room(ann, kind="private")
    await ok(ann, "room.invite", room=room, user={"id": account["user_id"]})
    await client.until(lambda: [one[1] for one in told(client)] == ["invitation"], "the invitation")
    assert told(stranger) == []


async def test_at_here_notifies_who_is_online_on_any_gateway_and_nobody_else(people: People, stack: AnyStack):
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    here = [await people.join(f"here{n}", gateway=stack.gateways[n]) for n in (0, 1)]
    others = [await people.join(f"other{n}", gateway=stack.gateways[n % 2]) for n in range(4)]
    room = await make_room(ann, *(client for client, _ in (*here, *others)))
    away, busy, shy, gone = (client for client, _ in others)
    await away.emit("presence.set", {"idle": True})
    await busy.emit("presence.set", {"state": "dnd"})
    await shy.emit("presence.set", {"state": "invisible"})
    await gone.stop()

    async def alone() -> bool:
        return (await ann.emit("presence.list", {"room": room}))["count"] == 5

    await until(alone, "the last one has gone")
    assert (await ok(ann, "message.send", room=room, body="`@here` is code, @here is not", mention_here=True))["ok"]
    for client, _ in here:
        await client.until(lambda c=client: [one[1] for one in told(c)] == ["mention"], "who is here is told")
    for client in (ann, away, busy, shy):
        assert (await client.emit("notifications", {}))["notifications"] == []
    api = f"{stack.chats[0].url}/api/me"
    headers = {"authorization": f"Bearer {others[3][1]['access_token']}"}
    assert (await stack.http.get(f"{api}/notifications", headers=headers)).json()["notifications"] == []
    # It is counted for all, so that whoever reads later finds it.
    (listed,) = (await stack.http.get(f"{api}/rooms", headers=headers)).json()["rooms"]
    assert listed["mentions"] == 1
    answer = await here[0][0].emit("message.send", {"id": "x", "room": room, "body": "@here", "mention_here": True})
    assert answer["error"]["code"] == "forbidden"
