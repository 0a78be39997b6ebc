"""Services in one line: real NATS, real gateways and stock clients behave as the fake connections do, and more."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from parley.common.process.settings import ServiceSettings
from parley.framework import Code, ConnectionContext, Context, Next, Reject, Router, Runtime, Service
from parley.gateway.namespaces import ConfigurationError
from parley.testing import ConnectError, RunningServer, StockClient, running
from tests.support.clients.plain_http import plain_http
from tests.support.testing.connection_behaviour import Connect, ConnectionBehaviour
from tests.support.testing.lab import NAMESPACE, notes, service
from tests.support.waiting import until

OPTIONS: dict[str, dict[str, Any]] = {
    NAMESPACE: {"headers": ["language"]},
    "/open": {"auth": "guest"},
    "/full": {"service": "lab", "connection_middleware": [f"{__name__}:overloaded"]},
}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RunningServer]:
    async with running(service, Service("guests", open_table), namespaces=OPTIONS, gateways=2) as started:
        yield started


@pytest.fixture(autouse=True)
def _blank_notes() -> None:
    notes.lines.clear()


open_table: Router[None] = Router("/open")


@open_table.on("who")
async def who(context: Context[None]) -> dict[str, str]:
    return {"user": context.identity.user_id, "gateway": context.gateway}


class TestStockClients(ConnectionBehaviour):
    @pytest.fixture(params=[(0, 0, 0), (0, 1, 0)], ids=["one gateway", "two gateways"])
    async def connect(self, request: pytest.FixtureRequest, server: RunningServer) -> AsyncIterator[Connect]:
        clients: list[StockClient] = []

        async def connect(user: str, **options: Any) -> StockClient:
            client = await server.connect(NAMESPACE, user, gateway=request.param[len(clients)], **options)
            clients.append(client)
            return client

        yield connect
        for client in clients:
            await client.disconnect()
        # What they leave behind must not get into the next test's notes.
        for ending in ("disconnect", "outer out"):
            await until(lambda ending=ending: len(seen(ending)) == len(clients))


def seen(kind: str) -> list[Any]:
    """The service's notes of one kind."""
    return [line for line in notes.lines if line[0] == kind]


# -- letting in --------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_raised_with_what_the_client_was_told(server: RunningServer):
    with pytest.raises(ConnectError) as refused:
        await server.connect(NAMESPACE, "eve", query={"as": "stranger"})
    assert refused.value.message == "not you"
    assert refused.value.data == {
        "code": "forbidden", "message": "not you", "retryable": False, "data": {"ask": "ann"},
    }  # fmt: skip
    for kind, code in (("ghost", "forbidden"), ("broken", "internal")):
        with pytest.raises(ConnectError) as refused:
            await server.connect(NAMESPACE, "eve", query={"as": kind})
        assert refused.value.data["code"] == code
    assert seen("connect") == []


async def test_who_somebody_is_the_test_says(server: RunningServer):
    for auth, code in (({}, "missing_token"), ({"token": "nonsense"}, "invalid_token")):
        with pytest.raises(ConnectError) as refused:
            await server.connect(NAMESPACE, auth=auth)
        assert refused.value.data["code"] == code
    guests = [await server.connect("/open", gateway=gateway) for gateway in (0, 1)]
    ann = await server.connect("/open", "ann")
    told = [await client.emit("who") for client in (*guests, ann)]
    assert [one["user"].split("-")[0] for one in told] == ["guest", "guest", "ann"]
    assert len({one["user"] for one in told}) == 3
    assert told[0]["gateway"] == told[2]["gateway"] != told[1]["gateway"]
    assert server.url == server.urls[0] != server.urls[1]


async def overloaded(_connection: ConnectionContext, _call_next: Next) -> None:
    raise Reject(Code.OVERLOADED)


async def test_a_transport_that_ends_instead_of_a_refusal_is_noticed_at_once(server: RunningServer):
    with pytest.raises(ConnectError) as refused:
        await asyncio.wait_for(server.connect("/full", "ann"), 5)
    assert (refused.value.message, refused.value.data) == ("", None)


async def test_a_namespace_nobody_declared_is_refused(server: RunningServer):
    with pytest.raises(ConnectError) as refused:
        await server.connect("/nowhere", "ann")
    assert (refused.value.message, refused.value.data) == ("Invalid namespace", None)


# -- clients -----------------------------------------------------------------------------------------------------------


