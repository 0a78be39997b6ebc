"""Clients that do not read what they are sent: in sum they are bounded, and it is they who pay for it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from parley.common.http.gate import HttpLimits
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.server import SESSIONS_CLOSED, UNREAD
from tests.support.services.engine_server import TIMEOUT, HttpWire, Wire, edge_server

POLLING = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
ATTACKER, HONEST = "127.0.0.66", "127.0.0.1"
MIB = 1024 * 1024
SMALL: dict[str, Any] = {"gateway_max_output_memory": 4 * MIB, "gateway_max_message": 300_000}


def value(metric: Any) -> float:
    return metric._value.get()


def message(size: int) -> str:
    return f'42["message","{"x" * size}"]'


@asynccontextmanager
async def guest(port: int, address: str) -> AsyncGenerator[tuple[httpx.AsyncClient, str]]:
    """A polling client that has joined. Yields where its requests go."""
    transport = httpx.AsyncHTTPTransport(local_address=address, verify=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as http:
        at = f"{POLLING}&sid={json.loads((await http.get(POLLING)).text[1:])['sid']}"
        await http.post(at, content="40")
        assert (await http.get(at)).text.startswith("40")
        yield http, at


async def test_guests_that_never_poll_again_are_ended_before_they_fill_the_memory():
    async with edge_server(**SMALL, gateway_max_buffer=MIB) as port, AsyncExitStack() as stack:
        honest, here = await stack.enter_async_context(guest(port, HONEST))
        for _ in range(3):
            assert (await honest.post(here, content=message(250_000))).status_code == 200
        limited, slow = (value(LIMIT_HITS.labels("output_memory")), value(SESSIONS_CLOSED.labels("slow")))
        for _ in range(10):
            attacker, there = await stack.enter_async_context(guest(port, ATTACKER))
            for _ in range(3):
                await attacker.post(there, content=message(280_000))
            assert value(UNREAD) <= 5 * MIB + 300_000
        assert value(SESSIONS_CLOSED.labels("slow")) - slow >= 6
        assert value(LIMIT_HITS.labels("output_memory")) - limited >= 6
        assert len((await honest.get(here)).text) > 750_000, "who only is slow has lost nothing"


async def test_websockets_that_are_not_read_are_ended_before_they_fill_the_memory():
    async with edge_server(**SMALL, gateway_max_buffer=MIB) as port, AsyncExitStack() as stack:

        async def deaf(address: str) -> Wire:
            """A client that leaves more than half a MiB unread, beyond what the kernel takes."""
            small = stack.enter_context(socket.socket())
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.setblocking(False)
            small.bind((address, 0))
            wire = await stack.enter_async_context(Wire.open(port, SOCKET, sock=small))
            wire.send("40")
            await wire.opened()
            assert (await wire.text()).startswith("40")
            before, cut = value(UNREAD), value(LIMIT_HITS.labels("output_memory"))
            async with asyncio.timeout(TIMEOUT):
                while value(UNREAD) < before + 500_000 and value(LIMIT_HITS.labels("output_memory")) == cut:
                    wire.send(message(100_000))
                    # Another one's answer comes after the server has dealt with it.
                    other.send("42" + '["message","now"]')
                    assert await other.text() == '42["message-back","now"]'
            return wire

        other = await stack.enter_async_context(Wire.open(port, SOCKET))
        other.send("40")
        await other.opened()
        assert [(await other.text())[:5], await other.text()] == ['40{"s', '42["auth",{}]']
        honest = await deaf(HONEST)
        slow = value(SESSIONS_CLOSED.labels("slow"))
        for _ in range(14):
            await deaf(ATTACKER)
            assert value(UNREAD) <= 5 * MIB
        assert value(SESSIONS_CLOSED.labels("slow")) > slow + 3
        assert await honest.text() == '42["auth",{}]'
        for _ in range(5):
            assert (await honest.text()).startswith('42["message-back"')


async def test_answers_that_nobody_reads_are_bounded_and_their_connections_end():
    limits = HttpLimits(unread_bytes=200_000, body_bytes=300_000, answer_seconds=0.5)
    async with edge_server(limits=limits, gateway_max_message=300_000) as port, AsyncExitStack() as stack:
        small = stack.enter_context(socket.socket())
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        http, at = await stack.enter_async_context(guest(port, ATTACKER))
        for _ in range(3):
            await http.post(at, content=message(290_000))
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=small, limit=4096)
        stack.callback(writer.transport.abort)
        # Who says that it is the last request has no more time than others.
        await HttpWire(reader, writer).ask(at, "Connection: close")
        size = 0
        async with asyncio.timeout(TIMEOUT):
            await asyncio.sleep(2)  # the client's own slowness: it is longer than the answer may be left unread
            try:
                while data := await reader.read(65_536):
                    size += len(data)
            except ConnectionError:
                pass
        assert size < 850_000
