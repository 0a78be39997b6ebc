"""One attacker floods a gateway as fast as it can: others are served all the while, and nobody else is cut off.

The floods are those of `make bench ARGS="--only hostile"`, in small. Nothing here is timed tightly; the benchmark is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt
import psutil
import pytest

from parley.cli.stack import embedded
from parley.framework import Context, Router, Service, ServiceSettings
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import HAS_JS_CLIENT, JsClient, PythonClient
from tests.support.paths import ROOT
from tests.support.postgres import run_sql, with_database
from tests.support.stack.stack import ADMIN_PASSWORD, SECRET, Process

BENCH = ROOT / "bench"
SECONDS = 0.35
"""How long each flood lasts."""
LONGEST_WAIT = 1.0
MEMORY = 48 * 1024 * 1024
"""One address may hold 16 MiB of input with large messages, and leave as much unread; the rest is the allocator's."""
RATE = 100_000_000
"""Bytes per second of one connection that a gateway may swallow without a word."""
LASTING = ("half-open", "dumb sockets", "slow heads", "slow bodies", "dripped frames", "handshakes")
"""Floods of those who sit and wait: they are ended by deadlines, which are longer than the flood."""
DEADLINE = 30.0
"""Seconds after which whoever sits and waits must have been ended."""


def _floods() -> Any:
    spec = importlib.util.spec_from_file_location("floods", BENCH / "floods.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["floods"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_FLOODS = _floods()
FLOODS: dict[str, Any] = _FLOODS.FLOODS

router: Router[None] = Router("/echo")


@router.on("echo", pipelined=True)
async def echo(_context: Context, text: str) -> dict[str, str]:
    return {"text": text}


@dataclass
class Innocent:
    """A stock client that asks all the time, and notes how long each answer took."""

    client: PythonClient | JsClient
    waits: list[float] = field(default_factory=list[float])
    wrong: list[Any] = field(default_factory=list[Any])

    async def ask(self, over: asyncio.Event) -> None:
        """Ask one question after the other, until it is over."""
        number = 0
        while not over.is_set():
            number += 1
            asked = time.monotonic()
            try:
                answer = await self.client.emit("echo", str(number), timeout=5)
            except Exception as error:  # noqa: BLE001 - whatever it is, the question was not answered
                answer = repr(error)
            self.waits.append(time.monotonic() - asked)
            if answer != {"ok": True, "text": str(number)}:
                self.wrong.append(answer)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.02)


class Sitters:
    """Connections that are opened at the beginning and never get anywhere, a byte at a time."""

    def __init__(self, port: int, sid: str) -> None:
        self.started = time.monotonic()
        self.ended: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        post = (
            f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
        )
        upgrade = _FLOODS.websocket()[0].data
        for name, first, drip in (
            ("a socket that says nothing", b"", b""),
            ("a head that does not end", b"GET /healthz HTTP/1.1\r\nX-Slow: ", b"x"),
            ("a body that does not end", post.encode(), b"4"),
            ("a frame that does not end", upgrade, _FLOODS.text("4" * 9_999)),
            ("a session that joins nothing", upgrade, b""),
        ):
            self._tasks.append(asyncio.create_task(self._sit(name, port, first, drip), name=name))

    async def _sit(self, name: str, port: int, first: bytes, drip: bytes) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        dripped = 0
        with suppress(OSError):
            while True:
                with suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(65_536), 0.3):
                        break
                if drip:
                    writer.write(drip[dripped % len(drip) :][:1])
                    dripped += 1
        writer.transport.abort()
        self.ended[name] = time.monotonic() - began

    async def all_end(self, seconds: float) -> set[str]:
        """The names of who was not ended in time."""
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return {task.get_name() for task in late}


