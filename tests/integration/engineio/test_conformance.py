"""The Engine.IO protocol over real sockets, revision 4, on both event loops; pings are too far apart to matter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import pytest

from tests.support.clients.plain_http import plain_http
from tests.support.services.engine_server import TIMEOUT, HttpWire, Wire, conformance_server
from tests.support.waiting import until

POLLING = {"EIO": "4", "transport": "polling"}
POLL = "/engine.io/?EIO=4&transport=polling"
SOCKET = "/engine.io/?EIO=4&transport=websocket"


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def port(request: pytest.FixtureRequest) -> Generator[int]:
    with conformance_server("--loop", request.param, "--ping-interval", "25000", "--ping-timeout", "20000") as port:
        yield port


@pytest.fixture
async def http(port: int) -> AsyncGenerator[httpx.AsyncClient]:
    async with plain_http(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT) as client:
        yield client


class Client:
    """A polling client."""

    def __init__(self, http: httpx.AsyncClient, sid: str) -> None:
        self._http = http
        self.sid = sid

    @classmethod
    async def open(cls, http: httpx.AsyncClient) -> Client:
        answer = await http.get("/engine.io/", params=POLLING)
        assert answer.status_code == 200
        return cls(http, json.loads(answer.text[1:])["sid"])

    async def poll(self) -> httpx.Response:
        return await self._http.get("/engine.io/", params=POLLING | {"sid": self.sid})

    async def post(self, content: Any, **headers: str) -> httpx.Response:
        return await self._http.post(
            "/engine.io/", params=POLLING | {"sid": self.sid}, content=content, headers=headers
        )

    async def is_gone(self) -> None:
        """Wait until the server does not know the session any more."""

        async def refused() -> httpx.Response | None:
            answer = await self.post("6")
            return None if answer.status_code == 200 else answer

        answer = await until(refused, "the session is over", seconds=TIMEOUT)
        assert answer.status_code == 400
        assert answer.json() == {"code": 1, "message": "Session ID unknown"}


@pytest.fixture
async def waiting(http: httpx.AsyncClient, port: int) -> AsyncGenerator[tuple[Client, HttpWire]]:
    """A client whose poll is waiting at the server."""
    async with HttpWire.open(port) as wire:
        await wire.ask(POLL)
        client = Client(http, json.loads((await wire.answer())[1][1:])["sid"])
        await wire.ask(f"{POLL}&sid={client.sid}")
        for _ in range(2):
            # What was written before these were asked has been read once they are answered.
            assert (await client.post("6")).status_code == 200
        yield client, wire


# -- handshake ---------------------------------------------------------------------------------------------------------


async def test_a_poll_without_a_session_begins_one(http: httpx.AsyncClient):
    answer = await http.get("/engine.io/", params=POLLING)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text[0] == "0"
    opening = json.loads(answer.text[1:])
    assert opening.pop("sid")
    assert opening == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000}


async def test_a_websocket_without_a_session_begins_one(port: int):
    async with Wire.open(port) as wire:
        assert (wire.status, wire.headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        opening = await wire.opened()
        assert opening.pop("sid")
        assert opening == {"upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000}


REFUSED = [
    ("transport=polling", 5, "Unsupported protocol version"),
    ("EIO=abc&transport=polling", 5, "Unsupported protocol version"),
    ("EIO=4", 0, "Transport unknown"),
    ("EIO=4&transport=abc", 0, "Transport unknown"),
    ("EIO=4&transport=TRANSPORT&sid=nobody", 1, "Session ID unknown"),
    ("EIO=4&transport=TRANSPORT&" + "a" * 9000, 3, "Bad request"),
]


@pytest.mark.parametrize(("query", "code", "message"), REFUSED)
async def test_what_cannot_begin_a_session_is_refused(
    http: httpx.AsyncClient, port: int, query: str, code: int, message: str
):
    answer = await http.get("/engine.io/?" + query.replace("TRANSPORT", "polling"))
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json() == {"code": code, "message": message}
    query = query.replace("TRANSPORT", "websocket").replace("polling", "websocket")
    async with Wire.open(port, "/engine.io/?" + query) as wire:
        assert wire.status == 400
        assert await wire.refusal() == {"code": code, "message": message}


@pytest.mark.parametrize(("method", "code"), [("POST", 2), ("PUT", 2), ("DELETE", 2), ("PATCH", 2)])
async def test_a_session_begins_with_a_get(http: httpx.AsyncClient, method: str, code: int):
    answer = await http.request(method, "/engine.io/", params=POLLING)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    client = await Client.open(http)
    answer = await http.request("PUT", "/engine.io/", params=POLLING | {"sid": client.sid})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


async def test_transports_are_asked_for_as_what_they_are(http: httpx.AsyncClient, port: int):
    # A proxy that drops the Upgrade header is no typing mistake in `transport`.
    answer = await http.get("/engine.io/", params={"EIO": "4", "transport": "websocket"})
    assert (answer.status_code, answer.json()) == (400, {"code": 3, "message": "Bad request"})
    async with Wire.open(port, "/engine.io/?EIO=4&transport=polling") as wire:
        assert (wire.status, (await wire.refusal())["code"]) == (400, 0)


@pytest.mark.parametrize("headers", [{"Sec-WebSocket-Key": "c2hvcnQ="}, {"Sec-WebSocket-Version": "8"}])
async def test_an_upgrade_that_is_no_websocket_is_refused(port: int, headers: dict[str, str]):
    async with Wire.open(port, SOCKET, headers) as wire:
        assert (wire.status, (await wire.refusal())["code"]) == (400, 3)


async def test_there_is_nothing_beside_the_path(http: httpx.AsyncClient, port: int):
    async with Wire.open(port, "/elsewhere/?EIO=4&transport=websocket") as wire:
        assert wire.status == 404
    assert (await http.get("/engine.iox/", params=POLLING)).status_code == 404
    assert (await http.get("/engine.io", params=POLLING)).status_code == 200


async def test_a_session_is_continued_in_its_own_revision(http: httpx.AsyncClient):
    client = await Client.open(http)
    answer = await http.get("/engine.io/", params={"EIO": "3", "transport": "polling", "sid": client.sid})
    assert (answer.status_code, answer.json()["code"]) == (400, 1)


# -- polling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["4hello", "4a\x1e4b\x1e4c", "4hello\x1ebAQIDBA==", "4日本😀\x1e4é", "4"])
async def test_what_is_posted_comes_back_with_the_next_poll(http: httpx.AsyncClient, body: str):
    client = await Client.open(http)
    answer = await client.post(body.encode())
    assert (answer.status_code, answer.text) == (200, "ok")
    assert (await client.poll()).text == body


async def test_a_poll_waits_for_something_to_say(waiting: tuple[Client, HttpWire]):
    client, wire = waiting
    await client.post("4hello\x1e4again")
    assert await wire.answer() == (200, b"4hello\x1e4again")


async def test_a_client_that_closes_gets_its_poll_back(waiting: tuple[Client, HttpWire]):
    client, wire = waiting
    assert (await client.post("1")).status_code == 200
    assert await wire.answer() == (200, b"6")
    await client.is_gone()


@pytest.mark.parametrize("body", [b"abc", b"", b"4a\x1e", b"bAQ", b"4\xff", b"0", b"2", b"\x1e".join([b"4"] * 1001)])
async def test_a_malformed_post_ends_the_session(http: httpx.AsyncClient, body: bytes):
    client = await Client.open(http)
    answer = await client.post(body)
    assert (answer.status_code, answer.json()) == (400, {"code": 3, "message": "Bad request"})
    assert (await client.poll()).status_code == 400
    await client.is_gone()


async def test_as_many_packets_as_allowed_are_taken(http: httpx.AsyncClient):
    client = await Client.open(http)
    body = "\x1e".join(["4x"] * 1000)
    assert (await client.post(body)).status_code == 200
    answers = [(await client.poll()).text for _ in range(63)]
    assert "\x1e".join(answers) == body
    assert {answer.count("4") for answer in answers[:-1]} == {16}


async def test_a_second_poll_ends_the_session(waiting: tuple[Client, HttpWire]):
    client, wire = waiting
    answer = await client.poll()
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert await wire.answer() == (200, b"1")
    await client.is_gone()


async def test_a_poll_that_is_hung_up_ends_the_session(waiting: tuple[Client, HttpWire]):
    client, wire = waiting
    wire.writer.close()
    await wire.writer.wait_closed()
    await client.is_gone()


async def test_a_body_may_be_as_long_as_allowed_and_no_longer(http: httpx.AsyncClient, port: int):
    client = await Client.open(http)
    longest = "4" + "x" * 999_999
    assert (await client.post(longest)).status_code == 200
    assert (await client.poll()).text == longest

    async def chunks(count: int) -> AsyncGenerator[bytes]:
        for _ in range(count):
            yield b"4" + b"x" * 99_999

    assert (await client.post(chunks(10))).status_code == 200
    await client.poll()
    answer = await client.post(chunks(11))
    assert (answer.status_code, answer.json()["code"]) == (413, 3)
    # Declared, it is refused before it is sent.
    async with HttpWire.open(port) as wire:
        await wire.ask(f"{POLL}&sid={client.sid}", "Content-Length: 1000001", method="POST")
        assert (await wire.answer())[0] == 413
    assert (await client.post("4still here")).status_code == 200


# -- upgrade -----------------------------------------------------------------------------------------------------------


async def test_a_client_moves_to_a_websocket_with_messages_in_flight_both_ways(http: httpx.AsyncClient, port: int):
    client = await Client.open(http)
    heard: list[str] = []

    async def poll_until_noop() -> None:
        while (packets := (await client.poll()).text.split("\x1e")) != ["6"]:
            heard.extend(packets)

    sent = [f"4message {number}" for number in range(60)]
    polling = asyncio.ensure_future(poll_until_noop())
    async with Wire.open(port, f"{SOCKET}&sid={client.sid}") as wire:
        for number, message in enumerate(sent[:40]):
            await client.post(message)
            if number == 20:
                wire.send("2probe")
                assert await wire.text() == "3probe"
                await polling
        wire.send("5", *sent[40:])
        while len(heard) < len(sent):
            heard.append(await wire.text())
        assert heard == sent
        for answer in (await client.poll(), await client.post("4late")):
            assert (answer.status_code, answer.json()["code"]) == (400, 3)
        wire.send("4still here")
        assert await wire.text() == "4still here"


async def test_a_session_has_one_websocket(http: httpx.AsyncClient, port: int):
    client = await Client.open(http)
    target = f"{SOCKET}&sid={client.sid}"
    async with Wire.open(port, target) as first:
        async with Wire.open(port, target) as second:
            assert await second.closed() == 1000
        first.send("2probe", "5")
        assert await first.text() == "3probe"
        async with Wire.open(port, target) as third:
            assert await third.closed() == 1000
        first.send("4still here")
        assert await first.text() == "4still here"


@pytest.mark.parametrize("text", ["5", "4early", "2", "abc"])
async def test_a_wrong_probe_is_closed_and_polling_goes_on(http: httpx.AsyncClient, port: int, text: str):
    client = await Client.open(http)
    async with Wire.open(port, f"{SOCKET}&sid={client.sid}") as wire:
        wire.send(text)
        assert await wire.closed() == 1000
    async with Wire.open(port, f"{SOCKET}&sid={client.sid}") as wire:
        wire.send("2probe")
        assert await wire.text() == "3probe"
        assert (await client.poll()).text == "6"
    await client.post("4still here")
    async with asyncio.timeout(TIMEOUT):
        # Until the server has noticed that the WebSocket is gone, polls are let go at once.
        while (text := (await client.poll()).text) == "6":
            pass
    assert text == "4still here"
