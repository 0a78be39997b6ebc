"""An application for python-socketio runs unchanged on the drop-in: what clients see of it is the same on both."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from socketio.exceptions import ConnectionError as RefusedError
from websockets.asyncio.client import connect

from tests.support.clients.plain_http import plain_http
from tests.support.clients.python_client import python_client
from tests.support.paths import CLIENTS
from tests.support.services.python_socketio_app import Application
from tests.support.services.socketio_servers import KINDS, STOCK, make_server, served
from tests.support.waiting import until

CLIENT = CLIENTS / "python_socketio_client.mjs"
SEEN: dict[str, Any] = {
    "greeting": {"data": "Connected"},
    "rooms": [[["a"]], [["a"]]],
    "room": {"data": "to a"},
    "all": [{"data": "to all"}, {"data": "to all"}],
    "closing": {"data": "a is closing"},
    "after": [[]],
    "messages": [0, 1, 2],
    "hello": [1, 2, {"auth": {"token": "yes"}, "query": "room=demo", "name": "ann"}],
    "refused": "Connection rejected by server",
    "why": ["because", {"of": "it"}],
    "called": ["you said", ["no", {"really": True}]],
    "binary": ["you said", ["no", {"$binary": "AQID"}]],
    "answered": ["no", {"$binary": "AAE="}],
    "bytes": [{"back": [{"$binary": "eA=="}, {"deep": {"$binary": "eQ=="}}]}],
    "any": [["whatever", 1, "two"]],
    "whoami": [["ann", 1], ["ann", 2]],
    "pong": [],
    "kicked": "io server disconnect",
}


class Served:
    """The application, and where it is."""

    def __init__(self, kind: str, url: str, app: Application) -> None:
        self.kind = kind
        self.url = url
        self.app = app


@pytest.fixture(scope="module", params=KINDS)
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[Served]:
    sio = make_server(
        request.param, namespaces=["/", "/latency", "/any", "/asking"], cors_allowed_origins="http://page"
    )
    app = Application(sio)
    async with served(request.param, sio) as url:
        yield Served(request.param, url, app)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
async def test_the_stock_javascript_client_sees_the_same_on_polling_and_upgraded(server: Served):
    client = await asyncio.create_subprocess_exec("node", str(CLIENT), server.url, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        output, _ = await client.communicate()
    seen = [json.loads(line) for line in output.splitlines()]
    assert [run.pop("transport") for run in seen] == ["polling", "websocket"]
    assert seen == [SEEN] * 2


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_the_stock_python_client_sees_the_same_on_both_transports(server: Served, transport: str):
    if server.kind == STOCK and transport == "polling":
        pytest.skip("python-socketio's client takes half a minute to leave its own server")
    got: list[Any] = []
    asked: list[Any] = []

    def answer(question: Any) -> tuple[str, Any]:
        asked.append(question)
        return "because", question

    async with python_client(
        server.url, transport, on={"my_response": got.append}, headers={"X-Name": "ann"}
    ) as client:
        await until(lambda: got == [{"data": "Connected"}])
        await client.emit("my_event", {"data": b"bytes"})
        await until(lambda: got[1:] == [{"data": b"bytes"}])
        (sid,) = [sid for sid in server.app.environs if sid == client.get_sid()]
        environ = server.app.environs[sid]
        assert environ["HTTP_X_NAME"] == "ann"
        assert f"transport={transport}" in environ["QUERY_STRING"]
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert environ["PATH_INFO"] == "/socket.io/"
        assert environ["asgi.scope"]["path"] == "/socket.io/"
        assert server.app.sio.transport(sid) == transport
    await until(lambda: sid in [left[0] for left in server.app.left])
    (left,) = [left for left in server.app.left if left[0] == sid]
    # Before Python 3.12 `wait_for` took a further task: this client closed a WebSocket before it said that it leaves.
    reasons = {"client disconnect"} if transport == "polling" else {"client disconnect", "transport close"}
    assert left[1] in reasons
    assert left[2] == {"joined": True}
    async with python_client(server.url, transport, on={"question": answer}, namespaces=["/asking"]) as client:
        assert await client.call("ask_me", b"why?", namespace="/asking") == ("you said", ["because", b"why?"])
        assert asked == [b"why?"]


async def test_who_is_refused_is_told_why(server: Served):
    told: dict[str, Any] = {"namespaces": ["/fiddle"], "auth": {"token": "why"}}
    why: list[Any] = []
    with pytest.raises(RefusedError):
        async with python_client(server.url, on={"connect_error": why.append}, **told):
            pass
    assert why == [{"message": "because", "data": {"of": "it"}}]


async def test_a_lost_transport_is_told_apart_from_leaving(server: Served):
    async with connect(f"{server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket") as raw:
        await raw.recv()
        await raw.send("40")
        sid = ""
        while not sid:
            if (message := str(await raw.recv())).startswith("40"):
                sid = json.loads(message[2:])["sid"]
        raw.transport.abort()
    await until(lambda: (sid, "transport close", {"joined": True}) in server.app.left)


async def test_only_pages_of_allowed_origins_may_connect(server: Served):
    path = "/socket.io/?EIO=4&transport=polling"
    async with plain_http(base_url=server.url) as http:
        allowed = await http.get(path, headers={"Origin": "http://page"})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "http://page"
        assert allowed.headers["access-control-allow-credentials"] == "true"
        refused = await http.get(path, headers={"Origin": "http://elsewhere"})
        assert refused.status_code in {400, 403}
        assert "access-control-allow-origin" not in refused.headers
