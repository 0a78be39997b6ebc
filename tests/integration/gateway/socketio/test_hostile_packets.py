"""What is wrong with a payload is told to its sender and ends nothing; what is too much ends in the documented ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from parley.engineio.server import InputBudget
from parley.engineio.session import Session
from parley.gateway.socketio.packets import InvalidPayload, MalformedPacket
from parley.testing import RunningServer
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.socketio_packets import parse
from tests.support.gateway.lives import Hand, error_code, hand, handled, refusal, served
from tests.support.waiting import until

DEEP = "[" * 700 + "]" * 700
PAYLOADS = {
    "half an emoji": '["hi","nice \\ud83d"]',
    "half an emoji in the name": '["\\ud83d",1]',
    "a name that is no string": "[1,2]",
    "no name": "[]",
    "nested too deeply": f'["hi",{DEEP}]',
    "no JSON": '["hi",{]',
    "cut off": '["hi",[1',
}


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    async with served(nats_url) as running:
        yield running


@pytest.fixture
async def socket(server: RunningServer) -> AsyncIterator[Hand]:
    async with hand(server) as socket:
        await socket.joined("/a")
        yield socket
        # Whatever happened, the transport and what else is on it goes on.
        await socket.joined("/b")
        assert (await socket.acked("/b", 1))["ok"]
        assert (await socket.acked("/a", 1))["ok"]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("kind", ["42", "451-", "450-"])
@pytest.mark.parametrize("ack_id", ["7", ""])
async def test_a_bad_payload_is_told_to_its_sender(socket: Hand, kind: str, ack_id: str, payload: str):
    await socket.send(f"{kind}/a,{ack_id}{payload}")
    if kind == "451-":
        await socket.send(b"an attachment")
    text = await socket.text()
    assert text.startswith(f"43/a,{ack_id}[" if ack_id else '42/a,["error",')
    assert error_code(text) == "invalid_payload"


@pytest.mark.parametrize("kind", ["42", "451-", "43", "461-"])
async def test_an_ack_id_that_is_too_long_is_told_to_its_sender(socket: Hand, kind: str):
    await socket.send(f'{kind}/a,9007199254740993["hi",1]')
    if "-" in kind:
        await socket.send(b"an attachment")
    text = await socket.text()
    assert text.startswith('42/a,["error",')
    assert error_code(text) == "invalid_payload"


@pytest.mark.parametrize("number", ["1", "9999"])
async def test_a_placeholder_without_its_attachment_is_told_to_its_sender(socket: Hand, number: str):
    await socket.send(f'451-/a,7["data",{{"_placeholder":true,"num":{number}}}]')
    await socket.send(b"an attachment")
    assert error_code(await socket.text()) == "invalid_payload"


@pytest.mark.parametrize("said", ["null", "[]", "{", '"x"', '{"nick":"nice \\ud83d"}', f'{{"a":{DEEP}}}'])
async def test_a_connect_that_says_nonsense_is_refused_in_its_namespace_alone(socket: Hand, said: str):
    await socket.send(f"40/b,{said}")
    assert refusal(await socket.text(), "/b") == "invalid_payload"


async def test_a_connect_that_says_too_much_is_refused_before_it_is_decoded(socket: Hand):
    await socket.send('40/b,{"a":"' + "x" * 200_000 + '"}')
    assert refusal(await socket.text(), "/b") == "payload_too_large"


async def test_connect_with_nonsense_to_a_namespace_it_is_in_leaves_it(server: RunningServer):
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.send("40/a,null")
        assert refusal(await socket.text(), "/a") == "invalid_payload"
        assert await server.emitter("/a").to_user(socket.user).fetch_connections() == []


@pytest.mark.parametrize("payload", ['["', "[" * 150 + "]" * 150, '["\\ud800"]', "[1,]"], ids=ascii)
async def test_a_clients_ack_that_is_nonsense_hurts_nobody_who_asked(server: RunningServer, payload: str):
    async with hand(server) as honest, hand(server) as hostile:
        for socket in (honest, hostile):
            await socket.joined("/a")
        to = [server.emitter("/a").to_user(socket.user) for socket in (honest, hostile)]
        asked = asyncio.create_task(to[0].to_user(hostile.user).emit_with_acks("ready?", timeout=1))
        for socket, answer in ((hostile, payload), (honest, '["yes"]')):
            text = await socket.text()
            ack_id = text.removeprefix("42/a,").partition("[")[0]
            await socket.send(f"43/a,{ack_id}{answer}")
        result = await asked
        assert (result.answers, result.missing) == (["yes"], 1)


@pytest.mark.parametrize("packet", ['42/a{"e":1}', "42/a,{}", "4x", "44/a,{}", "43/a,[]", "45-/a,[]"])
async def test_a_head_that_is_no_packets_ends_the_transport(server: RunningServer, packet: str):
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.send(packet)
        await socket.closed()


async def test_the_attachments_of_a_refused_event_are_dropped(socket: Hand):
    await socket.send(f'452-/a,3["data",{"1" * 300_000}]')
    for attachment in (b"one", b"two"):
        await socket.send(attachment)
    assert error_code(await socket.text()) == "payload_too_large"
    await socket.send('451-/nowhere,["data"]')
    await socket.send(b"three")
    await socket.send('451-/a,4["data",{"_placeholder":true,"num":0}]')
    await socket.send(b"four")
    assert (await socket.text()).startswith('43/a,4[{"ok":true')
    assert ("data", b"four") in handled


async def test_who_sends_more_bytes_than_allowed_is_told_and_then_disconnected():
    limits: dict[str, Any] = {"gateway_bytes_per_second": 1, "gateway_bytes_burst": 4 * 1024 * 1024}
    async with served(**limits) as server, hand(server) as socket, hand(server) as other:
        await socket.joined("/a")
        await other.joined("/a")
        text = '42/a,1["hi","' + "x" * 260_000 + '"]'
        for _ in range(15):
            await socket.send(text)
            assert error_code(await socket.text()) == "invalid_payload"
        codes = list[str]()
        while "rate_limited" not in codes:
            await socket.send(text)
            codes.append(error_code(await socket.text()))
        # An attachment too much refuses its event, and no more than that.
        await socket.send('451-/a,2["data",{"_placeholder":true,"num":0}]')
        await socket.send(b"x" * 300_000)
        assert error_code(await socket.text()) == "rate_limited"
        for _ in range(20):
            await socket.send(text)
        await socket.closed()
        assert (await other.acked("/a", 1))["ok"]


async def test_what_waits_for_its_attachments_counts_in_the_engines_budget(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    budgets: set[InputBudget] = set()
    take = InputBudget.take

    def taken(self: InputBudget, session: Session, size: int) -> bool:
        budgets.add(self)
        return take(self, session, size)

    monkeypatch.setattr(InputBudget, "take", taken)
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.send('452-/a,4["data",{"_placeholder":true,"num":0}]')
        await socket.send(b"x" * 1000)
        await until(lambda: any(budget.held > 1000 for budget in budgets))
    await until(lambda: not any(budget.held for budget in budgets))


def test_hostile_heads_and_payloads_cost_little_before_they_are_refused():
    megabyte = 1_000_000
    hostile = [
        '51-/chat,["x"' + ",[]" * (megabyte // 3) + "]",
        '2/chat,["x"' + ",0" * (megabyte // 2) + "]",
        '2/chat,["x",' + '"[",' * (megabyte // 4) + "0]",
        '2/chat,["x",' + '"",' * (megabyte // 3) + "[]]",
        '2/chat,["x",' + '"\\"[",' * (megabyte // 6) + "0]",
        '2/chat,["x",' + ("[" * 98 + "]" * 98 + ",") * (megabyte // 197) + "0]",
        '2/chat,["x",' + ("[[],[[],[]]]" + ",") * (megabyte // 13) + "0]",
        "2/chat,[" + "[" * megabyte,
        "2/" + "x" * megabyte,
        "2" + "1" * megabyte,
        '2["' + "\\n" * (megabyte // 2),
        '2["' + "\\" * megabyte,
    ]
    slowest = 0.0
    for text in hostile:
        best = 1.0
        for _ in range(3):
            began = time.thread_time()
            with suppress(InvalidPayload, MalformedPacket):
                parse(text)
            best = min(best, time.thread_time() - began)
        slowest = max(slowest, best)
    # Decoding such a packet into Python objects took 100 to 500 ms; a busy machine is given a lot of room.
    assert slowest < 0.1


@pytest.mark.parametrize("fields", [101, 5_000])
async def test_the_query_behind_a_namespace_of_an_older_client_has_so_many_fields(nats_url: str, fields: int):
    query = "&".join(f"{number}=" for number in range(fields))[:8192]
    async with served(nats_url, gateway_allow_eio3=True) as server, RawSocket.open(server.urls[0], 3) as socket:
        await socket.handshake()
        await socket.send(f"40/a?{query},")
        text = await socket.text()
        assert text.startswith("44/a,")
        assert '"invalid_payload"' in text
