"""Commands between gateway and service: gathered per tick, one batch in flight, and exactly one outcome for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.commands import Ack, AckBatch, DataChanges, ok_payload
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identity import Identity
from parley.engineio.reading import InputBudget
from parley.gateway.commands.command_budget import COMMAND_OVERHEAD, CommandBudget
from parley.gateway.commands.forwarder import FULL, CommandForwarder
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.namespaces import MAX_PAYLOAD as LARGEST_PAYLOAD
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.packets import EventPacket
from tests.support.bus import fresh, running_bus
from tests.support.gateway.backend import Backend, commands_of, events_of
from tests.support.gateway.emitting_clients import Clients, ForwardedReplies
from tests.support.own_server import Server
from tests.support.ports import free_port
from tests.support.waiting import until

MAX_PAYLOAD = 4096


@asynccontextmanager
async def gateway(
    bus: Bus, *namespaces: str, max_payload: int = MAX_PAYLOAD, budget: InputBudget | None = None, **settings: Any
) -> AsyncGenerator[Clients]:
    """The commands part of a gateway, with clients."""
    replies = ForwardedReplies()
    table = {name: Namespace("service", max_payload=max_payload) for name in namespaces}
    memory = CommandBudget(budget or InputBudget(2**30, 2**30))
    commands = CommandForwarder(bus, table, ConnectionRegistry(), replies.reply, memory, GatewaySettings(**settings))
    replies.clients = Clients(commands, namespaces[0])
    await commands.start()
    await bus.flush()
    yield replies.clients
    await commands.close()


# -- gathering ---------------------------------------------------------------------------------------------------------


async def test_all_that_one_tick_brings_goes_in_one_message(gateway_bus: Bus, answering: Backend, namespace: str):
    async with gateway(gateway_bus, namespace) as clients:
        connections = [clients.connect() for _ in range(FULL - 1)]
        for connection in connections:
            clients.emit(connection, "one")
            clients.emit(connection, "two")
        number = 2 * len(connections)
        assert await clients.told(number) == ["ok"] * number
    (batch,) = answering.batches
    assert (batch.gateway, batch.namespace) == (gateway_bus.run_address, namespace)
    assert [(talk.sid, talk.identity) for talk in batch.connections] == [(c.sid, c.identity) for c in connections]
    assert all([command.event for command in talk.commands] == ["one", "two"] for talk in batch.connections)
    commands = commands_of(batch)
    assert len({command.tag for command in commands}) == len({command.correlation for command in commands}) == number


async def test_each_namespace_gets_a_message_of_its_own(gateway_bus: Bus, backend: Backend, namespace: str):
    backend.answering = True
    other = fresh("/other")
    await backend.serve(namespace, other)
    async with gateway(gateway_bus, namespace, other) as clients:
        for name in (namespace, other, namespace):
            clients.emit(clients.connect(name))
        await clients.told(3)
    assert sorted((b.namespace, len(b.connections)) for b in backend.batches) == sorted([(namespace, 2), (other, 1)])


async def test_the_arguments_and_the_ack_pass_as_the_bytes_they_are(gateway_bus: Bus, backend: Backend, namespace: str):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        ack_id = clients.emit(connection := clients.connect(), "say", b'[{"n": 1.0, "e":"\\u00e9"}]')
        (command,) = commands_of(await backend.batch(0))
        assert command.args == b'[{"n": 1.0, "e":"\\u00e9"}]'
        acks = AckBatch([Ack(command.tag, b'{"ok":false,"error":{"code":"their_own"}}', False)])
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), acks.encode())
        assert await clients.told(1) == ["their_own"]
        assert clients.replies[0][:2] == (connection, ack_id)


async def test_an_emit_without_an_ack_has_an_outcome_too(gateway_bus: Bus, answering: Backend, namespace: str):
    async with gateway(gateway_bus, namespace) as clients:
        clients.commands.submit(clients.connect(), EventPacket(namespace, None, "say", b"[]"))
        assert await clients.told(1) == ["ok"]
        assert clients.replies[0].ack_id is None


# -- order -------------------------------------------------------------------------------------------------------------


async def test_a_connection_has_one_batch_in_flight_and_what_it_sends_meanwhile_goes_together_in_order(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        ann, ben = clients.connect(), clients.connect()
        clients.emit(ann, "1")
        first = await backend.batch(0)
        for name in "23456":
            clients.emit(ann, name)
            await asyncio.sleep(0)
        clients.emit(ben, "other")
        assert events_of(await backend.batch(1)) == ["other"], "another connection does not wait"
        await backend.answer(first)
        second = await backend.batch(2)
        assert [events_of(first), events_of(second)] == [["1"], ["2", "3", "4", "5", "6"]]
        await backend.answer(second)
        await backend.answer(backend.batches[1])
        assert await clients.told(7) == ["ok"] * 7


async def test_the_next_batch_waits_until_the_whole_batch_before_it_was_answered(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        ann = clients.connect()
        clients.emit(ann, "1")
        clients.emit(ann, "2")
        one, two = commands_of(await backend.batch(0))
        clients.emit(ann, "3")
        acks = subjects.acks(gateway_bus.run_address, namespace)
        await backend.bus.publish(acks, AckBatch([Ack(two.tag, ok_payload(None), True)]).encode())
        await clients.told(1)
        clients.emit(clients.connect(), "probe")
        assert events_of(await backend.batch(1)) == ["probe"]
        await backend.bus.publish(acks, AckBatch([Ack(one.tag, ok_payload(None), True)]).encode())
        assert events_of(await backend.batch(2)) == ["3"]


async def test_while_the_broker_takes_nothing_commands_wait_and_then_go_in_order(
    gateway_bus: Bus, backend: Backend, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    await backend.serve(namespace)
    gate = asyncio.Event()
    waits = 0

    async def drained() -> None:
        nonlocal waits
        waits += 1
        await gate.wait()

    congested = property(lambda bus: bus is gateway_bus and not gate.is_set())
    monkeypatch.setattr(Bus, "congested", congested)
    monkeypatch.setattr(gateway_bus, "drained", drained)
    async with gateway(gateway_bus, namespace, max_payload=LARGEST_PAYLOAD) as clients:
        big, small, kicked = (clients.connect() for _ in range(3))
        # Two messages at least: the small one is not in the first.
        clients.emit(big, args=b"[" + b"1" * (LARGEST_PAYLOAD - 2) + b"]")
        clients.emit(small, "first")
        clients.emit(kicked, "never")
        await until(lambda: waits)
        clients.emit(small, "second")
        kicked.end_reason = DisconnectReason.KICKED
        kicked.queued.clear()
        assert (small.in_flight, waits) == (0, 1)
        gate.set()
        sent = [await backend.batch(0), await backend.batch(1)]
        assert [[command.event for command in commands_of(batch)] for batch in sent] == [["say"], ["first", "second"]]
        for batch in sent:
            await backend.answer(batch)
        await until(lambda: clients.commands.idle)
        assert len(backend.batches) == 2


async def test_a_full_message_goes_while_others_still_emit(gateway_bus: Bus, backend: Backend, namespace: str):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        for _ in range(2 * FULL + 1):
            clients.emit(clients.connect())
        sizes = [len(commands_of(await backend.batch(number))) for number in range(3)]
        assert sizes == [FULL, FULL, 1]
        for batch in backend.batches:
            await backend.answer(batch)
        assert await clients.told(2 * FULL + 1) == ["ok"] * (2 * FULL + 1)


# -- every command has exactly one outcome -----------------------------------------------------------------------------


async def test_without_a_service_the_outcome_is_unavailable_at_once(gateway_bus: Bus, namespace: str):
    async with gateway(gateway_bus, namespace, gateway_command_timeout=60) as clients:
        began = time.monotonic()
        connection = clients.connect()
        for _ in range(3):
            clients.emit(connection)
        assert await clients.told(3) == ["unavailable"] * 3
        clients.emit(connection)
        assert await clients.told(4) == ["unavailable"] * 4, "and the connection goes on"
        assert time.monotonic() - began < 5


async def test_without_an_ack_in_time_the_outcome_is_timeout_and_the_connection_goes_on(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace, gateway_command_timeout=0.3) as clients:
        began = time.monotonic()
        connection = clients.connect()
        clients.emit(connection, "1")
        await backend.batch(0)
        clients.emit(connection, "2")
        assert (await clients.told(1))[0] == "timeout"
        assert 0.3 <= time.monotonic() - began < 5
        backend.answering = True
        await backend.answer(await backend.batch(1))
        assert await clients.told(2) == ["timeout", "ok"]
        clients.emit(connection, "3")
        assert await clients.told(3) == ["timeout", "ok", "ok"]


async def test_late_double_and_unknown_acks_are_ignored(gateway_bus: Bus, backend: Backend, namespace: str):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace, gateway_command_timeout=0.3) as clients:
        connection = clients.connect()
        clients.emit(connection, "late")
        late = await backend.batch(0)
        assert await clients.told(1) == ["timeout"]
        await backend.answer(late)
        unknown = AckBatch([Ack(999_999, ok_payload(None), True)])
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), unknown.encode())
        clients.emit(connection, "double")
        double = await backend.batch(1)
        clients.emit(connection, "waiting")
        for _ in range(3):
            await backend.answer(double)
        await backend.answer(await backend.batch(2))
        assert await clients.told(3) == ["timeout", "ok", "ok"]
        assert connection.in_flight == 0
        assert len(backend.batches) == 3


async def test_an_ack_for_an_earlier_run_of_a_gateway_reaches_nobody_of_a_later_one(
    nats_url: str, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    name = fresh("gateway")
    tags: list[set[int]] = []
    for _ in range(2):
        async with running_bus(nats_url, "gateway", name) as bus, gateway(bus, namespace) as clients:
            for _ in range(20):
                clients.emit(clients.connect(), "secret")
            batch = await backend.batch(len(tags))
            tags.append({command.tag for command in commands_of(batch)})
            if len(tags) == 1:
                continue  # it ends with its commands in hand
            await backend.answer(backend.batches[0])
            await backend.bus.flush()
            await bus.flush()
            assert clients.replies == []
            await backend.answer(batch)
            assert await clients.told(20) == ["ok"] * 20
    assert not tags[0] & tags[1]


async def test_what_a_controller_keeps_after_its_time_is_kept_all_the_same(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace, gateway_command_timeout=0.05) as clients:
        connection = clients.connect()
        connection.data = msgspec.msgpack.encode({"mine": 1, "old": 2})
        clients.emit(connection)
        (command,) = commands_of(await backend.batch(0))
        assert await clients.told(1) == ["timeout"]
        connection.data = msgspec.msgpack.encode({"mine": 2, "old": 2})
        changes = DataChanges({"theirs": msgspec.msgpack.encode(3)}, ["old"]).encode()
        late = AckBatch([Ack(command.tag, ok_payload(None), True, (), changes)])
        for _ in range(2):
            await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), late.encode())
        await until(lambda: msgspec.msgpack.decode(connection.data) == {"mine": 2, "theirs": 3})
        assert len(clients.replies) == 1


async def test_a_message_that_cannot_be_sent_fails_alone(
    gateway_bus: Bus, backend: Backend, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    backend.answering = True
    broken = fresh("/broken")
    await backend.serve(namespace, broken)
    send = gateway_bus.send

    def send_but_one(subject: str, payload: bytes, reply: str = "") -> None:
        if subject == subjects.commands(broken):
            raise RuntimeError("no")
        send(subject, payload, reply)

    monkeypatch.setattr(gateway_bus, "send", send_but_one)
    async with gateway(gateway_bus, namespace, broken) as clients:
        for name in (broken, namespace):
            clients.emit(clients.connect(name))
        assert await clients.told(2) == ["internal", "ok"]


async def test_an_ack_that_cannot_be_passed_on_costs_no_other_and_its_connection_goes_on(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        one, another = clients.connect(), clients.connect()
        clients.emit(one, "1")
        clients.emit(another, "2")
        batch = await backend.batch(0)
        clients.emit(one, "3")
        first, second = commands_of(batch)
        acks = [Ack(first.tag, b"no JSON", False), Ack(second.tag, ok_payload(None), True)]
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), AckBatch(acks).encode())
        await backend.answer(await backend.batch(1))
        await until(lambda: len(clients.replies) == 2)
        assert {reply.ack_id for reply in clients.replies} == {2, 3}


async def test_data_that_cannot_be_read_costs_neither_its_ack_nor_others(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    nested = b"\x93\x80\x90" + b"\x91" * 100_000 + b"\xc0"
    async with gateway(gateway_bus, namespace) as clients:
        connection = clients.connect()
        for session in ("strange", "none"):
            clients.emit(connection, session)
        first, second = commands_of(await backend.batch(0))
        acks = [Ack(first.tag, ok_payload(None), True, (), nested), Ack(second.tag, ok_payload(None), True)]
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), AckBatch(acks).encode())
        assert await clients.told(2) == ["ok", "ok"]
        assert not connection.data


async def test_a_connection_that_ended_is_told_nothing_and_others_are(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        gone, here = clients.connect(), clients.connect()
        clients.emit(gone)
        ack_id = clients.emit(here)
        batch = await backend.batch(0)
        gone.end_reason = DisconnectReason.TRANSPORT_CLOSE
        await backend.answer(batch)
        await clients.told(1)
        clients.emit(gone, args=b"[" + b"1" * MAX_PAYLOAD + b"]")
        assert [(reply.connection, reply.ack_id) for reply in clients.replies] == [(here, ack_id)]


async def test_what_a_kicked_connection_had_waiting_is_not_sent(gateway_bus: Bus, backend: Backend, namespace: str):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace) as clients:
        kicked, here = clients.connect(), clients.connect()
        clients.emit(kicked, "never")
        # A kick that arrives in the same tick.
        kicked.end_reason = DisconnectReason.KICKED
        kicked.queued.clear()
        clients.emit(here, "say")
        batch = await backend.batch(0)
        assert [(talk.sid, len(talk.commands)) for talk in batch.connections] == [(here.sid, 1)]


async def test_while_nats_is_away_the_outcome_is_unavailable_at_once(tmp_path: Path, namespace: str):
    port = free_port()
    nats = Server(lambda: embedded.nats(tmp_path / "nats", port))
    await nats.start()
    try:
        async with (
            running_bus(nats.url, "gateway") as bus,
            running_bus(nats.url, "service") as other,
            gateway(bus, namespace, gateway_command_timeout=0.5) as clients,
        ):
            backend = Backend(other)
            await backend.serve(namespace)
            connection = clients.connect()
            clients.emit(connection, "in flight")
            await backend.batch(0)
            clients.emit(connection, "waiting")
            await nats.stop()
            await until(lambda: not bus.connected)
            clients.emit(connection, "refused")
            await until(lambda: clients.replies)
            assert clients.replies[0].body["error"]["code"] == "unavailable"
            assert (await clients.told(2))[0] == "timeout"
            await nats.start()
            await until(lambda: bus.connected and other.connected)
            await clients.told(3)
            backend.answering = True
            clients.emit(connection, "again")
            assert (await clients.told(4))[3] == "ok"
    finally:
        await nats.stop()


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_a_payload_over_the_namespaces_limit_is_too_large_and_one_at_the_limit_is_not(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    async with gateway(gateway_bus, namespace) as clients:
        connection = clients.connect()
        clients.emit(connection, args=b"[" + b"1" * (MAX_PAYLOAD - 2) + b"]")
        clients.emit(connection, args=b"[" + b"1" * (MAX_PAYLOAD - 1) + b"]")
        assert await clients.told(2) == ["ok", "payload_too_large"]


async def test_what_waits_is_bounded_over_all_connections_until_it_is_settled(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    await backend.serve(namespace)
    large, fit = b"[" + b"1" * 99_998 + b"]", 5
    # A connection that holds much may use half of its address's share, which is an eighth of the whole.
    budget = InputBudget(16 * fit * (len(large) + 2 * COMMAND_OVERHEAD), 0)
    async with gateway(gateway_bus, namespace, max_payload=2**20, budget=budget) as clients:
        connections = [clients.connect() for _ in range(fit + 3)]
        for connection in connections:
            clients.emit(connection, args=large)
        assert await clients.told(3) == ["overloaded"] * 3
        clients.emit(clients.connect(), "small")
        # Who has gone has not taken along what the service has still to do.
        connections[0].end_reason = DisconnectReason.CLIENT_LEFT
        await backend.answer(await backend.batch(0))
        await until(lambda: not any(connection.in_flight for connection in connections))
        backend.answering = True
        await until(lambda: budget.held == 0)
        assert [connection.unsettled for connection in connections] == [0] * len(connections)


async def test_dropped_commands_hold_no_memory(gateway_bus: Bus, backend: Backend, namespace: str):
    await backend.serve(namespace)
    budget = InputBudget(2**30, 0)
    async with gateway(gateway_bus, namespace, max_payload=2**20, budget=budget) as clients:
        connection = clients.connect()
        clients.emit(connection, "first")
        first = await backend.batch(0)
        for _ in range(3):
            clients.emit(connection, args=b"[" + b"1" * 99_998 + b"]")
        assert budget.held > 300_000
        clients.commands.drop_queued(connection)
        assert (budget.held, len(connection.queued), connection.queued_bytes) == (0, 0, 0)
        await backend.answer(first)
        await clients.told(1)
        assert connection.unsettled == 0


@pytest.mark.parametrize(
    ("limits", "args", "fit"),
    [
        pytest.param({"gateway_max_waiting": 5}, b"[]", 5, id="count"),
        pytest.param({"gateway_max_waiting_bytes": 4096}, b"[" + b"1" * 1098 + b"]", 3, id="bytes"),
    ],
)
async def test_more_than_may_wait_is_overloaded_until_there_is_room(
    gateway_bus: Bus, backend: Backend, namespace: str, limits: dict[str, Any], args: bytes, fit: int
):
    await backend.serve(namespace)
    async with gateway(gateway_bus, namespace, **limits) as clients:
        connection, other = clients.connect(), clients.connect()
        clients.emit(connection, "first")
        first = await backend.batch(0)
        for _ in range(fit + 3):
            clients.emit(connection, args=args)
        assert await clients.told(3) == ["overloaded"] * 3
        clients.emit(other)
        await backend.answer(await backend.batch(1))
        assert (await clients.told(4))[-1] == "ok", "another connection has room of its own"
        backend.answering = True
        await backend.answer(first)
        await clients.told(fit + 5)
        assert (len(connection.queued), connection.queued_bytes) == (0, 0)
        for _ in range(fit):
            clients.emit(connection, args=args)
        assert (await clients.told(2 * fit + 5))[-fit:] == ["ok"] * fit


async def test_batches_are_cut_below_the_brokers_limit_and_nothing_is_lost(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    async with gateway(gateway_bus, namespace) as clients:
        args = b"[" + b"1" * (MAX_PAYLOAD - 2) + b"]"
        connections = [clients.connect() for _ in range(10)]
        for connection in connections:
            for number in range(100):
                clients.emit(connection, str(number), args)
        assert await clients.told(1000) == ["ok"] * 1000
    talks: dict[str, list[str]] = {}
    for talk in (talk for batch in answering.batches for talk in batch.connections):
        talks.setdefault(talk.sid, []).extend(command.event for command in talk.commands)
    assert talks == {connection.sid: [str(number) for number in range(100)] for connection in connections}


async def test_many_small_commands_in_one_tick_still_fit_the_broker(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    async with gateway(gateway_bus, namespace) as clients:
        for _ in range(20):
            connection = clients.connect()
            for _ in range(1000):
                clients.emit(connection)
        assert await clients.told(20_000) == ["ok"] * 20_000


async def test_many_users_with_the_longest_names_and_roles_in_one_tick_still_fit_the_broker(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    identity = Identity("u" * 128, "n" * 128, tuple(f"{number:064}" for number in range(32)))
    async with gateway(gateway_bus, namespace) as clients:
        for _ in range(800):
            connection = clients.connect()
            connection.identity = identity
            clients.emit(connection)
        assert await clients.told(800) == ["ok"] * 800


async def test_huge_event_names_do_not_cost_other_connections_their_commands(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    async with gateway(gateway_bus, namespace, gateway_command_timeout=1) as clients:
        hostile, ann = clients.connect(), clients.connect()
        mine = {clients.emit(ann, args=b"[" + b"1" * (MAX_PAYLOAD - 2) + b"]") for _ in range(60)}
        clients.emit(hostile, "x" * 900_000)
        clients.emit(hostile, "x" * 900_000)
        await clients.told(62)
        assert {reply.ack_id for reply in clients.replies if reply.ok} >= mine


async def test_the_largest_allowed_payloads_fit_the_broker_together(
    gateway_bus: Bus, answering: Backend, namespace: str
):
    async with gateway(gateway_bus, namespace, max_payload=LARGEST_PAYLOAD) as clients:
        connection = clients.connect()
        for _ in range(4):
            clients.emit(connection, args=b"[" + b"1" * (LARGEST_PAYLOAD - 2) + b"]")
        assert await clients.told(4) == ["ok"] * 4


async def test_the_service_behind_one_namespace_settles_no_command_of_another(
    gateway_bus: Bus, backend: Backend, namespace: str
):
    other = fresh("/other")
    await backend.serve(namespace, other)
    async with gateway(gateway_bus, namespace, other) as clients:
        clients.emit(clients.connect(), "say")
        (command,) = commands_of(await backend.batch(0))
        ack = AckBatch([Ack(command.tag, ok_payload(None), True)]).encode()
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, other), ack)
        clients.emit(clients.connect(other), "probe")
        await backend.answer(await backend.batch(1))
        assert await clients.told(1) == ["ok"]
        assert clients.replies[0][0].namespace == other
        await backend.bus.publish(subjects.acks(gateway_bus.run_address, namespace), ack)
        assert await clients.told(2) == ["ok", "ok"]
