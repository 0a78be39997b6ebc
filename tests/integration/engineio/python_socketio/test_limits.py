"""Hostile clients of the drop-in: it keeps the engine's limits, and what is python-socketio's own has some as well."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from parley.engineio import AsyncServer
from parley.engineio.python_socketio import client as client_module
from parley.engineio.python_socketio import server as server_module
from parley.engineio.python_socketio.client_manager import BroadcastManager
from parley.engineio.reading import InputBudget
from tests.support.clients.plain_http import plain_http
from tests.support.services.socketio_servers import OWN, PLAIN, served
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("kind", [PLAIN, OWN])
POLL = "/socket.io/?EIO=4&transport=polling"


@asynccontextmanager
async def raw_client(url: str, *, joined: bool = True) -> AsyncGenerator[ClientConnection]:
    """A WebSocket on which a test writes Socket.IO's packets by hand."""
    address = f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
    async with connect(address, max_size=None, max_queue=1) as websocket:
        await websocket.recv()
        if joined:
            await websocket.send("40")
            assert str(await websocket.recv()).startswith("40")
        yield websocket


async def ended(websocket: ClientConnection) -> None:
    async with asyncio.timeout(5):
        with suppress(ConnectionClosed):
            while True:
                await websocket.recv()


class App:
    """Handlers that count, or wait until they may go on."""

    def __init__(self) -> None:
        self.sio = AsyncServer(max_http_buffer_size=200_000)
        self.handled: list[Any] = []
        self.connects = 0
        self.reasons: list[str] = []
        self.going_on = asyncio.Event()
        self.sio.on("connect", self.connect)
        self.sio.on("disconnect", self.disconnect)
        self.sio.on("note", self.note)
        self.sio.on("wait", self.wait)
        self.sio.on("ask", self.ask)

    async def connect(self, _sid: str, _environ: Any) -> None:
        self.connects += 1

    async def disconnect(self, _sid: str, reason: str) -> None:
        self.reasons.append(reason)

    async def note(self, _sid: str, value: Any) -> None:
        self.handled.append(value)

    async def wait(self, _sid: str, value: Any) -> None:
        self.handled.append(value)
        await self.going_on.wait()

    async def ask(self, sid: str) -> None:
        self.handled.append(await self.sio.call("question", to=sid, timeout=5))

    @property
    def held(self) -> int:
        return self.sio.eio.engine.budget.held


@pytest.fixture
def app() -> App:
    return App()


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param(["4nonsense"], id="no packet"),
        pytest.param(["42"], id="no data"),
        pytest.param(["42{}"], id="not a list"),
        pytest.param(["42[]"], id="no name"),
        pytest.param(["42[{}]"], id="a name that is none"),
        pytest.param(["42[" + "[" * 20_000], id="deep"),
        pytest.param(['42["connect",{}]'], id="the name of a life event"),
        pytest.param(['42["disconnect","kicked"]'], id="the name of another"),
        pytest.param(["431{}"], id="an ack that is not a list"),
        pytest.param(['44{"message":"no"}'], id="what only servers send"),
        pytest.param(['451000-["note"]'], id="many attachments"),
        pytest.param(['451-["note",{"_placeholder":true,"num":7}]', b"x"], id="an attachment that is not there"),
        pytest.param(['451-["note",{"_placeholder":true,"num":0}]', '42["note",1]'], id="text for an attachment"),
        pytest.param([b"x"], id="an attachment of nothing"),
    ],
)
async def test_what_is_no_packet_ends_the_session(kind: str, app: App, packets: list[str | bytes]):
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        for packet in packets:
            await websocket.send(packet)
        await ended(websocket)
        await until(lambda: app.reasons == ["transport error"])
        assert app.handled == []
        assert app.connects == 1
        assert not app.sio._binary_packet
        assert not app.sio.eio.sockets


async def test_a_message_above_the_size_ends_the_session_also_while_it_has_joined_nothing(kind: str, app: App):
    async with served(kind, app.sio) as url:
        async with raw_client(url) as websocket:
            await websocket.send('42["note","%s"]' % ("x" * 150_000))
            await until(lambda: app.handled)
            await websocket.send('42["note","%s"]' % ("x" * 200_000))
            await ended(websocket)
        async with raw_client(url, joined=False) as websocket:
            await websocket.send('40{"token":"%s"}' % ("x" * 150_000))
            await ended(websocket)
        async with plain_http(base_url=url) as http:
            address = f"{POLL}&sid={json.loads((await http.get(POLL)).text[1:])['sid']}"
            assert (await http.post(address, content="40" + "x" * 150_000)).status_code == 413
        assert len(app.handled) == app.connects == 1


