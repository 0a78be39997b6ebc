"""Connection state recovery of what no log holds: what a service emits, and rooms that it puts connections into."""

from __future__ import annotations

import asyncio

import pytest

from parley.common.wire.rooms import RoomEvent
from tests.support.clients.conversation import ok
from tests.support.clients.member import Member, js
from tests.support.clients.people import People
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.stock_clients import HAS_JS_CLIENT, JsClient
from tests.support.services.tiny_service import TinyService
from tests.support.stack.stack import Stack

pytestmark = pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client")


@pytest.mark.parametrize("home", [0, 1], ids=["the same gateway", "another gateway"])
async def test_what_is_in_no_log_and_rooms_that_were_entered_ad_hoc_come_back_too(
    edge_people: People, edge_stack: Stack, tiny: TinyService, home: int
):
    account = await edge_people.account()
    client = await js(edge_people, {"token": account["access_token"]}, namespace="/brief")
    await client.connected()
    await ok(client, "enter", room="lobby")
    member = Member(client, account, None, "lobby")
    for number in range(12):
        await tiny.publish("/brief", "lobby", RoomEvent("tick", str(number).encode()))
        if number % 4 == 1:
            await client.until(lambda n=number: n in client.of("tick"), "what came before")
            await client.lose()
        if number % 4 == 3:
            await tiny.emitters["/brief"].to("lobby").emit("tick", number + 0.5)
            await member.returns(edge_stack.gateways[home])
    await client.until(lambda: 11.5 in client.of("tick"), "the last")
    assert client.of("tick") == [0, 1, 2, 3, 3.5, 4, 5, 6, 7, 7.5, 8, 9, 10, 11, 11.5]


async def test_what_was_sent_to_a_transport_that_died_at_once_is_sent_again_once(
    edge_people: People, edge_stack: Stack, tiny: TinyService
):
    account = await edge_people.account()
    client = await js(edge_people, {"token": account["access_token"]}, namespace="/brief")
    await client.connected()
    await ok(client, "enter", room="lobby")
    await tiny.publish("/brief", "lobby", RoomEvent("tick", b"0"))
    await client.until(lambda: client.calls, "an event")
    await client.lose()
    auth = {"token": account["access_token"], "pid": client.pid, "offset": client.calls[0][1][1]}
    await tiny.publish("/brief", "lobby", RoomEvent("tick", b"1"))
    for _ in range(3):
        async with RawSocket.open(edge_stack.gateways[0].url) as short_lived:
            await short_lived.handshake()
            assert client.connects[0] in await short_lived.join("/brief", auth)
    async with RawSocket.open(edge_stack.gateways[0].url) as last:
        await last.handshake()
        assert client.connects[0] in await last.join("/brief", auth)
        await tiny.publish("/brief", "lobby", RoomEvent("tick", b"2"))
        events = [await last.text(), await last.text()]
        assert [event.split(",")[2] for event in events] == ["1", "2"]


async def test_what_is_sent_in_the_moment_of_the_return_is_not_lost(edge_people: People, tiny: TinyService):
    account = await edge_people.account()
    client = await js(edge_people, {"token": account["access_token"]}, namespace="/brief")
    await client.connected()
    await ok(client, "enter", room="busy")
    returns, sent = 6, 0
    going = asyncio.create_task(_return_often(client, returns))
    while not going.done():
        await tiny.publish("/brief", "busy", RoomEvent("tick", str(sent).encode()))
        sent += 1
        await asyncio.sleep(0.001)
    await going
    await client.until(lambda: client.of("tick")[-1:] == [sent - 1], "the last")
    assert client.of("tick") == list(range(sent))
    assert client.recovered == [False] + [True] * returns


async def _return_often(client: JsClient, times: int) -> None:
    for number in range(times):
        heard = len(client.events)
        await client.until(lambda h=heard: len(client.events) > h, "an event")
        await client.lose()
        client.back()
        await client.connected(number + 2)
