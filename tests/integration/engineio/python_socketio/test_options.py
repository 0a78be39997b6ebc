"""Options of python-socketio's server, its admin page, and other apps beside it, on the drop-in and on the original."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from engineio.async_socket import AsyncSocket
from socketio.exceptions import ConnectionError as RefusedError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients.plain_http import plain_http
from tests.support.clients.python_client import python_client
from tests.support.services.socketio_servers import KINDS, OWN, PLAIN, STOCK, make_server, served
from tests.support.waiting import until

POLL = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
OURS = pytest.mark.parametrize("kind", [PLAIN, OWN])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_handshake_follows_the_options(kind: str):
    sio = make_server(
        kind, ping_interval=(20, 3), ping_timeout=7, max_http_buffer_size=5000, cookie="io", allow_upgrades=False
    )
    async with served(kind, sio) as url, plain_http(base_url=url) as http:
        answer = await http.get(POLL)
    opened = json.loads(answer.text[1:])
    assert answer.headers["set-cookie"] == f"io={opened.pop('sid')}; path=/; SameSite=Lax"
    assert opened == {"upgrades": [], "pingInterval": 23000, "pingTimeout": 7000, "maxPayload": 5000}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_transport_that_is_not_in_the_list_is_not_served(kind: str):
    async with (
        served(kind, make_server(kind, transports=["websocket"])) as url,
        plain_http() as http,
    ):
        assert (await http.get(url + POLL)).status_code == 400
        async with python_client(url):
            pass
    async with served(kind, make_server(kind, transports=["polling"])) as url, plain_http() as http:
        upgrades = json.loads((await http.get(url + POLL)).text[1:])["upgrades"]
        assert upgrades == (["websocket"] if kind == STOCK else [])
        with pytest.raises(InvalidStatus):
            async with connect(url.replace("http", "ws") + SOCKET):
                pass


@pytest.mark.parametrize("kind", KINDS)
async def test_events_of_a_client_are_handled_one_after_the_other_where_that_is_asked_for(kind: str):
    sio, done = make_server(kind, async_handlers=False), list[int]()

    @sio.event
    async def step(_sid: str, number: int) -> None:
        for _ in range(10 - number):
            await sio.sleep(0)
        done.append(number)

    async with served(kind, sio) as url, python_client(url) as client:
        for number in range(10):
            await client.emit("step", number)
        await until(lambda: len(done) == 10)
    assert done == list(range(10))


@OURS
async def test_the_admin_page_sees_sockets_and_may_move_and_disconnect_them(kind: str):
    sio: Any = make_server(kind)
    login = {"username": "a", "password": "b"}
    theirs = AsyncSocket._websocket_handler
    admin = sio.instrument(auth=login, server_stats_interval=0.05)
    assert AsyncSocket._websocket_handler is theirs, "servers of python-engineio's own are not touched"
    seen: dict[str, Any] = {}
    gone: list[Any] = []

    def note(event: str, *arguments: Any) -> None:
        seen.setdefault(event, []).append(arguments)

    try:
        async with (
            served(kind, sio) as url,
            python_client(url, on={"disconnect": gone.append}) as client,
            python_client(url, on={"*": note}, namespaces=["/admin"], auth=login) as page,
        ):
            await until(lambda: "all_sockets" in seen and len(seen.get("server_stats", ())) > 2)
            sockets = {socket["nsp"]: socket for socket in seen["all_sockets"][0][0]}
            assert sockets["/"]["id"] == client.get_sid()
            assert sockets["/"]["transport"] == "websocket"
            assert sockets["/"]["handshake"]["address"] == "127.0.0.1"
            counted = {event["type"] for (stats,) in seen["server_stats"] for event in stats["aggregatedEvents"]}
            assert {"packetsIn", "packetsOut", "bytesIn", "bytesOut"} <= counted
            await page.emit("join", ("/", "room", client.get_sid()), namespace="/admin")
            await until(lambda: ("/", "room", client.get_sid()) in [event[:3] for event in seen.get("room_joined", ())])
            await page.emit("_disconnect", ("/", False, client.get_sid()), namespace="/admin")
            await until(lambda: gone)
            await admin.shutdown()
        with pytest.raises(RefusedError):
            async with served(kind, sio) as url, python_client(url, namespaces=["/admin"], auth={"username": "a"}):
                pass
    finally:
        admin.uninstrument()


async def _say(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"{await websocket.receive_text()} {websocket.query_params['who']}")
    await websocket.close()


async def _page(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("a page")


@pytest.mark.parametrize("kind", KINDS)
async def test_pages_and_websockets_of_another_app_beside_it_are_still_its_own(kind: str):
    other = Starlette(routes=[Route("/page", _page), WebSocketRoute("/own/socket", _say)])
    async with (
        served(kind, make_server(kind), other) as url,
        plain_http() as http,
        python_client(url),
    ):
        assert (await http.get(f"{url}/page")).text == "a page"
        async with connect(f"{url.replace('http', 'ws')}/own/socket?who=ann") as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello ann"


@OURS
async def test_a_server_that_stops_ends_its_sessions_and_its_handlers_hear_of_it(kind: str):
    sio, left = make_server(kind), list[Any]()

    @sio.event
    async def disconnect(_sid: str, reason: str) -> None:
        for _ in range(50):
            await sio.sleep(0)
        left.append(reason)

    async with served(kind, sio) as url, python_client(url), plain_http(base_url=url) as http:
        polling = f"{POLL}&sid={json.loads((await http.get(POLL)).text[1:])['sid']}"
        await http.post(polling, content="40")
        assert (await http.get(polling)).text[:2] == "40"
        await sio.shutdown()
        assert left == ["transport error"] * 2


def test_who_uses_the_engine_alone_loads_neither_python_socketio_nor_a_broker():
    program = (
        "import sys, parley.engineio.polling, parley.engineio.websocket.protocol\n"
        "assert not {'socketio', 'engineio', 'nats', 'fastapi', 'parley.gateway'} & set(sys.modules)\n"
        "from parley.engineio import AsyncServer\n"
        "assert issubclass(AsyncServer, sys.modules['socketio'].AsyncServer)\n"
        "assert 'nats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