async def test_who_joins_no_namespace_is_disconnected(kind: str, app: App, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_module, "CONNECT_TIMEOUT", 0.1)
    async with served(kind, app.sio) as url:
        async with raw_client(url, joined=False) as websocket:
            await ended(websocket)
        async with raw_client(url) as leaving, raw_client(url) as staying:
            await leaving.send("41")
            await ended(leaving)
            await staying.send('42["note",1]')
            await until(lambda: app.handled == [1])


async def test_of_a_client_only_so_many_events_are_handled_at_once_and_in_order(
    kind: str, app: App, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client_module, "MAX_HANDLERS", 3)
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        for number in range(20):
            await websocket.send(f'42["wait",{number}]')
        await until(lambda: app.handled == [0, 1, 2] and app.held > 1024)
        app.going_on.set()
        await until(lambda: len(app.handled) == 20)
        assert app.handled == list(range(20))
        await until(lambda: app.held == 0)


async def test_acks_are_taken_while_events_wait_for_their_turn(kind: str, app: App, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "MAX_HANDLERS", 2)
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        for _ in range(4):
            await websocket.send('42["ask"]')
        for number in range(1, 5):
            assert await websocket.recv() == f'42{number}["question"]'
            # One of the two is answered behind all that waits. Ids that were not given out are ignored.
            await websocket.send("430[]")
            await websocket.send(f"43{number}[{number}]")
        await until(lambda: sorted(app.handled) == [1, 2, 3, 4])


async def test_events_that_nobody_takes_end_the_session_before_they_fill_the_memory(
    kind: str, app: App, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client_module, "MAX_HANDLERS", 1)
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        app.sio.eio.engine.budget = InputBudget(1_000_000, 1_000_000)
        with suppress(ConnectionClosed):
            while True:
                await websocket.send('42["wait","%s"]' % ("x" * 10_000))
                await asyncio.sleep(0)
        app.going_on.set()
        await until(lambda: app.reasons == ["transport error"])
        assert app.held == 0
        assert len(app.handled) == 1


async def test_attachments_count_until_their_packet_is_whole(kind: str, app: App):
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        await websocket.send('452-["note",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]]')
        await websocket.send(b"x" * 50_000)
        await until(lambda: app.held >= 50_000)
        await websocket.send(b"y")
        await until(lambda: app.handled == [[b"x" * 50_000, b"y"]])
        await until(lambda: app.held == 0)


async def test_a_packet_that_is_not_whole_when_its_client_is_disconnected_is_forgotten(kind: str, app: App):
    async def slow(_sid: str, _reason: str) -> None:
        await app.going_on.wait()

    app.sio.on("disconnect", slow)
    async with served(kind, app.sio) as url:
        async with raw_client(url) as websocket:
            ((sid, _),) = app.sio.manager.get_participants("/", None)
            kicking = asyncio.ensure_future(app.sio.disconnect(sid))
            assert await websocket.recv() == "41"
            await websocket.send('451-["note",{"_placeholder":true,"num":0}]')
            await until(lambda: app.sio._binary_packet)
        await until(lambda: not app.sio.eio.sockets)
        assert not app.sio._binary_packet
        app.going_on.set()
        await kicking


async def test_who_does_not_read_is_disconnected(kind: str, app: App):
    async with served(kind, app.sio) as url, raw_client(url) as websocket:
        (sid,) = app.sio.eio.sockets
        websocket.transport.pause_reading()
        async with asyncio.timeout(10):
            while sid in app.sio.eio.sockets:
                await app.sio.emit("flood", os.urandom(50_000).hex())
                await asyncio.sleep(0.001)
        assert app.reasons == ["transport error"]
        websocket.transport.abort()


async def test_nothing_is_left_of_clients_that_are_gone(kind: str, app: App):
    manager: Any = app.sio.manager
    assert isinstance(manager, BroadcastManager)
    async with served(kind, app.sio) as url:
        for _ in range(3):
            async with raw_client(url) as websocket:
                await websocket.send('451-["note"]')
                await websocket.send('42["wait",1]')
        app.going_on.set()
        await until(lambda: not app.sio.eio.sockets and not app.sio.eio._tasks)
        assert not app.sio.environ
        assert not manager._rooms_of
        assert not manager.rooms
        assert not app.sio._binary_packet
        assert app.held == 0
        gc.collect()
        assert not [found for found in gc.get_objects() if isinstance(found, client_module.EngineClient)]
