"""Who is there and who types, between stock clients on two gateways and two chats."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clients.conversation import code, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People
from tests.support.clients.presence_api import PresenceApi, states
from tests.support.clients.watcher import Watcher
from tests.support.waiting import until


@pytest.mark.parametrize("kind", KINDS)
async def test_members_see_who_is_there_on_both_gateways_and_in_what_state(people: People, stack: AnyStack, kind: str):
    ann, a = await people.join("ann", kind=kind)
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    ann_id, ben_id = a["user_id"], b["user_id"]
    watcher = Watcher(ann, room)
    assert (await watcher.look())["count"] == 2
    assert watcher.here == {ann_id: "online", ben_id: "online"}
    assert await ben.emit("presence.set", {"idle": True}) == {"ok": True}
    await watcher.sees({ann_id: "online", ben_id: "away"})
    await ben.emit("presence.set", {"state": "dnd"})
    await watcher.sees({ann_id: "online", ben_id: "dnd"})
    again = await people.attempt({"token": b["access_token"]}, kind=kind)
    await again.connected()
    await ben.emit("presence.set", {"state": "automatic", "idle": False})
    await watcher.sees({ann_id: "online", ben_id: "online"})
    await ben.stop()
    await again.emit("presence.set", {"state": "invisible"})
    await watcher.sees({ann_id: "online"})
    assert not [event for client in (ben, again) for event in client.of("presence")]
    for client in (ann, again):
        assert not [event for event in client.logged(room) if "presence" in event["type"]]


async def test_who_has_just_joined_may_look_and_who_was_never_there_may_not(people: People, stack: AnyStack):
    ann, a = await people.join("ann")
    eve, _ = await people.join("eve", gateway=stack.gateways[1])
    public, private = await make_room(ann), await make_room(ann, kind="private")
    assert code(await eve.emit("presence", {"room": public})) == "not_a_member"
    for room in (private, "no-such-room", "x" * 64):
        assert code(await eve.emit("presence", {"room": room})) == "not_found"
    for nonsense in ({}, {"room": 7}, {"room": ""}, {"room": "x" * 65}, [public], public):
        assert code(await eve.emit("presence", nonsense)) == "invalid_payload"
    await ok(eve, "room.join", room=public)
    # At once, whatever the gateway has heard of the join.
    watcher = Watcher(eve, public)
    assert (await watcher.look())["ok"]
    assert a["user_id"] in watcher.here
    heard = len(eve.of("presence"))
    await ok(eve, "room.leave", room=public)
    await eve.until(lambda: eve.logged(public)[-1]["type"] == "member.left", "the leave")
    await ann.emit("presence.set", {"state": "dnd"})
    mine = Watcher(ann, public)
    await mine.look()
    await ann.until(lambda: mine.here == {a["user_id"]: "dnd"}, "the change")
    assert len(eve.of("presence")) == heard
    assert code(await eve.emit("presence", {"room": public})) == "not_a_member"


async def test_nobody_speaks_for_another(people: People):
    ann, a = await people.join("ann")
    ben, b = await people.join("ben")
    room = await make_room(ann, ben)
    watcher = Watcher(ann, room)
    await watcher.look()
    await ben.emit("presence.set", {"state": "dnd", "user": a["user_id"], "id": a["user_id"], "since": 2**60})
    await ben.emit("typing", {"room": room, "user": a["user_id"]})
    await watcher.sees({a["user_id"]: "online", b["user_id"]: "dnd"})
    assert await ann.until(lambda: ann.of("typing"), "typing") == [{"room": room, "user": b["user_id"]}]
    for nonsense in ({"state": "asleep"}, {"state": None, "idle": "yes"}, {"state": ["dnd"]}, 7):
        assert code(await ben.emit("presence.set", nonsense)) == "invalid_payload"


async def test_a_flood_of_choices_is_told_to_slow_down(people: People):
    eve, _ = await people.join("eve")
    answers = await asyncio.gather(*(eve.emit("presence.set", {"idle": bool(n % 2)}) for n in range(40)))
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"rate_limited"}


@pytest.mark.parametrize("kind", KINDS)
async def test_members_are_told_who_types_and_it_is_in_no_log(people: People, stack: AnyStack, kind: str):
    ann, a = await people.join("ann", kind=kind)
    ben, _ = await people.join("ben", gateway=stack.gateways[1], kind=kind)
    eve, _ = await people.join("eve", gateway=stack.gateways[1])
    room, other = await make_room(ann, ben), await make_room(ann, ben)
    root = (await ok(ann, "message.send", room=room, body="hello"))["sequence"]
    assert await ann.emit("typing", {"room": other, "thread": root}) == {"ok": True}
    assert await ann.emit("typing", {"room": room}) == {"ok": True}
    await ben.until(lambda: len(ben.of("typing")) == 2, "both signals")
    assert ben.of("typing") == [
        {"room": other, "user": a["user_id"], "thread": root},
        {"room": room, "user": a["user_id"]},
    ]
    await ok(ann, "message.send", room=room, body="typed")
    await ben.until(lambda: "typed" in ben.bodies(room), "the message")
    assert not ann.of("typing")
    assert not eve.of("typing")
    history = await ben.emit("history", {"room": room, "limit": 50})
    assert [event["type"] for event in history["events"]][-2:] == ["message.sent", "message.sent"]
    assert "typing" not in str(history)


async def test_a_flood_of_typing_is_passed_on_every_other_second_and_the_message_comes_after_it(
    people: People, stack: AnyStack
):
    ann, _ = await people.join("ann")
    ben, _ = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    answers = await asyncio.gather(*(ann.emit("typing", {"room": room, "thread": n + 1}) for n in range(50)))
    assert all(answer == {"ok": True} for answer in answers)
    await ok(ann, "message.send", room=room, body="at last")
    await ben.until(lambda: "at last" in ben.bodies(room), "the message")
    kinds = [event for event, _ in ben.events if event in {"typing", "message.sent"}]
    # Each of the two chats passes on one, if both were asked.
    assert kinds in (["typing", "message.sent"], ["typing", "typing", "message.sent"])


async def test_typing_is_for_members_in_rooms_that_are_open(people: People):
    ann, _ = await people.join("ann")
    eve, _ = await people.join("eve")
    public, private = await make_room(ann), await make_room(ann, kind="private")
    assert code(await eve.emit("typing", {"room": public})) == "not_a_member"
    for room in (private, "no-such-room"):
        assert code(await eve.emit("typing", {"room": room})) == "not_found"
    for nonsense in (
        {},
        {"room": public, "thread": 0},
        {"room": public, "thread": "1"},
        {"room": public, "thread": 1.5},
    ):
        assert code(await eve.emit("typing", nonsense)) == "invalid_payload"
    ben, of_ben = await people.join("ben")
    await ok(ben, "room.join", room=public)
    await ok(ann, "member.mute", room=public, user=of_ben["user_id"])
    assert code(await ben.emit("typing", {"room": public})) == "muted"
    await ok(ann, "room.archive", room=public)
    assert code(await ann.emit("typing", {"room": public})) == "room_archived"


async def test_over_rest_every_chat_says_who_is_there_on_all_gateways(people: People, stack: AnyStack):
    ann, a = await people.join("ann")
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    ann_id, ben_id = a["user_id"], b["user_id"]
    anns = [PresenceApi(stack.http, chat, a) for chat in stack.chats]
    bens = PresenceApi(stack.http, stack.chats[0], b)
    for api in anns:
        await until(lambda api=api: api.shows(room, {ann_id: "online", ben_id: "online"}), "both are there")
    first, second = sorted((ann_id, ben_id))
    assert await anns[0].room(room, limit=1) == {
        "ok": True, "users": [{"id": first, "state": "online"}], "count": 2, "more": True, "partial": False,
    }  # fmt: skip
    rest = await anns[0].room(room, limit=1, after=first)
    assert ([user["id"] for user in rest["users"]], rest["more"]) == ([second], False)
    assert (await anns[0].room(room, after=second))["users"] == []

    watcher = Watcher(ann, room)
    await watcher.look()
    for state in ("dnd", "invisible"):
        assert await bens.choose(state=state) == {"ok": True}
        seen = "offline" if state == "invisible" else state
        assert await bens.own() == {"ok": True, "state": seen, "choice": state, "partial": False}
        here = {ann_id: "online", ben_id: state} if state != "invisible" else {ann_id: "online"}
        await watcher.sees(here)
        for api in anns:
            await until(lambda api=api, here=here: api.shows(room, here), f"{here}")
    assert await ben.emit("presence.own", {}) == await bens.own()
    await ben.emit("presence.set", {"state": "automatic", "idle": True})
    await until(lambda: anns[1].shows(room, {ann_id: "online", ben_id: "away"}), "he is away")
    assert states(await ann.emit("presence.list", {"room": room})) == {ann_id: "online", ben_id: "away"}
    await ben.stop()
    await until(lambda: anns[1].shows(room, {ann_id: "online"}), "he has gone")
    assert await bens.own() == {"ok": True, "state": "offline", "choice": "automatic", "partial": False}
    # Without a connection nothing would keep it, and it says so.
    assert code(await bens.choose(state="dnd")) == "not_found"


async def test_over_rest_nobody_else_learns_who_is_there(people: People, stack: AnyStack):
    ann, _ = await people.join("ann")
    eve, e = await people.join("eve")
    api = PresenceApi(stack.http, stack.chats[0], e)
    public, private = await make_room(ann), await make_room(ann, kind="private")
    assert code(await api.room(public)) == "not_a_member"
    assert code(await eve.emit("presence.list", {"room": public})) == "not_a_member"
    for room in (private, "no-such-room", "x" * 64, f"user:{e['user_id']}", "r" + "A" * 13):
        assert code(await api.room(room)) in {"not_found", "invalid_payload"}, room
    for query in ({"limit": 0}, {"limit": 501}, {"limit": "many"}, {"after": "x" * 129}, {"after": "a\x00"}):
        assert code(await api.room(public, **query)) == "invalid_payload", query
    for nonsense in ({}, {"state": "asleep"}, {"idle": True}, {"state": "dnd", "idle": False}, {"state": ["dnd"]}):
        assert code(await api.choose(**nonsense)) == "invalid_payload", nonsense
    assert (await api.own())["choice"] == "automatic"
    nobody = PresenceApi(stack.http, stack.chats[0], {"access_token": "nonsense"})
    for answer in (await nobody.room(public), await nobody.own(), await nobody.choose(state="dnd")):
        assert code(answer) == "invalid_token"
    await ok(eve, "room.join", room=public)
    assert (await api.room(public))["count"] >= 1
    await ok(ann, "member.remove", room=public, user=e["user_id"])
    assert code(await api.room(public)) == "not_a_member"
    answers = await asyncio.gather(*(api.room(public) for _ in range(150)))
    assert "rate_limited" in {code(answer) for answer in answers}
