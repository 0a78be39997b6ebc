"""Servers of python-socketio that share a channel on NATS, stock ones and drop-ins, and processes that only emit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio
from nats.errors import MaxPayloadError

from parley.engineio.nats_manager import AsyncNatsManager
from tests.support.bus import fresh
from tests.support.clients.python_client import python_client
from tests.support.own_server import Server
from tests.support.services.socketio_servers import OWN, STOCK, make_server, served
from tests.support.waiting import until


@asynccontextmanager
async def member(kind: str, nats_url: str, channel: str) -> AsyncGenerator[tuple[socketio.AsyncServer, str]]:
    """One of the servers, and its URL."""
    manager = AsyncNatsManager(nats_url, channel)
    sio = make_server(kind, client_manager=manager)

    @sio.event
    async def join(sid: str, room: str) -> None:
        await sio.enter_room(sid, room)

    async with served(kind, sio) as url:
        yield sio, url
        await manager.close()


async def both_listen(first: socketio.AsyncServer, second: socketio.AsyncServer, got: dict[str, list[Any]]) -> None:
    """Wait until what one of them emits arrives at the clients of both."""
    for sio in (first, second):

        async def everywhere(sio: socketio.AsyncServer = sio) -> bool:
            for heard in got.values():
                heard.clear()
            await sio.emit("event", "are you there?")
            await asyncio.sleep(0.02)
            return all(got.values())

        await until(everywhere)
    await asyncio.sleep(0.05)
    for heard in got.values():
        heard.clear()


@asynccontextmanager
async def two(nats_url: str, channel: str) -> AsyncGenerator[Any]:
    """A stock server and a drop-in, with a client at each of them, and what the clients got."""
    got: dict[str, list[Any]] = {"stock": [], "ours": []}
    async with (
        member(STOCK, nats_url, channel) as (stock, stock_url),
        member(OWN, nats_url, channel) as (ours, our_url),
        python_client(stock_url, on={"event": got["stock"].append}) as at_stock,
        python_client(our_url, on={"event": got["ours"].append}) as at_ours,
    ):
        await both_listen(stock, ours, got)
        yield stock, ours, at_stock, at_ours, got


async def test_servers_share_their_rooms_and_a_process_without_a_server_emits(nats_url: str):
    channel = fresh("channel")
    async with two(nats_url, channel) as (stock, ours, at_stock, at_ours, got):
        for client in (at_stock, at_ours):
            await client.emit("join", "room")
        await until(lambda: "room" in stock.rooms(at_stock.get_sid()) and "room" in ours.rooms(at_ours.get_sid()))
        await stock.emit("event", {"from": "stock", "bytes": b"\x00"}, room="room")
        await until(lambda: all(heard == [{"from": "stock", "bytes": b"\x00"}] for heard in got.values()))
        await ours.emit("event", 2, room="room", skip_sid=at_stock.get_sid())
        await ours.emit("event", 3, room="room")
        await until(lambda: got["ours"][1:] == [2, 3] and got["stock"][1:] == [3])

        program = (
            "import asyncio\n"
            "from parley.engineio.nats_manager import AsyncNatsManager\n"
            "async def main():\n"
            f"    manager = AsyncNatsManager({nats_url!r}, {channel!r}, write_only=True)\n"
            "    await manager.emit('event', ('from', 'outside'), room='room')\n"
            "asyncio.run(main())"
        )
        await asyncio.to_thread(subprocess.run, [sys.executable, "-W", "ignore", "-c", program], check=True)


async def test_a_client_of_another_server_is_asked_moved_and_disconnected(nats_url: str):
    async with two(nats_url, fresh("channel")) as (stock, ours, at_stock, _at_ours, _got):
        sid, answers, gone = at_stock.get_sid(), list[Any](), list[Any]()
        at_stock.on("question", lambda: "an answer")
        at_stock.on("disconnect", gone.append)
        await ours.emit("question", to=sid, callback=lambda *values: answers.append(values))
        await until(lambda: answers == [("an answer",)])
        await ours.enter_room(sid, "moved")
        await until(lambda: "moved" in stock.rooms(sid))
        await ours.close_room("moved")
        await until(lambda: "moved" not in stock.rooms(sid))
        await ours.disconnect(sid)
        await until(lambda: gone)


async def test_servers_go_on_when_the_broker_is_back_and_what_was_emitted_meanwhile_stays_at_home(own_nats: Server):
    async with two(own_nats.url, "socketio") as (stock, ours, _at_stock, _at_ours, got):
        await own_nats.stop()
        await until(lambda: not stock.manager._client.is_connected and not ours.manager._client.is_connected)
        await ours.emit("event", "to those at home")
        assert await asyncio.wait_for(_first(got["ours"]), 5) == "to those at home"
        await own_nats.start()
        await until(lambda: stock.manager._client.is_connected and ours.manager._client.is_connected)
        await both_listen(stock, ours, got)


async def _first(heard: list[Any]) -> Any:
    await until(lambda: heard)
    return heard[0]


async def test_a_broker_that_is_not_there_yet_is_waited_for(own_nats: Server):
    await own_nats.stop()
    async with member(OWN, own_nats.url, "socketio") as (_sio, url):
        got: dict[str, list[Any]] = {"ours": []}
        async with python_client(url, on={"event": got["ours"].append}):
            await own_nats.start()
            outside = AsyncNatsManager(own_nats.url, write_only=True)

            async def heard() -> bool:
                await outside.emit("event", "from outside")
                return bool(got["ours"])

            await until(heard)
            with pytest.raises(MaxPayloadError):
                await outside.emit("event", "x" * 2_000_000)
            await outside.close()
