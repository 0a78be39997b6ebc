"""Middleware around events in the gateway: its time, its bounds, and the data it shares with the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.commands import Ack, AckBatch, DataChanges, ok_payload
from parley.engineio.reading import InputBudget
from parley.framework import Code, Context, Next, Reject
from parley.framework.remote.emitter import Emitter
from parley.gateway.commands import event_middleware
from parley.gateway.commands.command_budget import COMMAND_OVERHEAD, CommandBudget
from parley.gateway.commands.event_middleware import EventMiddleware
from parley.gateway.commands.forwarder import CommandForwarder
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.packets import EventPacket
from tests.support.gateway.backend import Backend, commands_of
from tests.support.gateway.emitting_clients import Clients, ForwardedReplies
from tests.support.waiting import until

SEEN: list[Any] = []
"""What the middleware of this module saw."""


async def counting(context: Context, call_next: Next) -> None:
    """Count the events of a connection, before they go on and after they came back."""
    context.data["n"] = context.data.get("n", 0) + 1
    SEEN.append(context.data["n"])
    await call_next()
    context.data["back"] = context.data.get("back", 0) + 1


async def looking(context: Context, call_next: Next) -> None:
    """Look at the arguments."""
    SEEN.append(context.args)
    await call_next()


async def waiting(_context: Context, call_next: Next) -> None:
    """Let nothing through for now."""
    SEEN.append("waits")
    await asyncio.Event().wait()
    await call_next()


@asynccontextmanager
async def around(
    bus: Bus, namespace: str, name: str, *, input_budget: InputBudget | None = None, **options: Any
) -> AsyncGenerator[Clients]:
    """Clients whose events pass a middleware of this module."""
    SEEN.clear()
    table = {namespace: Namespace("service", packet_middleware=(f"{__name__}:{name}",), **options.pop("of", {}))}
    replies, settings = ForwardedReplies(), GatewaySettings(**options)
    budget = CommandBudget(input_budget or InputBudget(2**30, 2**30))
    forwarder = CommandForwarder(bus, table, ConnectionRegistry(), replies.reply, budget, settings)
    passing = EventMiddleware(bus, Emitter(bus, "/"), table, forwarder, replies.reply, budget, settings)
    replies.clients = Clients(passing, namespace)  # type: ignore[arg-type] - what is emitted is submitted there
    await forwarder.start()
    await bus.flush()
    yield replies.clients
    await passing.close()
    await forwarder.close()


async def answer(backend: Backend, number: int, **values: Any) -> None:
    """Accept a batch, as controllers that set these keys of the data."""
    batch = await backend.batch(number)
    changes = DataChanges({key: msgspec.msgpack.encode(value) for key, value in values.items()})
    acks = [Ack(command.tag, ok_payload(None), True, (), changes.encode()) for command in commands_of(batch)]
    await backend.bus.publish(subjects.acks(batch.gateway, batch.namespace), AckBatch(acks).encode())


def kept(connection: Connection) -> dict[str, Any]:
    return msgspec.msgpack.decode(connection.data)


async def test_middleware_and_controllers_change_the_same_data_and_lose_nothing_of_each_other(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with around(gateway_bus, namespace, "counting") as clients:
        connection = clients.connect()
        clients.emit(connection)
        await backend.batch(0)
        for _ in range(4):
            clients.emit(connection)
        await until(lambda: len(SEEN) == 5)
        # The first is in flight all the while, with what its controller saw at the time.
        await answer(backend, 0, controller="one")
        await answer(backend, 1, controller="five", last=True)
        assert await clients.told(5) == ["ok"] * 5
    assert SEEN == [1, 2, 3, 4, 5]
    assert kept(connection) == {"n": 5, "back": 5, "controller": "five", "last": True}


async def test_an_event_may_take_as_long_as_its_namespace_says_and_the_middleware_besides(
    gateway_bus: Bus, backend: Backend, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_middleware, "SECONDS", 0.1)
    await backend.serve(namespace)
    async with around(gateway_bus, namespace, "counting", of={"timeout": 30}) as clients:
        clients.emit(clients.connect())
        await backend.batch(0)
        await asyncio.sleep(0.2)
        await answer(backend, 0)
        assert await clients.told(1) == ["ok"]
    async with around(gateway_bus, namespace, "waiting", of={"timeout": 0.05}) as clients:
        clients.emit(clients.connect())
        assert await clients.told(1) == ["timeout"]


async def test_what_is_too_large_is_refused_before_anything_looks_at_it(gateway_bus: Bus, namespace: str):
    async with around(gateway_bus, namespace, "looking", of={"max_payload": 1024}) as clients:
        connection = clients.connect()
        clients.emit(connection, args=b"[" + b"1" * 1024 + b"]")
        clients.emit(connection, "x" * 257)
        assert await clients.told(2) == ["payload_too_large", "unknown_event"]
    assert SEEN == []


async def test_what_is_nested_too_deeply_for_anybody_is_an_invalid_payload(gateway_bus: Bus, namespace: str):
    async with around(gateway_bus, namespace, "looking") as clients:
        clients.emit(clients.connect(), args=b"[" * 50_000 + b"]" * 50_000)
        assert await clients.told(1) == ["invalid_payload"]


@pytest.mark.parametrize(
    "limits", [{"gateway_max_waiting": 4}, {"gateway_max_waiting_bytes": 4100}], ids=["count", "bytes"]
)
async def test_what_waits_for_the_middleware_is_bounded(gateway_bus: Bus, namespace: str, limits: dict[str, Any]):
    async with around(gateway_bus, namespace, "waiting", **limits) as clients:
        connection, other = clients.connect(), clients.connect()
        for _ in range(7):
            clients.emit(connection, args=b"[" + b"1" * 998 + b"]")
        assert await clients.told(3) == ["overloaded"] * 3
        clients.emit(other)
        await until(lambda: SEEN == ["waits"] * 2)
        assert len(clients.replies) == 3, "another connection has room of its own"


async def test_there_is_room_again_for_what_is_through(gateway_bus: Bus, backend: Backend, namespace: str):
    backend.answering = True
    await backend.serve(namespace)
    async with around(gateway_bus, namespace, "looking", gateway_max_waiting_bytes=4100) as clients:
        connection = clients.connect()
        for turn in range(1, 4):
            for _ in range(4):
                clients.commands.submit(connection, EventPacket(namespace, None, "say", b"[" + b"1" * 998 + b"]"))
            await until(lambda turn=turn: len(clients.replies) == 4 * turn)
    assert all(reply.ok for reply in clients.replies)


async def test_what_waits_for_the_middleware_is_bounded_over_all_connections(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    backend.answering = True
    await backend.serve(namespace)
    large = b'["' + b"x" * 99_996 + b'"]'
    budget = InputBudget(16 * 3 * len(large) + 16 * 3 * 2 * COMMAND_OVERHEAD, 0)
    options = {"of": {"max_payload": 2**20}}
    async with around(gateway_bus, namespace, "waiting", input_budget=budget, **options) as clients:
        for _ in range(5):
            clients.emit(clients.connect(), args=large)
        assert await clients.told(2) == ["overloaded"] * 2
    budget = InputBudget(2**30, 0)
    async with around(gateway_bus, namespace, "looking", input_budget=budget, **options) as clients:
        for _ in range(5):
            clients.emit(clients.connect(), args=large)
        assert await clients.told(5) == ["ok"] * 5
        await until(lambda: budget.held == 0)


async def greedy(context: Context, _call_next: Next) -> None:
    """Leave in the data what cannot be kept, and refuse."""
    context.data["kept"] = "x" * 5000 if SEEN else 2**70
    SEEN.append("refused")
    raise Reject(Code.FORBIDDEN)


async def test_what_cannot_be_kept_in_the_data_costs_nobody_an_outcome(gateway_bus: Bus, namespace: str):
    async with around(gateway_bus, namespace, "greedy") as clients:
        connection = clients.connect()
        clients.emit(connection)
        clients.emit(connection)
        assert await clients.told(2) == ["forbidden"] * 2
        assert not connection.data
