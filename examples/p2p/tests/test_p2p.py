"""The p2p service with fake connections: what its controllers do, without a network."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from p2p.rooms import Rooms
from p2p.service import service

from parley.framework import Code, Reject
from parley.testing import FakeConnection, FakeNamespace

DELETED = {"type": "deleted", "message": "deleted, room has been deleted."}


@pytest.fixture
async def p2p() -> AsyncGenerator[FakeNamespace]:
    """The namespace, with rooms that nobody has closed."""
    async with FakeNamespace(service, state=Rooms()) as fake:
        yield fake


async def enter(p2p: FakeNamespace, user: str, room: str = "demo", **options: Any) -> FakeConnection:
    """A client in a room."""
    return await p2p.connect(user, query={"room": room, "userId": user}, **options)


async def test_everybody_in_a_room_is_told_who_comes_and_goes(p2p: FakeNamespace) -> None:
    ann, other = await enter(p2p, "ann"), await enter(p2p, "other", "elsewhere")
    ben = await enter(p2p, "ben")
    online = {
        "clients": [ann.sid, ben.sid],
        "action": "join",
        "message": f"User({ben.sid}) joined.",
        "target": "participator",
    }
    assert await ann.event("online") == [online | {"clients": [ann.sid], "message": f"User({ann.sid}) joined."}]
    assert await ann.event("online") == await ben.event("online") == [online]
    await ben.disconnect()
    left = {"clients": [ann.sid], "action": "leave", "message": f"User({ben.sid}) leaved."}
    assert await ann.event("online") == [online | left]
    assert len(other.received) == 1


async def test_an_exchange_reaches_its_target_alone(p2p: FakeNamespace) -> None:
    ann, ben, cat = [await enter(p2p, user) for user in ("ann", "ben", "cat")]
    assert await ann.emit("exchange", {"target": ben.sid, "payload": {"offer": 1}}) == {"ok": True}
    [message] = await ben.event(ben.sid)
    assert message["data"] == {"action": "exchange", "payload": {"offer": 1}}
    assert message["meta"].pop("timestamp") > 1_700_000_000_000
    assert message["meta"] == {"client": ann.sid, "target": ben.sid}
    assert {event for event, _ in (*ann.received, *cat.received)} == {"online"}


async def test_who_is_not_in_the_room_is_neither_reached_nor_told_of(p2p: FakeNamespace) -> None:
    ann, other = await enter(p2p, "ann"), await enter(p2p, "other", "elsewhere")
    for target in (other.sid, "nobody", "room:demo", "user:other"):
        error = (await ann.emit("exchange", {"target": target, "payload": 1}))["error"]
        assert (error["code"], error["data"]) == ("not_a_member", {"field": "target"})
    assert (await ann.emit("exchange", {"payload": 1}))["error"]["code"] == "invalid_payload"
    await p2p.emitter.socket(ann.sid).leave("room:demo")
    assert (await ann.emit("exchange", {"target": ann.sid}))["error"]["code"] == "not_a_member"
    assert {event for event, _ in (*ann.received, *other.received)} == {"online"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "room"),
        ({"userId": "ann"}, "room"),
        ({"room": "demo"}, "userId"),
        ({"room": "user:ben", "userId": "ann"}, "room"),
        ({"room": "demo", "userId": "a" * 65}, "userId"),
        ({"room": "demo\n", "userId": "ann"}, "room"),
    ],
)
async def test_who_says_it_wrong_is_told_what(p2p: FakeNamespace, query: dict[str, str], field: str) -> None:
    with pytest.raises(Reject) as refused:
        await p2p.connect("ann", query=query)
    assert refused.value.code is Code.INVALID_PAYLOAD
    assert (refused.value.data or {})["field"] == field


async def test_a_closed_room_is_left_and_not_entered_until_it_is_open_again(p2p: FakeNamespace) -> None:
    admin = await enter(p2p, "admin", "office", roles=("admin",))
    ann, other = await enter(p2p, "ann"), await enter(p2p, "other", "elsewhere")
    assert (await ann.emit("room.close", {"room": "demo"}))["error"]["code"] == "forbidden"
    assert await admin.emit("room.close", {"room": "demo"}) == {"ok": True, "clients": 1}
    assert not ann.connected
    assert (await ann.event(ann.sid))[0]["data"] == {"action": "deny", "payload": DELETED}
    assert (admin.connected, other.connected) == (True, True)
    with pytest.raises(Reject) as refused:
        await enter(p2p, "ben")
    assert (refused.value.code, (refused.value.data or {})["data"]["payload"]) == (Code.NOT_FOUND, DELETED)
    assert await admin.emit("room.open", {"room": "demo"}) == {"ok": True}
    assert (await enter(p2p, "ann")).connected


class ClosedMeanwhile(Rooms):
    """A room that is closed when somebody has been let in, and is not in it yet."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def is_closed(self, room: str) -> bool:
        """Not when it is first asked."""
        self.asked += 1
        return room == "demo" and self.asked > 1


async def test_who_comes_into_a_room_while_it_is_closed_is_turned_out(p2p: FakeNamespace) -> None:
    p2p.state = ClosedMeanwhile()
    ann = await enter(p2p, "ann")
    assert not ann.connected
    assert [event for event, _ in ann.received] == [ann.sid]
    assert ann.received[0].args[0]["data"]["action"] == "deny"


async def test_a_room_that_is_full_lets_nobody_in(p2p: FakeNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.service.MAX_CLIENTS", 2)
    ann, _ = await enter(p2p, "ann"), await enter(p2p, "ben")
    with pytest.raises(Reject) as refused:
        await enter(p2p, "cat")
    assert refused.value.code is Code.LIMIT_EXCEEDED
    await ann.disconnect()
    assert (await enter(p2p, "cat")).connected


async def test_so_many_rooms_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.rooms.MAX_CHANGED", 2)
    rooms = Rooms()
    for room in ("a", "b"):
        await rooms.change(room, closed=True)
    with pytest.raises(Reject) as refused:
        await rooms.change("c", closed=True)
    assert refused.value.code is Code.LIMIT_EXCEEDED
    await rooms.change("a", closed=False)
    await rooms.change("c", closed=True)
    assert [rooms.is_closed(room) for room in "abc"] == [False, True, True]


async def test_of_two_changes_of_a_room_the_later_counts() -> None:
    rooms, other = Rooms(), Rooms()
    await rooms.change("demo", closed=True)
    await rooms.change("demo", closed=False)
    other.learn(b'{"demo": [5.0, true], "old": [6.0, true]}')
    rooms.learn(b'{"demo": [5.0, true], "old": [6.0, true]}')
    assert (rooms.is_closed("demo"), rooms.is_closed("old")) == (False, True)
    assert (other.is_closed("demo"), other.is_closed("new")) == (True, False)