async def test_the_emitter_reaches_clients_of_every_gateway(server: RunningServer):
    here, there = [await server.connect("/open", user, gateway=n) for n, user in enumerate(("ann", "ben"))]
    emitter = server.emitter("/open")
    await emitter.emit("news", 1, b"\2")
    assert await here.event("news") == await there.event("news") == [1, b"\2"]
    await emitter.socket(here.sid).join("red")
    there.answers("vote", ("yes", b"\3"))
    result = await emitter.to(there.sid, "red").emit_with_acks("vote", timeout=0.5)
    assert (result.answers, result.missing) == ([("yes", b"\3")], 1)
    assert [(await client.event("vote"), client.connected) for client in (here, there)] == [([], True)] * 2


async def test_handlers_of_the_library_work_as_ever(server: RunningServer):
    ann = await server.connect("/open", "ann", transports=["polling"])
    seen: list[Any] = []

    async def on_news(*args: Any) -> str:
        seen.extend(args)
        return "read"

    ann.client.on("news", on_news, namespace="/open")
    assert await server.emitter("/open").socket(ann.sid).emit_with_ack("news", 1, timeout=5) == "read"
    assert seen == [1]
    ann.answers("news", "answered")
    assert await server.emitter("/open").socket(ann.sid).emit_with_ack("news", 2, timeout=5) == "answered"
    assert seen == [1, 2]


async def test_an_event_that_does_not_come_is_said(server: RunningServer):
    ann = await server.connect("/open", "ann")
    with pytest.raises(AssertionError, match="no 'news' arrived"):
        await ann.event("news", timeout=0.01)
    with pytest.raises(AssertionError, match="still connected"):
        await ann.disconnected(timeout=0.01)
    assert ann.sid
    await ann.disconnect()
    await ann.disconnected()
    assert (ann.connected, ann.sid) == (False, "")


# -- what runs ---------------------------------------------------------------------------------------------------------


class Settings(ServiceSettings):
    greeting: str = "hello"


@asynccontextmanager
async def greeting(runtime: Runtime) -> AsyncGenerator[str]:
    yield runtime.settings.greeting


async def test_settings_reach_services_and_gateways(nats_url: str):
    table: Router[str] = Router("/greet")

    @table.on("greet")
    async def greet(context: Context[str], _text: str) -> dict[str, str]:
        return {"greeting": context.state}

    greeter = Service("greeter", table, lifespan=greeting, settings=Settings)
    settings = {"nats_url": nats_url, "greeting": "good evening", "gateway_max_per_user": 1}
    async with running(greeter, settings=settings, namespaces={"/greet": {"max_payload": 1024}}) as server:
        assert server.nats_url == nats_url
        ann = await server.connect("/greet", "ann")
        assert await ann.emit("greet", "x") == {"ok": True, "greeting": "good evening"}
        assert (await ann.emit("greet", "x" * 1024))["error"]["code"] == "payload_too_large"
        with pytest.raises(ConnectError) as refused:
            await server.connect("/greet", "ann")
        assert refused.value.data["code"] == "limit_exceeded"


# In a loop of its own: what other tests leave running there is not the business of these.
@pytest.mark.asyncio(loop_scope="function")
async def test_nothing_is_left_when_it_ends_and_the_process_is_nobody_elses():
    before, handler = asyncio.all_tasks(), signal.getsignal(signal.SIGTERM)
    async with plain_http() as http:
        async with running(Service("guests", open_table), gateways=2) as server:
            ann = await server.connect("/open", "ann")
            assert signal.getsignal(signal.SIGTERM) is handler
            assert [(await http.get(f"{url}/readyz")).status_code for url in server.urls] == [200, 200]
        await ann.disconnected()
        assert ann._http is not None
        assert ann._http.closed
        for url in server.urls:
            with pytest.raises(httpx.ConnectError):
                await http.get(url)
    await until(lambda: asyncio.all_tasks() <= before)


async def fail_with(server: RunningServer, left: list[StockClient]) -> None:
    left.append(await server.connect("/open", "ann"))
    raise ZeroDivisionError


@pytest.mark.asyncio(loop_scope="function")
async def test_a_test_that_fails_fails_with_its_own_error_and_leaves_nothing(nats_url: str):
    before, left = asyncio.all_tasks(), list[StockClient]()
    with pytest.raises(ZeroDivisionError):
        async with running(Service("guests", open_table), settings={"nats_url": nats_url}) as server:
            await fail_with(server, left)
    await left[0].disconnected()
    await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.asyncio(loop_scope="function")
async def test_namespaces_that_are_wrong_refuse_to_start(nats_url: str):
    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError, match=r'namespaces\."/open".*surprise'):
        async with running(
            Service("guests", open_table), settings={"nats_url": nats_url}, namespaces={"/open": {"surprise": 1}}
        ):
            pass
    await until(lambda: asyncio.all_tasks() <= before)
