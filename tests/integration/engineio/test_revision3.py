"""Engine.IO revision 3 over real sockets, and the heartbeats of both revisions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any, Self

import httpx
import pytest

from tests.support.clients.plain_http import plain_http
from tests.support.services.engine_server import TIMEOUT, Wire, conformance_server

PING_INTERVAL, PING_TIMEOUT = 0.3, 0.2
SLACK = 2.0
"""What a busy machine may add to a time; nothing may come early."""


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    with conformance_server("--ping-interval", "25000", "--ping-timeout", "20000") as port:
        yield port


@pytest.fixture(scope="module")
def beating() -> Generator[int]:
    """A server that pings often."""
    with conformance_server("--ping-interval", "300", "--ping-timeout", "200") as port:
        yield port


class Client:
    """A polling client."""

    def __init__(self, http: httpx.AsyncClient, revision: int, query: str) -> None:
        self._http = http
        self._target = f"/engine.io/?EIO={revision}&transport=polling{query}"
        self.opening: dict[str, Any] = {}
        self.sid = ""

    @classmethod
    async def open(cls, port: int, revision: int = 3, query: str = "") -> Client:
        client = cls(plain_http(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT), revision, query)
        text = (await client.poll()).text
        client.opening = json.loads(text[text.index("{") :])
        client.sid = client.opening["sid"]
        client._target += f"&sid={client.sid}"
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def poll(self) -> httpx.Response:
        return await self._http.get(self._target)

    async def post(self, body: str | bytes, content_type: str = "text/plain;charset=UTF-8") -> httpx.Response:
        content = body.encode() if isinstance(body, str) else body
        return await self._http.post(self._target, content=content, headers={"content-type": content_type})


def websocket(revision: int, sid: str = "") -> str:
    return f"/engine.io/?EIO={revision}&transport=websocket" + (f"&sid={sid}" if sid else "")


@pytest.fixture
async def client(port: int) -> AsyncGenerator[Client]:
    async with await Client.open(port) as client:
        yield client


# -- revision 3 --------------------------------------------------------------------------------------------------------


async def test_the_handshake_is_a_counted_packet(port: int):
    async with plain_http() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/engine.io/?EIO=3&transport=polling")).text
    size, packet = text.split(":", 1)
    assert int(size) == len(packet)
    assert packet[0] == "0"
    opening = json.loads(packet[1:])
    assert opening.pop("sid")
    assert opening == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000}


@pytest.mark.parametrize("body", ["6:4hello", "6:4hello3:4😀", "2:4a2:4b3:4é!"])
async def test_counted_packets_come_back(client: Client, body: str):
    answer = await client.post(body)
    assert (answer.status_code, answer.text) == (200, "ok")
    assert (await client.poll()).text == body


async def test_binary_data_comes_as_bytes_or_to_those_who_ask_as_base64(port: int, client: Client):
    body = b"\x01\x05\xff\x04\x00\xff\x02\x03" + b"\x00\x03\xff4\xc3\xa9"
    await client.post(body, "application/octet-stream")
    answer = await client.poll()
    assert (answer.headers["content-type"], answer.content) == ("application/octet-stream", body)
    async with await Client.open(port, query="&b64=1") as other:
        await other.post("10:b4AP8CAw==2:4é")
        answer = await other.poll()
        assert (answer.headers["content-type"], answer.text) == ("text/plain; charset=UTF-8", "10:b4AP8CAw==2:4é")


@pytest.mark.parametrize("body", ["abc", "4hello", "9:4hello", "0:", "", "1:9", "1:3", "1:b", "2:b7"])
async def test_a_malformed_post_ends_the_session(client: Client, body: str):
    assert (await client.post(body)).status_code == 400
    assert (await client.poll()).status_code == 400


async def test_websocket_messages_keep_their_kind(port: int):
    async with Wire.open(port, websocket(3)) as wire:
        assert (await wire.opened())["upgrades"] == []
        wire.send("4hello", b"\x04\x01\x02", "b4AQI=", "2")
        assert await wire.text() == "4hello"
        assert await wire.frame() == (2, b"\x04\x01\x02")
        assert await wire.frame() == (2, b"\x04\x01\x02")
        assert await wire.text() == "3"


@pytest.mark.parametrize(("revision", "message"), [(3, "abc"), (3, b"\x09"), (3, "3"), (4, "abc"), (4, "2"), (4, "0")])
async def test_a_malformed_message_closes_at_once(port: int, revision: int, message: str | bytes):
    async with Wire.open(port, websocket(revision)) as wire:
        await wire.opened()
        wire.send(message)
        assert await wire.closed() == 1000


async def test_an_old_client_moves_to_a_websocket(port: int, client: Client):
    await client.post("6:4first")
    async with Wire.open(port, websocket(3, client.sid)) as wire:
        wire.send("2probe")
        assert await wire.text() == "3probe"
        assert (await client.poll()).text == "6:4first"
        assert (await client.poll()).text == "1:6"
        await client.post("7:4second")
        wire.send("5", "4third")
        assert [await wire.text(), await wire.text()] == ["4second", "4third"]
        assert (await client.poll()).status_code == 400


# -- heartbeats --------------------------------------------------------------------------------------------------------


async def test_a_polling_client_is_pinged_as_long_as_it_answers(beating: int):
    async with await Client.open(beating, 4) as client:
        began = time.monotonic()
        for _ in range(3):
            assert (await client.poll()).text == "2"
            assert (await client.post("3")).status_code == 200
        assert 3 * PING_INTERVAL - 0.05 <= time.monotonic() - began < 3 * PING_INTERVAL + SLACK


async def test_a_websocket_client_is_pinged_as_long_as_it_answers(beating: int):
    async with Wire.open(beating) as wire:
        await wire.opened()
        began = time.monotonic()
        for _ in range(4):
            assert await wire.text() == "2"
            wire.send("3")
        assert 4 * PING_INTERVAL - 0.05 <= time.monotonic() - began < 4 * PING_INTERVAL + SLACK


async def test_a_polling_client_that_does_not_answer_is_forgotten(beating: int):
    async with await Client.open(beating, 4) as client:
        began = time.monotonic()
        assert (await client.poll()).text == "2"
        assert (await client.poll()).text == "1"
        assert PING_INTERVAL + PING_TIMEOUT - 0.05 <= time.monotonic() - began < PING_INTERVAL + PING_TIMEOUT + SLACK
        answer = await client.poll()
        assert (answer.status_code, answer.json()["code"]) == (400, 1)


@pytest.mark.parametrize("revision", [3, 4])
async def test_a_websocket_client_that_says_nothing_is_closed(beating: int, revision: int):
    async with Wire.open(beating, websocket(revision)) as wire:
        await wire.opened()
        began = time.monotonic()
        if revision == 4:
            assert await wire.text() == "2"
        assert await wire.closed() == 1000
        assert PING_INTERVAL + PING_TIMEOUT - 0.05 <= time.monotonic() - began < PING_INTERVAL + PING_TIMEOUT + SLACK


async def test_old_clients_ping_themselves_and_stay(beating: int):
    async with await Client.open(beating) as client, Wire.open(beating, websocket(3)) as wire:
        await wire.opened()
        until = time.monotonic() + 2 * (PING_INTERVAL + PING_TIMEOUT)
        while time.monotonic() < until:
            await client.post("1:2")
            wire.send("2")
            assert (await client.poll()).text == "1:3"
            assert await wire.text() == "3"
            await asyncio.sleep(PING_INTERVAL / 3)


async def test_a_ping_that_came_by_one_transport_is_answered_by_the_other(beating: int):
    async with await Client.open(beating, 4) as client, Wire.open(beating, websocket(4, client.sid)) as wire:
        wire.send("2probe")
        assert await wire.text() == "3probe"
        while (text := (await client.poll()).text) == "6":
            pass
        assert text == "2"
        wire.send("5", "3")
        for _ in range(2):
            assert await wire.text() == "2"
            wire.send("3")
