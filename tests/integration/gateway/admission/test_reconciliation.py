"""Gateways and services that stood still, were cut off from NATS, or were killed: who is ended, and who is not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio

from parley.cli.stack import embedded
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, CheckWelcome, Identity, Unwelcome, UnwelcomeUsers
from parley.common.wire.rooms import Announcement, Membership, MembershipChange, Replayed, RoomEvent, RoomHead
from parley.framework import ConnectionContext, Context, Next, Router, Service
from parley.framework.serving import gateway_responder
from parley.framework.serving.held_connections import GatewayTimeouts
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.process import loop_monitor
from parley.testing.running_gateways import declare, serving
from parley.testing.stock_client import StockClient
from parley.testing.tokens import authenticate, token_for
from tests.support.bus import fresh, running_bus
from tests.support.clients.plain_http import plain_http
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.readiness import is_not_ready, is_ready
from tests.support.waiting import until

NAMESPACE = "/place"


class Room:
    """The log of one room: each event says which it is."""

    incarnation = ""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.head = 0
        self.gate = asyncio.Event()
        """Who asks for members waits for it."""
        self.gate.set()

    async def memberships(self, identity: Identity) -> list[Membership]:
        await self.gate.wait()
        return [Membership("room", self.head, 0)] if identity.user_id in self.members else []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        assert room == "room"
        sequences = range(after + 1, min(self.head, after + limit) + 1)
        return Replayed([RoomEvent("said", str(n).encode(), n) for n in sequences], self.head)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        return [RoomHead(room, self.head) for room in rooms]


class Place:
    """A service that notes who comes and goes, with one room."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.room = Room()
        router: Router[Any] = Router(NAMESPACE, room_log=lambda _state: self.room)
        router.use_connection(self._around)
        router.on("hi")(self._hi)
        router.on("disconnect")(self._disconnect)
        self.service = Service("place", router)

    @property
    def gone(self) -> list[tuple[str, ...]]:
        return [event for event in self.events if event[0] == "offline"]

    async def _around(self, context: ConnectionContext, call_next: Next) -> None:
        self.events.append(("online", context.identity.user_id))
        await call_next()
        self.events.append(("offline", context.identity.user_id, context.reason))

    async def _hi(self, _context: Context[Any]) -> None:
        return None

    async def _disconnect(self, context: Context[Any], reason: str) -> None:
        self.events.append(("disconnect", context.identity.user_id, reason))


