"""Polling as stock clients do it: how much in one answer, how a session ends, one body at a time."""

from __future__ import annotations

import asyncio
import json
import shutil

import aiohttp
import httpx
import pytest
import socketio

from parley.common.http.connection.gate import HttpLimits
from parley.engineio.packets import Packet
from tests.support.clients.plain_http import plain_http
from tests.support.paths import CLIENTS
from tests.support.proxy import Proxy
from tests.support.services.engine_server import TIMEOUT, HttpWire
from tests.support.services.scripted_engine import Running, serving
from tests.support.waiting import until

POLL = "/socket.io/?EIO=4&transport=polling"
CLIENT = CLIENTS / "polling_client.mjs"


async def handshake(server: Running, http: httpx.AsyncClient) -> str:
    """Begin a session and join. Returns the address of its requests."""
    sid = json.loads((await http.get(POLL)).text[1:])["sid"]
    await http.post(f"{POLL}&sid={sid}", content="40")
    assert (await http.get(f"{POLL}&sid={sid}")).text.startswith("40")
    return f"{POLL}&sid={sid}"


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
async def test_a_stock_client_that_polls_gets_what_was_sent_before_its_end_and_the_right_reason():
    async with serving() as server:
        client = await asyncio.create_subprocess_exec(
            "node", str(CLIENT), server.url, "kick", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(TIMEOUT):
            output, _ = await client.communicate()
        happened = [json.loads(line) for line in output.splitlines()]
        assert happened == [
            {"on": "kicked", "args": [{"code": "kicked"}]},
            {"on": "disconnect", "reason": "io server disconnect"},
        ]


async def test_a_close_comes_with_the_poll_after_the_packets_before_it():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        waiting = asyncio.ensure_future(http.get(address))
        await until(lambda: next(iter(server.engine.sessions.values()))._poll is not None)
        await http.post(address, content='42["kick"]')
        assert (await waiting).text == '42["kicked",{"code":"kicked"}]\x1e41'
        assert (await http.get(address)).text == "1"
        assert (await http.get(address)).json()["code"] == 1
        # Where clients are to come back they are told what was sent, and then that the session is unknown.
        address = await handshake(server, http)
        await http.post(address, content='42["drain"]')
        assert (await http.get(address)).text == '42["last"]'
        assert (await http.get(address)).json()["code"] == 1


async def test_a_long_farewell_comes_in_several_answers():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        session = next(iter(server.engine.sessions.values()))
        for number in range(20):
            session.send(Packet.of(b"4%d" % number))
        session.close("kicked")
        answers = [(await http.get(address)).text for _ in range(3)]
        assert [len(answer.split("\x1e")) for answer in answers] == [16, 4, 1]
        assert answers[2] == "1"


async def test_a_python_client_that_polls_comes_back_to_forty_missed_events():
    async with serving() as server, aiohttp.ClientSession() as http:
        server.script.missed = 40
        client, got = socketio.AsyncClient(reconnection=False, http_session=http), list[int]()
        client.on("missed", got.append)
        await client.connect(server.url, transports=["polling"])
        try:
            await until(lambda: len(got) == 40)
            assert got == list(range(40))
            assert client.connected
        finally:
            await client.disconnect()
            await client.wait()


async def test_an_answer_that_was_lost_comes_again_when_the_http_library_repeats_its_request():
    async with serving() as server, Proxy.running(server.url) as proxy, aiohttp.ClientSession() as http:
        client, got = socketio.AsyncClient(reconnection=False, http_session=http), list[int]()
        client.on("missed", got.append)
        await client.connect(proxy.url, transports=["polling"])
        session = next(iter(server.engine.sessions.values()))
        await until(lambda: session._poll is not None)
        proxy.hold("down")
        session.send(Packet.of(b'42["missed",0]'))
        await proxy.carries("down", b"missed")
        proxy.flap()
        proxy.release("down")
        session.send(Packet.of(b'42["missed",1]'))
        await until(lambda: len(got) == 2)
        assert got == [0, 1]
        assert client.connected
        await client.disconnect()
        await client.wait()


async def test_an_event_with_many_attachments_is_spread_over_answers_in_its_order():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        session = next(iter(server.engine.sessions.values()))
        session.send(Packet.of(b"first"))
        session.send(Packet.of(b"head", tuple(bytes([number]) for number in range(20))))
        answers = [(await http.get(address)).text.split("\x1e") for _ in range(2)]
        assert [len(answer) for answer in answers] == [16, 6]
        assert [packet[:1] for packet in [*answers[0], *answers[1]]] == ["f", "h", *("b" * 20)]
        assert session._queued == 0


# -- bodies ------------------------------------------------------------------------------------------------------------


async def test_a_second_body_while_the_first_is_still_coming_ends_the_session():
    async with (
        serving() as server,
        plain_http(base_url=server.url) as http,
        HttpWire.open(server.port) as slow,
    ):
        address = await handshake(server, http)
        session = next(iter(server.engine.sessions.values()))
        await slow.ask(address, "Content-Length: 100", method="POST")
        slow.writer.write(b"4half")
        await until(lambda: session._post is not None)
        answer = await http.post(address, content="4whole")
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert (await slow.answer())[0] == 400
        assert server.script.ended == [(session.sid, "transport error")]
        assert "half" not in server.script.messages


async def test_bodies_one_after_the_other_are_fine():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        for number in range(5):
            assert (await http.post(address, content=f"4{number}")).text == "ok"
        assert server.script.messages[-5:] == ["0", "1", "2", "3", "4"]


async def test_reading_a_body_ends_with_the_session():
    async with (
        serving() as server,
        plain_http(base_url=server.url) as http,
        HttpWire.open(server.port) as slow,
    ):
        address = await handshake(server, http)
        session = next(iter(server.engine.sessions.values()))
        await slow.ask(address, "Content-Length: 100000", method="POST")
        slow.writer.write(b"4" + b"x" * 50_000)
        await until(lambda: session.held > 40_000)
        session.fail("forgotten")
        assert (await slow.answer())[0] == 400
        assert (session.held, server.engine.budget.held) == (0, 0)


async def test_bodies_that_are_still_coming_are_bounded_in_sum():
    async with (
        serving(max_unjoined_memory=60_000) as server,
        plain_http(base_url=server.url) as http,
        HttpWire.open(server.port) as first,
        HttpWire.open(server.port) as second,
    ):
        for number, wire in enumerate((first, second)):
            sid = json.loads((await http.get(POLL)).text[1:])["sid"]
            await wire.ask(f"{POLL}&sid={sid}", "Content-Length: 100000", method="POST")
            wire.writer.write(b"4" + b"x" * 40_000)
            if number == 0:
                await until(lambda: server.engine.budget.held > 30_000)
        status, body = await second.answer()
        assert (status, json.loads(body)["code"]) == (503, 3)
        assert [reason for _, reason in server.script.ended] == ["overloaded"]


async def test_a_body_that_is_broken_off_ends_the_session_whose_messages_are_lost_with_it():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        async with HttpWire.open(server.port) as wire:
            await wire.ask(address, "Content-Length: 100", method="POST")
            await until(lambda: next(iter(server.engine.sessions.values()))._post is not None)
        await until(lambda: [reason for _, reason in server.script.ended] == ["transport error"])


async def test_a_body_that_does_not_come_is_answered_408_and_ends_the_session():
    async with (
        serving(HttpLimits(body_seconds=0.2)) as server,
        plain_http(base_url=server.url) as http,
        HttpWire.open(server.port) as wire,
    ):
        address = await handshake(server, http)
        await wire.ask(address, "Transfer-Encoding: chunked", method="POST")
        wire.writer.write(b"2\r\n4x\r\n")
        assert (await wire.answer())[0] == 408
        await until(lambda: [reason for _, reason in server.script.ended] == ["transport error"])


async def test_before_a_namespace_is_joined_a_body_is_as_small_as_a_message():
    async with serving() as server, plain_http(base_url=server.url) as http:
        sid = json.loads((await http.get(POLL)).text[1:])["sid"]
        answer = await http.post(f"{POLL}&sid={sid}", content=b"4" + b"x" * 128 * 1024)
        assert (answer.status_code, answer.json()["code"]) == (413, 3)
        address = await handshake(server, http)
        assert (await http.post(address, content=b"4" + b"x" * 500_000)).status_code == 200


async def test_a_flood_of_empty_polling_packets_ends_its_session():
    async with serving() as server, plain_http(base_url=server.url) as http:
        address = await handshake(server, http)
        assert (await http.post(address, content="\x1e".join(["6"] * 200))).status_code == 200
        assert [reason for _, reason in server.script.ended] == ["rate_limited"]


# -- requests that nobody serves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [3, 4])
async def test_jsonp_is_refused_and_the_answer_says_so(revision: int):
    async with serving() as server, plain_http(base_url=server.url) as http:
        answer = await http.get(f"/socket.io/?EIO={revision}&transport=polling&j=0")
        assert (answer.status_code, answer.json()) == (400, {"code": 0, "message": "JSONP is not served"})
