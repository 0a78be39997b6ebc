"""What a gateway does with an operation, where stock clients would take too long or are not needed."""

from __future__ import annotations

import time
from typing import cast

from parley.common.nats.bus import Bus
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.common.wire.operations import ClientAckReport, Selection
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.operations.operations import Operations
from parley.gateway.socketio.packets import MAX_ACK_DIGITS, AckPacket
from tests.support.bus import fresh
from tests.support.waiting import until


def connection(sid: str, namespace: str = "/chat") -> Connection:
    """An open one."""
    return Connection(sid, cast("Session", None), namespace, Identity(f"u_{sid}", sid), 0.0, state=ConnectionState.OPEN)


def test_an_emit_to_a_whole_namespace_costs_its_connections_alone():
    registry = ConnectionRegistry()
    for number in range(50_000):
        registry.add(connection(f"s{number}"))
    registry.add(only := connection("only", "/tiny"))
    operations = Operations.__new__(Operations)
    operations._connections = registry
    times: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        found = operations._select(Selection("/tiny"))
        times.append(time.perf_counter() - began)
        assert found == [only]
    assert min(times) < 0.0001
    registry.remove(only)
    assert operations._select(Selection("/tiny")) == []


async def test_an_ack_of_what_an_earlier_run_asked_answers_nothing_that_this_run_asks(bus: Bus):
    client, asked = connection("a"), set[int]()
    for _ in range(3):
        acks = ClientAcks(bus)
        ids = {acks.ask([client], fresh("inbox"), 60)[0] for _ in range(50)}
        assert not ids & asked, "a client answers late, whoever runs by then"
        assert all(len(str(ack_id)) <= MAX_ACK_DIGITS for ack_id in ids)
        asked |= ids
        await acks.close()


async def test_an_answer_too_large_for_the_broker_is_missing_and_the_others_and_their_number_arrive(bus: Bus):
    acks, inbox = ClientAcks(bus), fresh("inbox")
    heard: list[ClientAckReport] = []
    bus.listen(inbox, lambda data: heard.append(decode(data, ClientAckReport)))
    await bus.flush()
    clients = [connection(str(number)) for number in range(5)]
    ack_id, asked = acks.ask(clients, inbox, 60)
    assert asked == clients
    for number, client in enumerate(clients):
        args = b'["%b"]' % (b"x" * (bus.max_payload if number == 2 else 300_000))
        acks.answered(client, AckPacket("/chat", ack_id, args))
    await until(lambda: heard and not sum(report.outstanding for report in heard))
    assert sum(report.matched for report in heard) == 5
    assert heard[0].matched == 5, "said first"
    assert [sum(len(report.answers) for report in heard), sum(report.lost for report in heard)] == [4, 1]
    await acks.close()
