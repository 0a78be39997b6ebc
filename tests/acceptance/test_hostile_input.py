"""Whatever a client sends is answered with a code, ends at most its own connection, and harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import KINDS, People
from tests.support.clients.plain_http import plain_http
from tests.support.clients.raw_socket import RawSocket
from tests.support.stack.running import running_stack
from tests.support.stack.stack import Stack

DEEP = "[" * 5000 + "]" * 5000


@pytest.fixture
async def raw(people: People, stack: Stack):
    """A joined session spoken by hand."""
    account = await people.account("hand")
    async with RawSocket.open(stack.gateways[0].url) as socket:
        await socket.handshake()
        assert (await socket.join("/chat", {"token": account["access_token"]})).startswith("40/chat,{")
        yield socket


STRICT = {
    "PARLEY_GATEWAY_MAX_PER_USER": "1",
    "PARLEY_GATEWAY_CONNECT_TIMEOUT": "3",
    "PARLEY_GATEWAY_MAX_BUFFER": "4194304",
    # What the tests' own clients send at once is not too much.
    "PARLEY_GATEWAY_EVENTS_BURST": "20000",
    "PARLEY_GATEWAY_USER_EVENTS_BURST": "20000",
    "PARLEY_GATEWAY_BYTES_BURST": "33554432",
}


@pytest.fixture(scope="module")
async def strict(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack that is short of patience for those who are slow, silent or too many."""
    async with running_stack(postgres_url, template_database, tmp_path_factory.mktemp("strict"), **STRICT) as running:
        yield running


@pytest.fixture
async def strict_people(strict: Stack) -> AsyncIterator[People]:
    """Users of that stack."""
    everybody = People(strict)
    yield everybody
    await everybody.stop()