class World:
    """NATS, auth as the test plays it, and a place."""

    def __init__(self, nats_url: str, proxy: Proxy, bus: Bus, place: Place, declared: Path) -> None:
        self.nats_url = nats_url
        self.proxy = proxy
        self.bus = bus
        self.place = place
        self.declared = declared
        self.unwelcome: dict[str, Code] = {}
        self.answering = asyncio.Event()
        """Until it is set, auth leaves the question unanswered who is welcome."""
        self.answering.set()

    async def check_welcome(self, question: CheckWelcome) -> UnwelcomeUsers:
        await self.answering.wait()
        return UnwelcomeUsers(
            [
                Unwelcome(position, str(code), "You are banned.")
                for position, held in enumerate(question.held)
                if (code := self.unwelcome.get(held.user_id))
            ]
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(embedded.nats(tmp_path / "nats"))
        proxy = await stack.enter_async_context(Proxy.running(url))
        bus = await stack.enter_async_context(running_bus(url, "auth"))
        place = Place()
        declared = declare(tmp_path / "namespaces.toml", [place.service], {})
        world = World(url, proxy, bus, place, declared)
        await bus.respond(subjects.AUTHENTICATE, Authenticate, authenticate, queue="auth")
        await bus.respond(subjects.WELCOME, CheckWelcome, world.check_welcome, queue="auth")
        await bus.flush()
        service = place.service
        await stack.enter_async_context(service.running(service.settings(nats_url=url, instance=fresh("place"))))
        yield world


@asynccontextmanager
async def gateway_behind_proxy(world: World) -> AsyncGenerator[str]:
    async with serving([fresh("gateway")], world.declared, {"nats_url": world.proxy.url}) as (url,):
        yield url


class GatewayProcess:
    """A gateway in a process of its own, which a test may pause and kill."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url = url
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def gateway_process(world: World) -> AsyncGenerator[GatewayProcess]:
    port = free_port()
    environment = {
        **os.environ,
        "PARLEY_PORT": str(port),
        "PARLEY_NATS_URL": world.nats_url,
        "PARLEY_NAMESPACES_FILE": str(world.declared),
        "PARLEY_INSTANCE": fresh("gateway"),
    }
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "parley.gateway", env=environment, stdout=quiet, stderr=quiet
    )
    try:
        gateway = GatewayProcess(process, f"http://127.0.0.1:{port}")
        await until(lambda: is_ready(gateway.url), "the gateway is ready", seconds=20)
        yield gateway
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


@asynccontextmanager
async def connected(url: str, user: str) -> AsyncGenerator[StockClient]:
    client = StockClient(NAMESPACE)
    await client.connect(url, auth={"token": token_for(user)})
    try:
        yield client
    finally:
        await client.close()


async def test_a_ban_while_its_gateway_is_cut_off_from_nats_ends_the_connection_afterwards(world: World):
    async with gateway_behind_proxy(world) as url, connected(url, "ann") as ann, connected(url, "ben") as ben:
        world.proxy.cut()
        world.unwelcome["ann"] = Code.BANNED  # and its kick reaches nobody
        await asyncio.sleep(0.3)
        world.answering.clear()
        world.proxy.mend()

        async def asks() -> bool:
            async with plain_http() as http:
                answer = await http.get(f"{url}/readyz")
            return answer.status_code == 503 and "who is still welcome" in answer.text

        await until(asks, "the gateway asks who is still welcome", seconds=5)
        world.answering.set()
        assert await ann.event("kicked") == [{"code": "banned", "reason": "You are banned."}]
        await ann.disconnected()
        await until(lambda: is_ready(url), "the gateway is ready again", seconds=5)
        assert (await ben.emit("hi"))["ok"]


async def test_a_gateway_that_stood_still_ends_who_was_banned_meanwhile_and_nobody_is_taken_for_gone(world: World):
    async with (
        gateway_process(world) as gateway,
        connected(gateway.url, "ben") as ben,  # whom the slow round, which is no help here, comes to first
        connected(gateway.url, "ann") as ann,
    ):
        await until(lambda: len(world.place.events) == 2)
        gateway.signal(signal.SIGSTOP)
        world.unwelcome["ann"] = Code.BANNED
        await asyncio.sleep(4)
        assert world.place.gone == []
        gateway.signal(signal.SIGCONT)
        assert await ann.event("kicked") == [{"code": "banned", "reason": "You are banned."}]
        await until(lambda: world.place.gone)
        assert (await ben.emit("hi"))["ok"]
        assert world.place.gone == [("offline", "ann", "banned")]


async def test_the_connections_of_a_killed_gateway_are_seen_off(world: World, monkeypatch: pytest.MonkeyPatch):
    async with gateway_process(world) as gateway, connected(gateway.url, "ann"):
        await until(lambda: world.place.events)
        gateway.signal(signal.SIGKILL)
        await until(lambda: world.place.gone, seconds=6)
        await until(lambda: len(world.place.events) == 3)
    assert sorted(world.place.events) == [
        ("disconnect", "ann", "gateway gone"),
        ("offline", "ann", "gateway gone"),
        ("online", "ann"),
    ]


async def test_who_was_taken_for_gone_with_a_gateway_that_was_cut_off_comes_back_and_is_admitted_anew(world: World):
    async with gateway_behind_proxy(world) as url:
        # A stock client that comes back by itself, as it does unless the server says that it is to stay away.
        ann: Any = socketio.AsyncClient(randomization_factor=0)
        ann.reconnection_delay = 0.05
        await ann.connect(url, auth={"token": token_for("ann")}, namespaces=[NAMESPACE], transports=["websocket"])
        await until(lambda: world.place.events)
        world.proxy.cut()
        await until(lambda: world.place.gone, seconds=6)
        assert world.place.gone == [("offline", "ann", "gateway gone")]
        world.proxy.mend()
        await until(lambda: world.place.events.count(("online", "ann")) == 2, seconds=8)
        assert world.place.events.count(("disconnect", "ann", "gateway gone")) == 1
        await until(lambda: NAMESPACE in ann.namespaces)
        assert (await ann.call("hi", (), namespace=NAMESPACE))["ok"]
        assert len([event for event in world.place.events if event[0] != "online"]) == 2
        await ann.shutdown()


async def test_a_gateway_that_stood_still_asks_how_far_its_rooms_are(world: World):
    """What was published meanwhile may be lost without the connection to NATS being so.

    Who is a member is asked as well, which tells heads too; but that is a question for each user, and takes longer.
    """
    async with serving([fresh("gateway")], world.declared, {"nats_url": world.nats_url}) as (url,):
        world.place.room.members.add("ann")
        async with connected(url, "ann") as ann:
            world.place.room.gate.clear()
            world.place.room.head += 1  # which nobody hears of
            time.sleep(loop_monitor.STALL + loop_monitor.INTERVAL + 0.1)  # noqa: ASYNC251 - standing still is the point
            assert await ann.event("said") == [1]
            world.place.room.gate.set()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Where somebody is to be taken for gone, that need not take long."""
    if "seen_off" in request.node.name or "taken_for_gone_with" in request.node.name:
        monkeypatch.setattr(gateway_responder, "GATEWAY_TIMEOUTS", GatewayTimeouts(1.5, 10, 1, 60))


async def test_what_a_gateway_missed_and_what_it_hears_late_make_it_ask_who_is_where(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    asked: set[str] = set()
    monkeypatch.setattr(MembershipCheck, "verify_all", lambda _: asked.add("everybody"))
    monkeypatch.setattr(MembershipCheck, "verify", lambda _, connection: asked.add(connection.identity.user_id))
    async with (
        serving([fresh("gateway")], world.declared, {"nats_url": world.nats_url}) as (url,),
        connected(url, "ann"),
    ):
        came_in = MembershipChange("room", True, 1)
        for announcement in (
            Announcement(NAMESPACE, "log", "", "1", changes=[("ann", came_in)]),
            Announcement(NAMESPACE, "log", "2", "3"),
        ):
            await world.bus.publish(subjects.announcements(announcement.namespace), announcement.encode())
        await until(lambda: asked == {"everybody", "ann"})


async def test_after_a_reconnect_everybody_is_asked_about(world: World, monkeypatch: pytest.MonkeyPatch):
    asked = asyncio.Event()
    async with gateway_behind_proxy(world) as url:
        world.proxy.cut()
        await until(lambda: is_not_ready(url), "the gateway has noticed")
        monkeypatch.setattr(MembershipCheck, "verify_all", lambda _: asked.set())
        world.proxy.mend()
        async with asyncio.timeout(10):
            await asked.wait()
