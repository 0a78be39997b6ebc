"""Clients that do not read what they are sent: in sum they are bounded, and it is they who pay for it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from parley.common.http.connection.gate import HTTP_LIMITED, HttpLimits
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.packets import Packet
from parley.engineio.server import SESSIONS_CLOSED, UNREAD
from parley.engineio.session import Session
from tests.support.services.engine_server import TIMEOUT, HttpWire, Wire, edge_server
from tests.support.services.scripted_engine import serving
from tests.support.waiting import until

POLLING = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
ATTACKER, HONEST = "127.0.0.66", "127.0.0.1"
MIB = 1024 * 1024
SMALL: dict[str, Any] = {
    "gateway_max_output_memory": 4 * MIB,
    "gateway_max_message": 300_000,
    "gateway_bytes_per_second": 10**9,
    "gateway_bytes_burst": 10**9,
    "gateway_events_per_second": 10**6,
    "gateway_events_burst": 10**6,
}


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
        for _ in range(4):
            assert (await honest.post(here, content=message(200_000))).status_code == 200
        limited, slow = (value(LIMIT_HITS.labels("output_memory")), value(SESSIONS_CLOSED.labels("slow")))
        for _ in range(10):
            attacker, there = await stack.enter_async_context(guest(port, ATTACKER))
            for _ in range(4):
                await attacker.post(there, content=message(220_000))
            assert value(UNREAD) <= 5 * MIB + 300_000
        assert value(SESSIONS_CLOSED.labels("slow")) - slow >= 6
        assert value(LIMIT_HITS.labels("output_memory")) - limited >= 6
        assert len((await honest.get(here)).text) > 800_000, "who only is slow has lost nothing"


def unconnected(stack: AsyncExitStack, address: str) -> socket.socket:
    """A socket that takes next to nothing before its owner reads."""
    small = stack.enter_context(socket.socket())
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    small.bind((address, 0))
    return small


@pytest.mark.parametrize("closing", [False, True])
async def test_websockets_that_are_not_read_are_cut_off_before_they_fill_the_memory(closing: bool):
    packet = Packet.of(b"4" + b"x" * 100_000)
    async with serving(max_output_memory=8 * MIB, max_buffer=2 * MIB) as server, AsyncExitStack() as stack:
        budget = server.engine.output_budget

        async def deaf(address: str) -> tuple[Wire, Session]:
            """A client that leaves about a MiB unread, beyond what the kernel takes."""
            wire = await stack.enter_async_context(Wire.open(server.port, SOCKET, sock=unconnected(stack, address)))
            session = server.engine.sessions[(await wire.opened())["sid"]]
            other_end: Any = session.socket
            while not session.over and other_end.unread() < MIB:
                session.send(packet)
                await asyncio.sleep(0)
            return wire, session

        slow, honest = await deaf(HONEST)
        for _ in range(14):
            _, session = await deaf(ATTACKER)
            if closing:
                # What it was sent before waits on, though the session is over.
                session.close("kicked")
            await asyncio.sleep(0)
            assert budget.held <= 9 * MIB
        if not closing:
            assert [reason for _, reason in server.script.ended].count("slow") >= 6
        assert not honest.over
        for _ in range(5):
            assert await slow.text() == "4" + "x" * 100_000


async def test_an_answer_that_nobody_reads_is_given_up_also_where_it_is_the_last():
    async with serving(HttpLimits(answer_seconds=0.3)) as server, AsyncExitStack() as stack:
        _, at = await stack.enter_async_context(guest(server.port, ATTACKER))
        next(iter(server.engine.sessions.values())).send(Packet.of(b"4" + b"x" * 12 * MIB))
        small = unconnected(stack, ATTACKER)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=small, limit=4096)
        stack.callback(writer.transport.abort)
        expired = value(HTTP_LIMITED.labels("answer_seconds"))
        await HttpWire(reader, writer).ask(at, "Connection: close")
        await until(lambda: value(HTTP_LIMITED.labels("answer_seconds")) > expired)
        size = 0
        with suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT):
                while data := await reader.read(65_536):
                    size += len(data)
        assert size < 12 * MIB


async def test_answers_that_nobody_reads_are_bounded_in_sum():
    async with serving(HttpLimits(unread_bytes=8 * MIB, body_bytes=MIB)) as server, AsyncExitStack() as stack:
        cut = value(HTTP_LIMITED.labels("unread_bytes"))
        for _ in range(2):
            _, at = await stack.enter_async_context(guest(server.port, ATTACKER))
            list(server.engine.sessions.values())[-1].send(Packet.of(b"4" + b"x" * 12 * MIB))
            small, loop = unconnected(stack, ATTACKER), asyncio.get_running_loop()
            await loop.sock_connect(small, ("127.0.0.1", server.port))
            await loop.sock_sendall(small, f"GET {at} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: value(HTTP_LIMITED.labels("unread_bytes")) == cut + 2)
