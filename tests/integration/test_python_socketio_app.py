"""An application for python-socketio runs unchanged on the drop-in: what clients see of it is the same on both."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.python_socketio_app import Application
from tests.support.socketio_servers import KINDS, make_server, served

CLIENT = Path(__file__).parent / "python_socketio_client.mjs"
SEEN: dict[str, Any] = {
    "greeting": {"data": "Connected"},
    "rooms": [["a"], ["a"]],
    "room": {"data": "to a"},
    "all": [{"data": "to all"}, {"data": "to all"}],
    "closing": {"data": "a is closing"},
    "after": [],
    "messages": [0, 1, 2],
    "hello": [1, 2, {"auth": {"token": "yes"}, "query": "room=demo", "name": "ann"}],
    "refused": "Connection rejected by server",
    "why": ["because", {"of": "it"}],
    "called": ["you said", ["no", {"really": True}]],
    "binary": ["you said", ["no", {"$binary": "AQID"}]],
    "answered": ["no", {"$binary": "AAE="}],
    "bytes": {"back": [{"$binary": "eA=="}, {"deep": {"$binary": "eQ=="}}]},
    "any": ["whatever", 1, "two"],
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
async def test_the_stock_javascript_client_sees_the_same_on_every_transport(server: Served):
    client = await asyncio.create_subprocess_exec("node", str(CLIENT), server.url, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        output, _ = await client.communicate()
    seen = [json.loads(line) for line in output.splitlines()]
    transports = ["polling", "websocket", "websocket"]
    assert [run.pop("transport") for run in seen] == transports
    assert seen == [SEEN] * 3
