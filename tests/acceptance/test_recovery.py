"""Connection state recovery with the stock client: whoever lost its transport comes back as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from parley.common.wire.rooms import RoomEvent
from tests.support.clients.conversation import make_room, ok
from tests.support.clients.member import Member, js
from tests.support.clients.people import People
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.services.tiny_service import TinyService
from tests.support.stack.balancer import Balancer
from tests.support.stack.stack import Stack

pytestmark = pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client")


@pytest.fixture
async def member(edge_people: People, edge_stack: Stack) -> Member:
    """A member who has heard something already."""
    account = await edge_people.account("member")
    client = await js(edge_people, {"token": account["access_token"]})
    await client.connected()
    talker, _ = await edge_people.join("talker", gateway=edge_stack.gateways[1])
    room = await make_room(talker, client)
    found = Member(client, account, talker, room)
    await found.hears()
    return found


@pytest.mark.parametrize("home", [0, 1], ids=["the same gateway", "another gateway"])
@pytest.mark.parametrize("missed", [0, 1, 40])
async def test_whoever_returns_gets_exactly_what_was_missed(member: Member, edge_stack: Stack, home: int, missed: int):
    await member.client.lose()
    await member.miss(missed)
    await member.returns(edge_stack.gateways[home])
    await member.is_whole()
    await member.hears(2)
    assert member.client.recovered == [False, True]


@pytest.mark.parametrize("missed", [0, 3])
async def test_it_works_again_and_again_and_all_the_way_round(member: Member, edge_stack: Stack, missed: int):
    for number in (0, 0, 1, 1, 0, 1, 0):
        await member.client.lose()
        await member.miss(missed)
        await member.returns(edge_stack.gateways[number])
    await member.is_whole()
    await member.hears()


@pytest.mark.parametrize("home", [0, 1], ids=["the same gateway", "another gateway"])
async def test_rooms_joined_meanwhile_are_entered_though_nothing_was_ever_received(
    edge_people: People, edge_stack: Stack, home: int
):
    account = await edge_people.account()
    client = await js(edge_people, {"token": account["access_token"]})
    await client.connected()
    await client.lose()
    phone = await edge_people.attempt({"token": account["access_token"]}, gateway=edge_stack.gateways[1])
    await phone.connected()
    talker, _ = await edge_people.join("talker")
    room = await make_room(talker)
    await ok(talker, "message.send", room=room, body="before")
    joined = (await ok(phone, "room.join", room=room))["sequence"]
    await ok(talker, "message.send", room=room, body="after")
    member = Member(client, account, talker, room)
    await member.returns(edge_stack.gateways[home])
    await client.until(lambda: client.bodies(room), "what came after")
    assert [event["sequence"] for event in client.logged(room)] == [joined, joined + 1]
    assert client.bodies(room) == ["after"]


@pytest.mark.parametrize("home", [0, 1], ids=["the same gateway", "another gateway"])
async def test_a_room_left_meanwhile_is_not_entered_again(
    edge_people: People, member: Member, edge_stack: Stack, home: int
):
    phone = await edge_people.attempt({"token": member.account["access_token"]}, gateway=edge_stack.gateways[1])
    await phone.connected()
    other = await make_room(member.talker, member.client)
    await member.client.lose()
    await ok(phone, "room.leave", room=other)
    await member.returns(edge_stack.gateways[home])
    seen = len(member.client.logged(other))
    await ok(member.talker, "message.send", room=other, body="behind their back")
    await member.hears()
    assert len(member.client.logged(other)) == seen
    assert member.client.bodies(other) == []


@pytest.mark.parametrize("home", [0, 1], ids=["the same gateway", "another gateway"])
async def test_a_transport_that_died_unnoticed_is_given_up_for_who_returns(
    edge_people: People, member: Member, edge_stack: Stack, home: int
):
    async with Balancer.running(edge_stack.gateways[:1]) as wire:
        client = await js(edge_people, {"token": member.account["access_token"]}, gateway=wire)
        await client.connected()
        dying = Member(client, member.account, member.talker, await make_room(member.talker, client))
        await dying.hears()
        wire.freeze()
        await dying.miss(2)
        await client.lose()
        path = f"/users/{member.account['user_id']}/connections"
        assert len((await edge_stack.admin("GET", path))["connections"]) == 2, "the gateway has not noticed"
        await dying.returns(edge_stack.gateways[home])
        await dying.is_whole()
        await dying.hears()
        assert len((await edge_stack.admin("GET", path))["connections"]) == 2


async def test_whoever_comes_too_late_is_somebody_new(edge_people: People, tiny: TinyService):
    account = await edge_people.account()
    client = await js(
        edge_people, {"token": account["access_token"]}, namespace="/brief", reconnectionDelay=3000,
        reconnectionDelayMax=3000, randomizationFactor=0,
    )  # fmt: skip
    await client.connected()
    await client.lose()
    client.back()
    await client.connected(2)
    assert client.recovered == [False, True], "in time"
    await client.cut()
    await client.connected(3)
    assert client.recovered == [False, True, False]
    assert client.connects[2] != client.connects[1]


async def test_nobody_gets_in_with_what_is_not_theirs(edge_people: People, member: Member, edge_stack: Stack):
    await member.client.lose()
    await member.miss(2)
    stranger = await edge_people.account("stranger")
    pid = member.client.pid
    for token, claimed in [
        (stranger, {"pid": pid, "offset": ""}),
        (member.account, {"pid": pid + "x", "offset": ""}),
        (member.account, {"pid": "gateway1.", "offset": "gateway1.x-1"}),
        (member.account, {"pid": "nowhere.x", "offset": ""}),
        (member.account, {"pid": "a b.>", "offset": "* .-"}),
        (member.account, {"pid": 7, "offset": None}),
        (member.account, {"pid": "x" * 1000, "offset": ""}),
    ]:
        client = await js(edge_people, {"token": token["access_token"], **claimed})
        await client.connected()
        assert client.connects[0] != member.client.connects[0]
        assert client.bodies(member.room) == []
    await member.returns(edge_stack.gateways[1])
    await member.is_whole()


async def test_whoever_said_goodbye_is_not_recovered(member: Member, edge_stack: Stack):
    await member.client.leave()
    await member.miss(2)
    await member.returns(edge_stack.gateways[0], recovered=False)
    await member.is_whole()


@pytest.mark.parametrize("away", [False, True], ids=["while here", "while away"])
async def test_whoever_was_kicked_is_not_recovered(member: Member, edge_stack: Stack, away: bool):
    if away:
        await member.client.lose()
    await edge_stack.admin("POST", f"/users/{member.account['user_id']}/kick", reason="Too loud")
    await member.client.until(lambda: member.client.disconnects, "the kick")
    await member.returns(edge_stack.gateways[0], recovered=False)
    await member.hears()


async def test_whoever_was_banned_meanwhile_is_refused(member: Member, edge_stack: Stack):
    await member.client.lose()
    await edge_stack.admin("POST", f"/users/{member.account['user_id']}/ban", reason="Spam")
    member.client.back()
    await member.client.until(lambda: member.client.errors, "a refusal")
    assert member.client.errors[0]["data"]["code"] == "banned"
    assert len(member.client.connects) == 1


async def test_a_gateway_that_is_stopped_lets_go_of_its_clients(member: Member, edge_stack: Stack):
    leaving, staying = edge_stack.gateways
    member.client.turn(staying.url)
    stopping = asyncio.create_task(asyncio.to_thread(leaving.stop))
    while not stopping.done():
        await member.miss(1)
    await member.client.connected(2)
    await member.hears()
    assert await stopping == 0
    assert member.client.recovered == [False, True]
    assert member.client.connects[0] == member.client.connects[1]
    leaving.start()
    await leaving.ready()


async def test_when_a_gateway_is_killed_the_apps_own_cursors_lose_nothing(member: Member, edge_stack: Stack):
    killed, staying = edge_stack.gateways
    member.client.turn(staying.url)
    await asyncio.to_thread(killed.stop, signal.SIGKILL)
    await member.miss(3)
    await member.client.connected(2)
    await member.hears()
    assert member.client.recovered == [False, False]
    killed.start()
    await killed.ready()


async def test_a_room_with_a_log_that_was_entered_ad_hoc_is_caught_up_as_well(
    member: Member, edge_stack: Stack, tiny: TinyService
):
    room = await make_room(member.talker, kind="private")
    await tiny.emitters["/brief"].of("/chat").to(member.client.connects[0]).join(room)
    await ok(member.talker, "message.send", room=room, body="a")
    await member.client.until(lambda: member.client.bodies(room), "the first")
    for gateway in (0, 1):
        await member.client.lose()
        await ok(member.talker, "message.send", room=room, body="b")
        await member.returns(edge_stack.gateways[gateway])
        await ok(member.talker, "message.send", room=room, body="c")
    await member.client.until(lambda: len(member.client.bodies(room)) >= 5, "all")
    assert member.client.bodies(room) == ["a", "b", "c", "b", "c"]


async def test_only_where_clients_are_recovered_do_events_end_with_an_offset(
    edge_people: People, member: Member, tiny: TinyService
):
    name, args = next(call for call in member.client.calls if call[0] == "message.sent")
    assert (name, len(args), type(args[-1])) == ("message.sent", 2, str)
    account = await edge_people.account()
    client = await js(edge_people, {"token": account["access_token"]}, namespace="/tiny")
    await client.connected()
    assert client.pid == ""
    await ok(client, "enter", room="lobby")
    await tiny.publish("/tiny", "lobby", RoomEvent("tick", b"1"))
    await client.until(lambda: client.of("tick"), "an event")
    assert client.calls == [("tick", [1])]


async def test_who_reads_slowly_is_caught_up_at_its_own_pace(edge_people: People, member: Member, edge_stack: Stack):
    first = member.client.logged(member.room)[-1]["sequence"]
    await member.client.leave()
    for _ in range(5):
        await asyncio.gather(
            *(ok(member.talker, "message.send", room=member.room, body="x" * 60_000) for _ in range(40))
        )
    auth = {"token": member.account["access_token"], "cursors": {member.room: first}}
    async with RawSocket.open(edge_stack.gateways[0].url) as slow:
        await slow.handshake()
        assert (await slow.join("/chat", auth)).startswith("40/chat,")
        sequences: list[int] = []
        while len(sequences) < 200:
            sequences.append(json.loads((await slow.text()).removeprefix("42/chat,"))[1]["sequence"])
            await asyncio.sleep(0.01)  # as slowly as that
    assert sequences == list(range(first + 1, first + 201))