def error_code(packet: str, ack_id: int) -> str:
    """The code in an ack packet."""
    prefix = f"43/chat,{ack_id}"
    assert packet.startswith(prefix), packet[:200]
    return json.loads(packet[len(prefix) :])[0]["error"]["code"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        ("no.such.event", {}, "unknown_event"),
        ("x" * 500, {}, "unknown_event"),
        ("message.send", {}, "invalid_payload"),
        ("message.send", None, "invalid_payload"),
        ("message.send", "text", "invalid_payload"),
        ("message.send", [1, 2], "invalid_payload"),
        ("message.send", {"id": 7, "room": "r", "body": "x"}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r"}, "invalid_payload"),
        ("message.send", {"id": "a b", "room": "r", "body": "x"}, "invalid_payload"),
        ("message.send", {"id": "", "room": "r", "body": "x"}, "invalid_payload"),
        ("message.send", {"id": "i" * 65, "room": "r", "body": "x"}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r", "body": ""}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r", "body": {"x": 1}}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r", "body": "nul\x00"}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r", "body": b"binary"}, "invalid_payload"),
        ("message.send", {"id": "a", "room": "r", "body": "x" * 65_537}, "payload_too_large"),
        ("message.send", {"id": "a", "room": "r", "body": "ü" * 33_000}, "payload_too_large"),
        ("message.send", {"id": "a", "room": "r", "body": "x" * 300_000}, "payload_too_large"),
        ("message.send", {"id": "a", "room": "rnowhere", "body": "x"}, "not_found"),
        ("room.create", {"id": "a", "name": "x" * 101}, "invalid_payload"),
        ("room.create", {"id": "a", "name": "x", "kind": "secret"}, "invalid_payload"),
        ("history", {"room": "r", "limit": 10**6}, "invalid_payload"),
        ("history", {"room": "r", "before": -1}, "invalid_payload"),
        ("history", {"room": "r", "before": 2**70}, "invalid_payload"),
        ("sync", {"cursors": {"r": -1}}, "invalid_payload"),
        ("sync", {"cursors": {"r": "x"}}, "invalid_payload"),
        ("sync", {"cursors": {f"r{n}": 1 for n in range(1001)}}, "invalid_payload"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
async def test_a_command_that_makes_no_sense_is_answered_with_a_code(
    people: People, kind: str, event: str, payload: Any, expected: str
):
    client, _ = await people.join(kind=kind)
    assert code(await client.emit(event, payload)) == expected
    assert client.disconnects == []


async def test_too_many_arguments_or_none_are_refused(people: People):
    client, _ = await people.join()
    assert code(await client.emit("history", {"room": "r"}, {"room": "r"})) == "invalid_payload"
    assert code(await client.emit("history", ())) == "invalid_payload"


async def test_an_emit_without_ack_that_fails_is_told_by_an_error_event(people: People):
    client, _ = await people.join()
    await client.tell("no.such.event", {})
    await client.until(lambda: client.of("error"), "an error event")
    assert client.of("error")[0]["code"] == "unknown_event"


async def test_json_nested_too_deeply_is_refused_and_the_connection_lives(raw: RawSocket):
    await raw.send(f'42/chat,1["message.send",{DEEP}]')
    assert error_code(await raw.text(), 1) == "invalid_payload"
    nested = '{"a":' * 97 + "1" + "}" * 97
    await raw.send(f'42/chat,2["history",{{"room":"r","x":{nested}}}]')
    assert error_code(await raw.text(), 2) == "not_found"


@pytest.mark.parametrize("body", ['["a",}', "[", "[]", "[1]", "[null,2]", '["\\ud800",1]', '["a"]x', '[{"a":1}]'])
async def test_a_malformed_event_with_an_ack_id_is_answered(raw: RawSocket, body: str):
    await raw.send(f"42/chat,7{body}")
    assert error_code(await raw.text(), 7) in {"invalid_payload", "unknown_event"}


@pytest.mark.parametrize(
    "packet",
    ["4", "42", "42/chat", "42/chat,", "42/chat,{}", "4x", "49", "4" + DEEP, "44/chat,{}", '451-/chat,["a"]', "45",
     "45999999-[]", "450-/chat,[]", "43/chat,x"],
    ids=lambda p: p[:16],
)  # fmt: skip
async def test_a_malformed_packet_ends_at_most_its_own_connection(raw: RawSocket, people: People, packet: str):
    await raw.send(packet)
    client, _ = await people.join()
    await make_room(client)


async def test_a_malformed_packet_closes_the_connection(raw: RawSocket):
    await raw.send("42/chat,{}")
    await raw.closed()


async def test_binary_frames_out_of_the_blue_close_the_connection(raw: RawSocket):
    await raw.send(b"\x04hello")
    await raw.closed()


async def test_events_before_a_namespace_is_joined_are_ignored(stack: Stack):
    async with RawSocket.open(stack.gateways[0].url) as socket:
        await socket.handshake()
        await socket.send('42/chat,1["history",{"room":"r"}]')
        assert "missing_token" in await socket.join("/chat", {})


async def test_joining_a_namespace_again_is_leaving_it_first(raw: RawSocket):
    assert (await raw.join("/chat", {"token": "x"})).startswith("44/chat,")
    await raw.send('42/chat,1["history",{"room":"r"}]')
    assert "missing_token" in await raw.join("/chat", {})


async def test_ten_thousand_joins_at_once_are_all_answered_and_others_are_served(strict_people: People):
    flooder, _ = await strict_people.join("flooder")
    other, _ = await strict_people.join("other")
    room = await make_room(other)
    started = [
        asyncio.create_task(flooder.emit("room.join", {"id": f"j{n}", "room": f"r{n}"}, timeout=60))
        for n in range(10_000)
    ]
    await ok(other, "message.send", room=room, body="meanwhile")
    answers = await asyncio.gather(*started)
    codes = {code(answer) for answer in answers}
    assert codes <= {"not_found", "overloaded"}
    assert "not_found" in codes
    assert code(await command(flooder, "room.join", room="nowhere")) == "not_found"


async def test_a_forged_token_in_anothers_name_takes_nothing_from_them(strict_people: People):
    account = await strict_people.account("victim")
    forged = jwt.encode({"sub": account["user_id"], "name": "Mallory", "exp": time.time() + 60}, "x" * 32, "HS256")
    attempts = [await strict_people.attempt({"token": forged}) for _ in range(10)]
    owner = await strict_people.attempt({"token": account["access_token"]})
    await owner.connected()
    for attempt in attempts:
        await attempt.until(lambda attempt=attempt: attempt.errors, "a refusal")
        assert attempt.errors[0]["data"]["code"] == "invalid_token"
    await make_room(owner)
    second = await strict_people.attempt({"token": account["access_token"]})
    await second.until(lambda: second.errors, "a refusal")
    assert second.errors[0]["data"]["code"] == "limit_exceeded"


async def test_a_client_that_never_joins_a_namespace_is_disconnected(strict: Stack, strict_people: People):
    async with RawSocket.open(strict.gateways[0].url) as silent:
        await silent.handshake()
        client, _ = await strict_people.join()
        await silent.closed()
        await make_room(client)


async def test_a_client_that_does_not_read_is_disconnected_and_others_are_served(strict: Stack, strict_people: People):
    stack, people = strict, strict_people
    talker, _ = await people.join("talker", gateway=stack.gateways[1])
    room = await make_room(talker)
    stalled_account = await people.account("stalled")
    async with RawSocket.open(stack.gateways[0].url) as stalled:
        await stalled.handshake()
        await stalled.join("/chat", {"token": stalled_account["access_token"]})
        await stalled.send(f'42/chat,["room.join",{{"id":"j","room":"{room}"}}]')
        await talker.until(lambda: talker.of("member.joined"), "the arrival")
        for n in range(400):  # far more than the sockets' own buffers hold
            await ok(talker, "message.send", room=room, body=f"{n}" + "x" * 60_000)
        metrics = await stack.http.get(f"{stack.gateways[0].url}/metrics")
        assert 'parley_gateway_sessions_closed_total{reason="slow"} 1.0' in metrics.text
        path = f"/users/{stalled_account['user_id']}/connections"
        assert (await stack.admin("GET", path))["connections"] == []
    await talker.until(lambda: len(talker.bodies(room)) == 400, "everything, at the one who reads")


async def test_a_frame_over_the_limit_ends_the_connection(raw: RawSocket):
    with contextlib.suppress(ConnectionError):  # the server may hang up before it has read everything
        await raw.send('42/chat,1["message.send","' + "x" * 1_100_000 + '"]')
    await raw.closed()


async def test_a_polling_body_over_the_limit_is_refused_whatever_it_says_of_its_length(stack: Stack):
    url = f"{stack.gateways[0].url}/socket.io/?EIO=4&transport=polling"
    async with plain_http() as http:
        sid = json.loads((await http.get(url)).text[1:])["sid"]

        async def chunks():
            for _ in range(40):
                yield b"x" * 100_000

        for body in (chunks(), b"x" * 1_000_001):
            answer = await http.post(f"{url}&sid={sid}", content=body)
            assert (answer.status_code, answer.json()["message"]) == (413, "At most 131072 bytes in one request")


async def test_a_burst_of_many_packets_in_one_polling_request_is_not_lost(people: People, stack: Stack):
    account = await people.account("burst")
    url = f"{stack.gateways[0].url}/socket.io/?EIO=4&transport=polling"
    async with plain_http(timeout=10) as http:
        sid = json.loads((await http.get(url)).text[1:])["sid"]
        token = json.dumps({"token": account["access_token"]})
        assert (await http.post(f"{url}&sid={sid}", content=f"40/chat,{token}")).text.lower() == "ok"
        assert (await http.get(f"{url}&sid={sid}")).text.startswith("40/chat,")
        burst = "\x1e".join(f'42/chat,{n}["history",{{"room":"r"}}]' for n in range(200))
        await http.post(f"{url}&sid={sid}", content=burst)
        acked: list[str] = []
        while len(acked) < 200:
            acked += [p for p in (await http.get(f"{url}&sid={sid}")).text.split("\x1e") if p.startswith("43/chat,")]
    assert len(acked) == 200


async def test_a_connection_that_is_cut_in_the_middle_of_a_command_does_no_harm(people: People, stack: Stack):
    account = await people.account("cut")
    for _ in range(20):
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"{stack.gateways[0].url}/socket.io/?EIO=4&transport=websocket")
            await socket.receive()
            await socket.send_str("40/chat," + json.dumps({"token": account["access_token"]}))
            await socket.send_str('42/chat,1["room.create",{"id":"c","name":"Cut"}]')
            socket._response.connection.transport.abort()  # type: ignore[union-attr]
    client = await people.attempt({"token": account["access_token"]})
    await client.connected()
    await make_room(client)
    connections = await stack.admin("GET", f"/users/{account['user_id']}/connections")
    assert len(connections["connections"]) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_polling_takes_what_websocket_takes(people: People, kind: str):
    client, _ = await people.join(kind=kind, transports=["polling"])
    room = await make_room(client)
    await ok(client, "message.send", room=room, body="x" * 65_536)
    assert code(await command(client, "message.send", room=room, body="x" * 300_000)) == "payload_too_large"
    assert client.disconnects == []
