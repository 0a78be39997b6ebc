"""What the recorded clients do about connections of which their libraries say nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web
from typing_extensions import override

from tests.chaos.ledger import Ledger
from tests.chaos.sockets import NAMESPACE, UNNOTICED, RecordedPython
from tests.support.waiting import until


@asynccontextmanager
async def stock_server() -> AsyncGenerator[str]:
    """python-socketio's own server, so that what a client does here is not ours."""
    server = socketio.AsyncServer(async_mode="aiohttp", namespaces=[NAMESPACE])
    server.on("hello", lambda _sid: {"ok": True}, namespace=NAMESPACE)
    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await server.shutdown()
        await runner.cleanup()


class Hasty(RecordedPython):
    """Its first connection ends while its `connect` handler runs."""

    @override
    async def note(self, where: list[Any], what: Any) -> None:
        await super().note(where, what)
        if where is self.connects and not self.ended:
            self.ended = True
            await self.part()

    ended = False


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]])
async def test_a_connection_that_ends_unnoticed_by_its_client_is_closed_in_the_ledger_and_followed_by_another(
    tmp_path: Path, transports: list[str]
):
    file = tmp_path / "ledger.jsonl"
    async with stock_server() as url, Ledger.open(file) as ledger:
        client = Hasty("ann#1", "ann", ledger)
        client.begin(url, {"token": ""}, transports)
        await until(lambda: client.given_up)
        library: Any = client._sio
        await until(lambda: library.connected)
        assert library.eio.state == "disconnected", "the library would notice, so nothing here is needed any more"
        client.again()
        await until(lambda: client.connected_now)
        assert not client.given_up
        assert await client.emit("hello", timeout=5) == {"ok": True}
        await client.stop()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    told = [(line["kind"], line.get("reason")) for line in lines]
    opened = [line for line in lines if line["kind"] == "opened"]
    assert all(line["asked"] <= line["at"] for line in opened)
    assert opened[0]["at"] < opened[1]["asked"]
    assert told[:3] == [("opened", None), ("closed", UNNOTICED), ("opened", None)]
