"""What users have read, on all of their devices, at two gateways and two chats."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clients.conversation import code, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People


def reads(client: Any, room: str) -> list[tuple[str, int]]:
    return [(one["user"], one["sequence"]) for one in client.of("read") if one["room"] == room]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_read_on_one_device_is_read_on_all_and_shown_to_who_looks(
    people: People, stack: AnyStack, kind: str
):
    ann, _ = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    ben, ben_account = await people.join("ben", kind=kind, gateway=stack.gateways[0])
    other = await people.attempt({"token": ben_account["access_token"]}, gateway=stack.gateways[1])
    await other.connected()
    room = await make_room(ann, ben)
    sent = [(await ok(ann, "message.send", room=room, body=f"text {n}"))["sequence"] for n in range(5)]
    await other.until(lambda: len(other.bodies(room)) == 5, "the messages")
    listed = (await other.emit("rooms", {}))["rooms"]
    assert [(one["id"], one["unread"], one["last"]["text"]) for one in listed] == [(room, 5, "text 4")]

    receipts = await ann.emit("receipts", {"room": room})
    assert receipts["ok"], receipts
    answer = await ben.emit("read", {"room": room, "sequence": sent[2]})
    assert answer == {"ok": True, "sequence": sent[2], "unread": 2, "mentions": 0}
    mine = (ben_account["user_id"], sent[2])
    await other.until(lambda: mine in reads(other, room), "the other device is told")
    await ann.until(lambda: mine in reads(ann, room), "and who looks at the receipts")
    assert (await other.emit("rooms", {}))["rooms"][0]["unread"] == 2
    counted = {"room": room, "head": sent[-1], "read": sent[2], "unread": 2, "mentions": 0}
    assert await other.emit("unread", {}) == {"ok": True, "rooms": [counted], "more": False}
    # Who sends has read.
    listed = (await ann.emit("rooms", {}))["rooms"]
    assert (listed[0]["read"], listed[0]["unread"]) == (sent[-1], 0)

    marked = await other.emit("unread.mark", {"room": room, "sequence": sent[1]})
    assert (marked["ok"], marked["unread"]) == (True, 4)
    await ben.until(lambda: (ben_account["user_id"], sent[1] - 1) in reads(ben, room), "it is unread on all")
    assert code(await ben.emit("read", {"room": room, "sequence": 10_000})) == "invalid_payload"
    assert code(await ben.emit("read", {"room": "r" + "a" * 13, "sequence": 1})) == "not_found"
