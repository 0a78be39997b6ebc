"""Binary data in events: from any client through a service to a room, byte for byte."""

from __future__ import annotations

import json

import pytest

from tests.support.clients.conversation import code, command, ok
from tests.support.clients.people import KINDS, AnyClient, People
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.stock_clients import HAS_JS_CLIENT, HAS_OLDER_CLIENT
from tests.support.services.tiny_service import TinyService
from tests.support.stack.stack import Stack

MORE = [b"", b"\x00", b"\xff\xfe\x1e4", bytes(range(256)) * 40]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sent_by", ["websocket", "polling"])
async def test_every_kind_of_member_gets_the_same_bytes(
    edge_people: People, edge_stack: Stack, tiny: TinyService, kind: str, sent_by: str
):
    kinds = ["python", *(["js"] if HAS_JS_CLIENT else []), *(["old"] if HAS_OLDER_CLIENT else [])]
    room = f"{kind} {sent_by}"
    sender, _ = await edge_people.join(kind=kind, namespace="/tiny", transports=[sent_by])
    members: list[AnyClient] = [sender]
    for number, other in enumerate(kinds):
        for transport in ("websocket", "polling"):
            gateway = edge_stack.gateways[number % 2]
            members.append(
                (await edge_people.join(kind=other, gateway=gateway, namespace="/tiny", transports=[transport]))[0]
            )
    for member in members:
        await ok(member, "enter", room=room)
    data = f"{kind} {sent_by}".encode() * 10_000
    answer = await ok(sender, "share", room=room, data=data, more=MORE)
    assert answer["bytes"] == len(data) + sum(map(len, MORE))
    assert (tiny.shared[-1].data, tiny.shared[-1].more) == (data, MORE)
    for member in members:
        await member.until(lambda m=member: m.of("shared"), "the data")
        assert member.of("shared") == [{"data": data, "more": MORE}]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_command_that_takes_no_binary_data_is_rejected_with_it(
    edge_people: People, tiny: TinyService, kind: str
):
    client, _ = await edge_people.join(kind=kind, namespace="/tiny")
    answer = await command(client, "enter", room="r", extra=b"binary")
    assert code(answer) == "invalid_payload"
    assert "binary" in answer["error"]["message"]
    chatter, _ = await edge_people.join(kind=kind)
    assert code(await command(chatter, "room.create", name=b"binary")) == "invalid_payload"
    assert client.disconnects == chatter.disconnects == []


async def test_text_where_binary_data_belongs_is_rejected(edge_people: People, tiny: TinyService):
    client, _ = await edge_people.join(namespace="/tiny")
    for wrong in ("AAAA", 7, None, {"_placeholder": True, "num": 0}):
        assert code(await command(client, "share", room="r", data=wrong)) == "invalid_payload"


async def test_attachments_count_as_payload(edge_people: People, tiny: TinyService):
    client, _ = await edge_people.join(namespace="/tiny")
    half = b"x" * 135_000
    await ok(client, "share", room="r", data=half)
    assert code(await command(client, "share", room="r", data=half, more=[half])) == "payload_too_large"
    assert client.disconnects == []


async def test_what_is_left_of_a_binary_event_does_no_harm_once_its_namespace_is_closed(
    edge_people: People, edge_stack: Stack, tiny: TinyService
):
    account = await edge_people.account()
    auth = {"token": account["access_token"]}
    shared = len(tiny.shared)
    async with RawSocket.open(edge_stack.gateways[0].url) as socket:
        await socket.handshake()
        greeting = await socket.join("/tiny", auth)
        await socket.send('452-/tiny,1["share",{"room":"r","data":{"_placeholder":true,"num":1}}]')
        await socket.send(b"first")
        await tiny.emitters["/tiny"].to(json.loads(greeting[8:])["sid"]).disconnect()
        assert await socket.text() == "41/tiny,"
        await socket.send(b"second")
        assert (await socket.join("/tiny", auth)).startswith("40/tiny,")
        await socket.send('451-/tiny,2["share",{"room":"r","data":{"_placeholder":true,"num":0}}]')
        await socket.send(b"whole")
        assert await socket.text() == '43/tiny,2[{"ok":true,"bytes":5}]'
    assert [share.data for share in tiny.shared[shared:]] == [b"whole"]