class Attacked:
    """A gateway with the service and auth behind it, who uses it, and what to attack it with."""

    def __init__(self, gateway: Process, innocents: list[Innocent]) -> None:
        self.gateway = gateway
        self.innocents = innocents
        self.sitters: Sitters | None = None
        self.spoilt = False
        """Whether a flood did harm that outlasts it."""

    def resident(self) -> int:
        """Bytes of memory it has."""
        return psutil.Process(self.gateway.pid).memory_info().rss

    async def made_whole(self) -> None:
        """Start the gateway anew after a flood that it did not withstand, so that the next one has its own verdict."""
        if not self.sitters:
            await self.sit_down()
        if self.spoilt:
            times = [len(innocent.client.connects) for innocent in self.innocents]
            await self.gateway.restart(signal.SIGKILL)
            for innocent, before in zip(self.innocents, times, strict=True):
                await innocent.client.connected(before + 1)
                innocent.client.disconnects.clear()
            await self.sit_down()

    async def sit_down(self) -> None:
        """Let those who sit and wait begin, in place of those of before."""
        if self.sitters:
            await self.sitters.all_end(0)
        async with plain_http() as http:
            opened = await http.get(f"{self.gateway.url}/socket.io/?EIO=4&transport=polling")
        self.sitters = Sitters(self.gateway.port, json.loads(opened.text[1:])["sid"])

    async def flood(self, name: str) -> tuple[dict[str, Any], int]:
        """Attack, while all innocents ask; how the attacker fared, and the bytes by which the gateway grew."""
        await self.made_whole()
        self.spoilt = True
        for innocent in self.innocents:
            innocent.waits.clear()
            innocent.wrong.clear()
        before = most = self.resident()
        over = asyncio.Event()
        asking = [asyncio.create_task(innocent.ask(over)) for innocent in self.innocents]
        attacker = await asyncio.create_subprocess_exec(
            sys.executable, str(BENCH / "attacker.py"), name, "--port", str(self.gateway.port),
            "--seconds", str(SECONDS), "--namespace", "/echo", "--token", token("attacker"),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        done = asyncio.create_task(attacker.communicate())
        while not done.done():
            await asyncio.wait([done], timeout=0.02)
            most = max(most, self.resident())
        over.set()
        await asyncio.gather(*asking)
        # What was sent before the attacker went may still have to be worked off.
        await self.innocents[0].client.emit("echo", "", timeout=5)
        most = max(most, self.resident())
        return json.loads(done.result()[0].splitlines()[-1]), most - before


def token(user: str) -> str:
    return jwt.encode({"sub": user, "name": user, "exp": time.time() + 600}, SECRET, "HS256")


@pytest.fixture(scope="module")
async def attacked(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attacked]:
    await run_sql(postgres_url, f"CREATE DATABASE floods TEMPLATE {template_database}")
    directory = tmp_path_factory.mktemp("floods")
    namespaces = directory / "namespaces.toml"
    namespaces.write_text('[namespaces."/echo"]\nservice = "echo"\n')
    async with AsyncExitStack() as stack:
        nats_url = stack.enter_context(embedded.nats(directory / "nats"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        environment |= {
            "PARLEY_NATS_URL": nats_url,
            "PARLEY_DATABASE_URL": with_database(postgres_url, "floods"),
            "PARLEY_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PARLEY_AUTH_REGISTER_RATE_ADDRESS": "1000/minute",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            "PARLEY_NAMESPACES_FILE": str(namespaces),
            "PARLEY_GATEWAY_DEFLATE": "true",
            "PARLEY_GATEWAY_DRAIN_SECONDS": "0",
            "PARLEY_GATEWAY_CONNECT_TIMEOUT": "5",
        }
        await stack.enter_async_context(
            Service("echo", router).running(ServiceSettings(nats_url=nats_url, instance="echo1"))
        )
        auth, gateway = (Process(name, environment, directory, f"{name}1") for name in ("auth", "gateway"))
        for process in (auth, gateway):
            process.start()
            stack.callback(process.kill)
        await asyncio.gather(auth.ready(), gateway.ready())
        kinds: list[tuple[PythonClient | JsClient, str]] = [
            (PythonClient(), "websocket"),
            (PythonClient(), "polling"),
            *([(JsClient(), "websocket")] if HAS_JS_CLIENT else []),
        ]
        for client, transport in kinds:
            stack.push_async_callback(client.stop)
            await client.start(gateway.url, "/echo", {"token": token("innocent")}, [transport])
            await client.connected()
        attacked = Attacked(gateway, [Innocent(client) for client, _ in kinds])
        yield attacked
        if attacked.sitters:
            await attacked.sitters.all_end(0)


@pytest.mark.parametrize("name", FLOODS)
async def test_others_are_served_while_one_floods(attacked: Attacked, name: str):
    fared, grown = await attacked.flood(name)
    for innocent in attacked.innocents:
        lost, innocent.client.disconnects[:] = list(innocent.client.disconnects), []
        assert not lost, "others are cut off"
        assert not innocent.wrong, "others are not answered"
    waits = [max(innocent.waits) for innocent in attacked.innocents]
    assert max(waits) <= LONGEST_WAIT, f"others wait: {[round(wait, 2) for wait in waits]} s, attacker: {fared}"
    assert grown <= MEMORY, f"{grown / 1024 / 1024:.0f} MB more, attacker: {fared}"
    if name not in LASTING:
        ended = any(count for how, count in fared["ends"].items() if how != "open")
        throttled = fared["codes"] or fared["sent"] <= RATE * SECONDS * max(1, fared["connections"])
        assert ended or throttled, fared
    attacked.spoilt = False


async def test_who_sits_and_waits_is_ended(attacked: Attacked):
    await attacked.made_whole()
    sitters = attacked.sitters
    assert sitters is not None
    late = await sitters.all_end(max(0.0, sitters.started + DEADLINE - time.monotonic()))
    assert not late, f"ended: {sitters.ended}"
    assert attacked.gateway.running
