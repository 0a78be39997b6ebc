"""WebSocket frames on the wire, limits, and who may connect."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from parley.common.http.connection import gate as http_gate
from parley.engineio.server import SESSIONS
from parley.engineio.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from parley.engineio.writes import LOST_SLICE
from tests.fuzz.mutation import client_frame
from tests.support.clients.plain_http import plain_http
from tests.support.services.engine_server import TIMEOUT, HttpWire, Wire, conformance_server, edge_server
from tests.support.waiting import until

POLLING = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def port(request: pytest.FixtureRequest) -> Generator[int]:
    with conformance_server("--loop", request.param, "--ping-interval", "25000", "--ping-timeout", "20000") as port:
        yield port


@pytest.fixture
async def wire(port: int) -> AsyncGenerator[Wire]:
    """A greeted client."""
    async with Wire.open(port) as wire:
        await wire.opened()
        yield wire


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x024a", 1002, id="no mask"),
        pytest.param(client_frame(3, b""), 1002, id="reserved opcode"),
        pytest.param(client_frame(TEXT, b"4a", head=0xC0), 1002, id="compressed without leave"),
        pytest.param(client_frame(CONTINUATION, b"4a"), 1002, id="continues nothing"),
        pytest.param(client_frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(client_frame(CLOSE, b"\x03\xec"), 1002, id="close code 1004"),
        pytest.param(client_frame(TEXT, b"4\xff"), 1007, id="not UTF-8"),
        pytest.param(
            client_frame(TEXT, b"4", head=0) + client_frame(CONTINUATION, b"", head=0) * 1025, 1008, id="pile"
        ),
        pytest.param(b"\x82\xff" + (1_000_001).to_bytes(8, "big"), 1009, id="too big"),
    ],
)
async def test_what_breaks_the_protocol_is_closed_with_its_code(wire: Wire, data: bytes, code: int):
    wire.send("4before")
    wire.writer.write(data + client_frame(TEXT, b"4after"))
    assert await wire.text() == "4before"
    assert await wire.closed() == code


async def test_the_longest_message_comes_back_and_a_longer_one_in_fragments_does_not(wire: Wire):
    longest = "4" + "x" * 999_999
    wire.send(longest)
    assert await wire.text() == longest
    half = b"4" + b"x" * 499_999
    wire.writer.write(client_frame(TEXT, half, head=0) + client_frame(CONTINUATION, half + b"x"))
    assert await wire.closed() == 1009


async def test_fragments_are_one_message_and_pings_between_them_are_answered(wire: Wire):
    wire.writer.write(
        client_frame(TEXT, b"4\xe2", head=0) + client_frame(PING, b"are you there", mask=b"\x01\x02\x03\x04")
    )
    assert await wire.frame() == (PONG, b"are you there")
    wire.writer.write(client_frame(PONG, b"unasked") + client_frame(CONTINUATION, b"\x82\xac"))
    assert await wire.text() == "4€"


async def test_bytes_may_come_one_by_one_and_messages_all_at_once(wire: Wire):
    for byte in client_frame(BINARY, bytes(range(200)), mask=b"\x01\x02\x03\x04"):
        wire.writer.write(bytes((byte,)))
        await wire.writer.drain()
    assert await wire.frame() == (BINARY, bytes(range(200)))
    wire.writer.write(b"".join(client_frame(TEXT, f"4{number}".encode()) for number in range(1000)))
    assert [await wire.text() for _ in range(1000)] == [f"4{number}" for number in range(1000)]


@pytest.mark.parametrize("body", [b"", b"\x03\xe8", b"\x03\xe9going", b"\x0f\xa0"])
async def test_a_close_is_answered_after_what_came_before(wire: Wire, body: bytes):
    wire.writer.write(client_frame(TEXT, b"4last") + client_frame(CLOSE, body) + client_frame(TEXT, b"4late"))
    assert await wire.text() == "4last"
    assert await wire.closed() == 1000


async def test_a_client_of_another_make_closes_cleanly(port: int):
    async with connect(f"ws://127.0.0.1:{port}/engine.io/?EIO=4&transport=websocket", ping_interval=None) as client:
        assert str(await client.recv())[0] == "0"
        await client.ping()
        await client.send(["4in ", "pieces"])
        assert await client.recv() == "4in pieces"
        await client.send("1")
        with pytest.raises(ConnectionClosedOK):
            await client.recv()
    async with connect(f"ws://127.0.0.1:{port}/engine.io/?EIO=4&transport=websocket", max_size=None) as client:
        await client.recv()
        await client.send(b"x" * 1_000_001)
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


# -- settings of the gateway -------------------------------------------------------------------------------------------


async def joined(wire: Wire) -> Wire:
    """Join the main namespace."""
    await wire.opened()
    wire.send("40")
    assert (await wire.text())[:2] == "40"
    assert await wire.text() == '42["auth",{}]'
    return wire


async def test_long_messages_are_compressed_for_those_who_can():
    text = "hello " * 1000
    offer = [ClientPerMessageDeflateFactory(server_max_window_bits=15)]
    async with edge_server(gateway_deflate=True) as port:
        address = f"ws://127.0.0.1:{port}{SOCKET}"
        async with connect(address, compression=None, extensions=offer) as packing, Wire.open(port, SOCKET) as plain:
            assert packing.response is not None
            assert "server_no_context_takeover" in packing.response.headers["Sec-WebSocket-Extensions"]
            assert "sec-websocket-extensions" not in plain.headers
            await packing.recv()
            await packing.send("40")
            assert str(await packing.recv())[:2] == "40"
            assert await packing.recv() == '42["auth",{}]'
            for size in (1, 6000, 3):
                await packing.send(f'42["message","{text[:size]}"]')
                assert await packing.recv() == f'42["message-back","{text[:size]}"]'
            await packing.send('451-["message",{"_placeholder":true,"num":0}]')
            await packing.send(text.encode())
            assert await packing.recv() == '451-["message-back",{"_placeholder":true,"num":0}]'
            assert await packing.recv() == text.encode()
            (await joined(plain)).send(f'42["message","{text}"]')
            assert await plain.text() == f'42["message-back","{text}"]'
        async with Wire.open(port, SOCKET, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as wire:
            (await joined(wire)).send(f'42["message","{text}"]')
            opcode, data = await wire.frame()
            assert opcode == TEXT | 0x40
            assert len(data) < 200
    async with (
        edge_server() as port,
        Wire.open(port, SOCKET, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as wire,
    ):
        assert "sec-websocket-extensions" not in wire.headers


async def test_only_a_trusted_proxy_says_whose_address_it_is():
    clients = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in (1, 2)]
    for trusted, second in (("127.0.0.1", 101), ("192.0.2.1", 429)):
        async with (
            edge_server(trusted=trusted, gateway_max_per_address=1) as port,
            Wire.open(port, SOCKET, clients[0]) as one,
            Wire.open(port, SOCKET, clients[1]) as two,
            Wire.open(port, SOCKET, clients[0]) as again,
            plain_http() as http,
        ):
            assert (one.status, two.status, again.status) == (101, second, 429)
            answer = await http.get(f"http://127.0.0.1:{port}{POLLING}", headers=clients[0])
            assert (answer.status_code, answer.json()["code"]) == (429, 4)
    async with edge_server(gateway_max_per_address=1) as port:
        # What the client itself says stands before what the proxy adds, and is not believed.
        spoofed = [{"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.1"} for number in (1, 2)]
        async with Wire.open(port, SOCKET, spoofed[0]) as one, Wire.open(port, SOCKET, spoofed[1]) as two:
            assert (one.status, two.status) == (101, 429)


async def test_pages_of_other_origins_may_connect_only_where_allowed():
    friend, foe = {"Origin": "https://friend.example"}, {"Origin": "https://foe.example"}
    async with (
        edge_server(environment="production", cors_origins=["https://friend.example"]) as port,
        plain_http(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        answer = await http.get(POLLING, headers=friend)
        assert answer.headers["access-control-allow-origin"] == friend["Origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answer = await http.options(POLLING, headers=friend | asked)
        assert answer.status_code == 204
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "content-type"
        answer = await http.options(POLLING, headers=foe | asked)
        assert not any(name.startswith("access-control") for name in answer.headers)
        answer = await http.get(POLLING, headers=foe)
        assert (answer.status_code, answer.json()) == (403, {"code": 4, "message": "Forbidden"})
        assert "access-control-allow-origin" not in answer.headers
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert (await http.get(POLLING, headers=own)).status_code == 200
        assert "access-control-allow-origin" not in (await http.get(POLLING)).headers
        for headers, status in ((friend, 101), (foe, 403), ({"Origin": "null"}, 403), ({}, 101)):
            async with Wire.open(port, SOCKET, headers) as wire:
                assert wire.status == status


async def test_an_upgrade_that_is_not_finished_in_time_is_given_up():
    async with edge_server(gateway_upgrade_timeout=0.2) as port, HttpWire.open(port) as http:
        await http.ask(POLLING)
        sid = json.loads((await http.answer())[1][1:])["sid"]
        async with Wire.open(port, f"{SOCKET}&sid={sid}") as wire:
            wire.send("2probe")
            assert await wire.text() == "3probe"
            assert await wire.closed() == 1000
        async with Wire.open(port, f"{SOCKET}&sid={sid}") as wire:
            wire.send("2probe", "5", "40")
            assert await wire.text() == "3probe"
            assert (await wire.text())[:2] == "40"


async def test_a_client_that_does_not_read_is_cut_off_while_others_go_on():
    message = f'42["message","{"x" * 50_000}"]'
    async with (
        edge_server(gateway_max_buffer=200_000, gateway_max_message=200_000) as port,
        Wire.open(port, SOCKET) as other,
    ):
        await joined(other)
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.setblocking(False)
            async with Wire.open(port, SOCKET, sock=small) as slow:
                await joined(slow)

                async def send_without_reading() -> None:
                    for number in itertools.count():
                        slow.send(message)
                        await slow.writer.drain()
                        other.send(f'42["message",{number}]')
                        assert await other.text() == f'42["message-back",{number}]'

                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(send_without_reading(), TIMEOUT)
                other.send('42["message","still here"]')
                assert await other.text() == '42["message-back","still here"]'


async def test_a_client_that_does_not_poll_is_forgotten_at_its_limit():
    async with (
        edge_server(gateway_max_buffer=200_000, gateway_max_message=200_000) as port,
        plain_http() as http,
    ):
        address = f"http://127.0.0.1:{port}{POLLING}"
        address += f"&sid={json.loads((await http.get(address)).text[1:])['sid']}"
        await http.post(address, content="40")
        message = f'42["message","{"x" * 50_000}"]'
        answers = [(await http.post(address, content=message)).status_code for _ in range(6)]
        assert answers == [200, 200, 200, 200, 400, 400]
        assert (await http.get(address)).json()["code"] == 1


# -- what proxies and clients make of requests -------------------------------------------------------------------------


@pytest.mark.parametrize("target", [SOCKET, f"http://localhost{SOCKET}", SOCKET.replace("/?", "?")])
async def test_a_websocket_may_be_asked_for_in_every_form_of_a_target(port: int, target: str):
    async with Wire.open(port, target) as wire:
        assert wire.status == 101
        await wire.opened()


async def test_the_first_subprotocol_that_is_offered_is_taken(port: int):
    for offered, taken in (("my-app", "my-app"), ("v2.bearer, other", "v2.bearer"), ("a b", None), ("", None)):
        async with Wire.open(port, SOCKET, {"Sec-WebSocket-Protocol": offered}) as wire:
            assert (wire.status, wire.headers.get("sec-websocket-protocol")) == (101, taken)
    async with connect(f"ws://127.0.0.1:{port}{SOCKET}", subprotocols=[Subprotocol("my-app")]) as client:
        assert client.subprotocol == "my-app"


HOST = "chat.example.com"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": HOST, "X-Forwarded-Proto": "https", "Origin": f"https://{HOST}"}, id="nginx"),
        pytest.param({"Host": HOST, "X-Forwarded-Proto": "wss", "Origin": f"https://{HOST}"}, id="Traefik with TLS"),
        pytest.param({"Host": HOST, "X-Forwarded-Proto": "ws", "Origin": f"http://{HOST}"}, id="Traefik without TLS"),
        pytest.param({"Host": HOST, "X-Forwarded-Proto": "https", "Origin": f"wss://{HOST}"}, id="Swift"),
        pytest.param(
            {"Host": "inner", "X-Forwarded-Host": f"{HOST}, inner", "X-Forwarded-Proto": "https, http",
             "Origin": f"https://{HOST}"}, id="two Apaches",
        ),
        pytest.param({"Host": f"{HOST}:443", "X-Forwarded-Proto": "https", "Origin": f"https://{HOST}"}, id="port"),
        pytest.param({"Host": HOST.upper(), "Origin": f"http://{HOST}:80"}, id="case and port"),
    ],
)  # fmt: skip
async def test_pages_of_the_own_origin_connect_behind_every_proxy_by_both_transports(headers: dict[str, str]):
    async with edge_server(environment="production") as port, plain_http() as http:
        async with Wire.open(port, SOCKET, headers) as wire:
            assert wire.status == 101
        answer = await http.get(f"http://127.0.0.1:{port}{POLLING}", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == headers["Origin"], "in the browser's own words"
    async with (
        edge_server(environment="production", trusted="192.0.2.1") as port,
        plain_http() as http,
    ):
        # From anybody else such headers are what a client says of itself.
        believed = {"Host": headers["Host"], "Origin": headers["Origin"]}
        statuses = set[int]()
        for told in (headers, believed):
            async with Wire.open(port, SOCKET, told) as wire:
                statuses.add(wire.status)
        assert len(statuses) == 1


async def test_an_old_client_that_is_lost_before_it_was_greeted_leaves_nothing_behind():
    async with edge_server(gateway_allow_eio3=True) as port:
        before = SESSIONS._value.get()
        async with Wire.open(port, SOCKET.replace("EIO=4", "EIO=3")) as wire:
            assert wire.status == 101
        await until(lambda: SESSIONS._value.get() <= before, "the sessions have ended", seconds=TIMEOUT)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(client_frame(PING, b""), id="pings"),
        pytest.param(client_frame(TEXT, b"6"), id="NOOPs"),
        pytest.param(
            client_frame(TEXT, b"6", head=0)
            + client_frame(CONTINUATION, b"", head=0) * 60
            + client_frame(CONTINUATION, b""),
            id="NOOPs in fragments",
        ),
    ],
)
async def test_a_flood_is_ended_while_others_are_served(port: int, flood: bytes):
    async with Wire.open(port) as flooder, Wire.open(port) as other:
        await flooder.opened()
        await other.opened()
        flooder.writer.write(flood * 3000)
        for number in range(20):
            other.send(f"4{number}")
            assert await other.text() == f"4{number}"
        async with asyncio.timeout(TIMEOUT):
            while (await flooder.frame())[0] != CLOSE:
                pass


async def test_of_clients_that_are_reset_all_at_once_nothing_stays_open():
    def open_files() -> set[str]:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all

    async with edge_server() as port, AsyncExitStack() as stack:
        before, sessions = open_files(), SESSIONS._value.get()  # pyright: ignore[reportPrivateUsage]
        for _ in range(2 * LOST_SLICE + 10):
            client = socket.socket()
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await (await stack.enter_async_context(Wire.open(port, SOCKET, sock=client))).opened()
        await stack.aclose()
        await until(
            lambda: not open_files() - before and SESSIONS._value.get() == sessions,
            "nothing is left of the sessions",
            seconds=TIMEOUT,
        )


# -- requests for a WebSocket that are read at once --------------------------------------------------------------------

UPGRADE = (
    f"GET {SOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_those_that_find_the_turn_used_up_have_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_gate, "PARSED_PER_TURN", 1)
    async with edge_server() as port, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(HttpWire.open(port)) for _ in range(20)]
        for number, wire in enumerate(wires):
            wire.writer.write((UPGRADE if number % 2 else f"GET {POLLING} HTTP/1.1\r\nHost: x\r\n").encode() + b"\r\n")
        for number, wire in enumerate(wires):
            async with asyncio.timeout(TIMEOUT):
                assert (await wire.reader.readline()).split()[1] == (b"101" if number % 2 else b"200")
        for wire in wires[1::2]:
            wire.writer.write(client_frame(PING, b"read on"))
            async with asyncio.timeout(TIMEOUT):
                assert (await wire.reader.readuntil(b"\x8a\x07read on")).startswith(b"upgrade")


async def test_one_of_very_many_headers_is_refused_like_any_request():
    many = "".join(f"x{number}: y\r\n" for number in range(200))
    async with edge_server() as port, HttpWire.open(port) as wire:
        wire.writer.write(f"{UPGRADE}{many}\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            assert (await wire.reader.readline()).split()[1] == b"431"
