"""What a service takes to be connected, compared with its gateways: nobody is gone unasked, and nobody stays for ever.

A gateway is played here by a connection to NATS that answers for some sids, and shows signs of life when it is told to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.subscription import Subscription

from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.connections import CompareConnections, ComparedConnections
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.processes import SignOfLife
from parley.framework.remote import gateway_registry
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.serving import held_connections
from parley.framework.serving.held_connections import GatewayTimeouts, HeldConnections
from tests.support.bus import fresh
from tests.support.waiting import until

PATIENCE = GatewayTimeouts(silent_after=0.6, given_up_after=1.2, compare_every=0.3, remember=10)


class Gateway:
    """A gateway with some connections."""

    def __init__(self, bus: Bus, name: str, namespace: str) -> None:
        self.name = name
        """Its address."""
        self.started = int(name.rpartition(":")[2])
        self.sids: set[str] = set()
        self.ended: list[str] = []
        """Whom it was told to end."""
        self.asked = 0
        self.living = True
        """Whether it shows signs of life."""
        self.answering = asyncio.Event()
        self.answering.set()
        self._bus = bus
        self._namespace = namespace
        self._subscription: Subscription | None = None

    async def listen(self) -> None:
        """Be there to be asked."""
        subject = subjects.compare(self.name)
        self._subscription = await self._bus.respond(subject, CompareConnections, self._compare, queue=self.name)
        await self._bus.flush()

    async def vanish(self) -> None:
        """Be no longer there, without goodbye."""
        self.living = False
        assert self._subscription is not None
        await self._subscription.unsubscribe()
        await self._bus.flush()

    async def live(self) -> None:
        """Show signs of life, for ever."""
        while True:
            if self.living:
                await self._bus.publish(subjects.alive("gateway", self.name), SignOfLife(self.started).encode())
            await asyncio.sleep(0.05)

    async def _compare(self, question: CompareConnections) -> ComparedConnections:
        assert question.namespace == self._namespace
        self.asked += 1
        await self.answering.wait()
        self.ended += question.ended
        return ComparedConnections([sid for sid in question.held if sid not in self.sids])


class Held:
    """The table, and whom it has seen off."""

    def __init__(self, bus: Bus, registry: GatewayRegistry, namespace: str) -> None:
        self.seen_off: list[tuple[str, DisconnectReason]] = []
        self.table = HeldConnections(bus, namespace, registry, lambda *gone: self.seen_off.append(gone), PATIENCE)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_connections, "SWEEP_INTERVAL", 0.05)
    monkeypatch.setattr(held_connections, "LATE", 0.3)
    monkeypatch.setattr(held_connections, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(gateway_registry, "SILENT_AFTER", 0.3)
    monkeypatch.setattr(gateway_registry, "WARM_AFTER", 0.2)


@pytest.fixture
async def held(bus: Bus, namespace: str) -> AsyncIterator[Held]:
    registry = GatewayRegistry(bus)
    await registry.start()
    held = Held(bus, registry, namespace)
    held.table.start()
    yield held
    await held.table.close()


@asynccontextmanager
async def living(bus: Bus, namespace: str, name: str = "") -> AsyncGenerator[Gateway]:
    gateway = Gateway(bus, name or f"{fresh('gateway')}:1", namespace)
    await gateway.listen()
    async with Tasks() as tasks:
        tasks.forever(gateway.live(), name="signs of life")
        yield gateway


@pytest.fixture
async def gateway(other: Bus, namespace: str, held: Held) -> AsyncIterator[Gateway]:
    """A gateway with one connection, which both sides know."""
    async with living(other, namespace) as gateway:
        gateway.sids.add("ann")
        held.table.add("ann", gateway.name)
        await until(lambda: gateway.asked)
        yield gateway


async def test_a_connection_whose_end_was_not_heard_of_ends_when_it_is_asked_about(held: Held, gateway: Gateway):
    held.table.add("lost", gateway.name)
    await until(lambda: held.seen_off)
    assert held.seen_off == [("lost", DisconnectReason.TRANSPORT_CLOSE)]
    assert len(held.table) == 1


async def test_a_gateway_is_asked_for_ever(held: Held, gateway: Gateway):
    await until(lambda: gateway.asked >= 4)
    assert not held.seen_off


async def test_a_silent_gateway_that_answers_keeps_its_connections(held: Held, gateway: Gateway):
    gateway.living = False
    await asyncio.sleep(PATIENCE.silent_after + 0.1)
    asked = gateway.asked
    await until(lambda: gateway.asked >= asked + 3)  # again and again, as long as it is silent
    assert not held.seen_off


async def test_a_silent_gateway_whom_nobody_can_reach_is_gone_and_not_before_that(held: Held, gateway: Gateway):
    await gateway.vanish()
    vanished = time.monotonic()
    await until(lambda: held.seen_off)
    assert held.seen_off == [("ann", DisconnectReason.GATEWAY_GONE)]
    assert time.monotonic() - vanished > PATIENCE.silent_after - 0.2
    assert len(held.table) == 0


async def test_a_gateway_that_is_there_and_stands_still_is_given_up_late(held: Held, gateway: Gateway):
    gateway.living = False
    gateway.answering.clear()
    still = time.monotonic()
    await until(lambda: held.seen_off)
    assert held.seen_off == [("ann", DisconnectReason.GATEWAY_GONE)]
    assert time.monotonic() - still > PATIENCE.given_up_after - 0.2
    gateway.answering.set()


async def test_a_gateway_that_stood_still_and_goes_on_keeps_its_connections(held: Held, gateway: Gateway):
    gateway.living = False
    gateway.answering.clear()
    await asyncio.sleep(PATIENCE.silent_after + 0.2)
    gateway.answering.set()
    gateway.living = True
    asked = gateway.asked
    await until(lambda: gateway.asked >= asked + 2)
    assert not held.seen_off


async def test_after_a_stall_of_its_own_a_service_gives_everybody_the_whole_time_again(held: Held, gateway: Gateway):
    await gateway.vanish()
    time.sleep(PATIENCE.silent_after + 0.3)  # noqa: ASYNC251 - a controller that blocks
    again = time.monotonic()
    await until(lambda: held.seen_off)
    assert time.monotonic() - again > PATIENCE.silent_after - 0.1


async def test_after_a_reconnect_of_its_own_a_service_gives_everybody_the_whole_time_again(
    held: Held, gateway: Gateway, bus: Bus
):
    await gateway.vanish()
    await asyncio.sleep(PATIENCE.silent_after / 2)
    bus.reconnected()
    again = time.monotonic()
    await until(lambda: held.seen_off)
    assert time.monotonic() - again > PATIENCE.silent_after - 0.1


async def test_a_gateway_that_was_taken_for_gone_is_told_whom_to_end_when_it_is_back(held: Held, gateway: Gateway):
    await gateway.vanish()
    await until(lambda: held.seen_off)
    gateway.living = True
    await gateway.listen()
    await until(lambda: gateway.ended)
    assert gateway.ended == ["ann"]
    asked = gateway.asked
    held.table.add("ben", gateway.name)
    gateway.sids.add("ben")
    await until(lambda: gateway.asked >= asked + 2)
    assert gateway.ended == ["ann"]


async def test_the_connections_of_an_earlier_run_are_gone_as_soon_as_a_later_one_is_heard(
    held: Held, gateway: Gateway, other: Bus, namespace: str
):
    name = fresh("gateway")
    async with living(other, namespace, f"{name}:1") as earlier:
        earlier.sids.add("cleo")
        held.table.add("cleo", earlier.name)
        await until(lambda: earlier.asked)
        held.table._timeouts = PATIENCE._replace(silent_after=60)
        await earlier.vanish()
        async with living(other, namespace, f"{name}:2"):
            await until(lambda: held.seen_off)
    assert held.seen_off == [("cleo", DisconnectReason.GATEWAY_GONE)]


async def test_many_connections_are_compared_in_several_questions(
    held: Held, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(held_connections, "SIDS", 10)
    for number in range(55):
        held.table.add(f"sid{number}", gateway.name)
    gateway.sids |= {f"sid{number}" for number in range(50)}
    await until(lambda: len(held.seen_off) >= 5)
    assert {sid for sid, _ in held.seen_off} == {f"sid{number}" for number in range(50, 55)}
