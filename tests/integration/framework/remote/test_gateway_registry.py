"""Which gateways live, as other processes know it: from signs of life, goodbyes, silence, and younger runs."""

from __future__ import annotations

import time

import pytest

from parley.common.nats import liveness
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.operations import Kick, OperationReport, Selection, decode_operation
from parley.common.wire.processes import SignOfLife
from parley.framework.remote import gateway_registry
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.remote.gateway_requests import GatewayRequests
from tests.support.bus import fresh, running_bus
from tests.support.own_server import Server
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as fast as in life."""
    monkeypatch.setattr(gateway_registry, "SILENT_AFTER", 0.3)
    monkeypatch.setattr(gateway_registry, "WARM_AFTER", 0.2)
    monkeypatch.setattr(gateway_registry, "CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(gateway_registry, "STALL", 0.1)
    monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 0.1)


@pytest.fixture
async def registry(bus: Bus) -> GatewayRegistry:
    registry = GatewayRegistry(bus)
    await registry.start()
    await bus.flush()
    return registry


async def sign(bus: Bus, address: str, started: int = 1, *, leaving: bool = False) -> None:
    """Publish one sign of life of a gateway that is played."""
    await bus.publish(subjects.alive("gateway", address), SignOfLife(started, leaving).encode())


async def test_a_gateway_lives_while_it_says_so_and_is_forgotten_at_once_when_it_says_goodbye(
    registry: GatewayRegistry, nats_url: str
):
    name = fresh("gateway")
    async with running_bus(nats_url, "gateway", name) as gateway:
        await until(lambda: gateway.run_address in registry.alive())
        assert registry.name_of(gateway.run_address) == name
        assert registry.alive()[gateway.run_address] < 1
    await until(lambda: gateway.run_address not in registry.alive())
    assert gateway.run_address not in registry.silent()


async def test_what_is_no_gateway_is_no_gateway(registry: GatewayRegistry, bus: Bus, other: Bus):
    await other.publish(subjects.alive("chat", "c:1"), SignOfLife(1).encode())
    await sign(other, "g:1")
    await until(lambda: "g:1" in registry.alive())
    assert "c:1" not in registry.alive()
    assert bus.run_address not in registry.alive()


async def test_one_that_falls_silent_without_goodbye_is_remembered_and_comes_back(
    registry: GatewayRegistry, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    gone = f"{fresh('gateway')}:1"
    await sign(other, gone)
    await until(lambda: gone in registry.alive())
    await until(lambda: gone in registry.silent())
    assert gone not in registry.alive()
    await sign(other, gone)
    await until(lambda: gone in registry.alive())
    assert gone not in registry.silent()
    await until(lambda: gone in registry.silent())
    monkeypatch.setattr(gateway_registry, "FORGET_AFTER", 0.0)
    await until(lambda: gone not in registry.silent())


async def test_a_younger_run_takes_the_place_of_the_one_before_which_cannot_take_it_back(
    registry: GatewayRegistry, other: Bus
):
    name = fresh("gateway")
    await sign(other, f"{name}:old", 1)
    await until(lambda: f"{name}:old" in registry.silent())
    await sign(other, f"{name}:young", 2)
    await until(lambda: f"{name}:young" in registry.alive())
    assert f"{name}:old" not in registry.silent()
    # It wakes up once more, and stops.
    await sign(other, f"{name}:old", 1)
    await sign(other, f"{name}:old", 1, leaving=True)
    await sign(other, probe := f"{fresh('probe')}:1")
    await until(lambda: probe in registry.alive())
    assert f"{name}:young" in registry.alive() | registry.silent()
    assert f"{name}:old" not in registry.alive() | registry.silent()


async def test_who_stood_still_holds_nobodys_silence_against_them(registry: GatewayRegistry, nats_url: str):
    async with running_bus(nats_url, "gateway", fresh("gateway")) as gateway:
        await until(lambda: gateway.run_address in registry.alive())
        time.sleep(0.8)  # noqa: ASYNC251 - what this is about
        assert gateway.run_address in registry.alive(), "before anything else had its turn"
        assert gateway.run_address not in registry.silent()


async def test_who_was_away_from_nats_holds_nobodys_silence_against_them(own_nats: Server):
    async with running_bus(own_nats.url) as bus:
        registry = GatewayRegistry(bus)
        await registry.start()
        await bus.flush()
        address = f"{fresh('gateway')}:1"
        await sign(bus, address)
        await until(lambda: address in registry.alive())
        await own_nats.stop()
        await until(lambda: not bus.connected)
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 0.6)
        assert address in registry.alive()
        await own_nats.start()
        await until(lambda: bus.connected)
        assert address in registry.alive()
        assert not registry.warmed_up, "signs of life were missed"
        # Now it is judged again.
        await until(lambda: address in registry.silent())


async def test_a_request_to_all_says_who_lives_and_said_nothing_and_who_fell_silent(bus: Bus, other: Bus):
    requests = GatewayRequests(bus)
    await requests.start()
    answers, mute, silent = (f"{fresh(name)}:1" for name in ("answers", "mute", "silent"))
    heard: list[bytes] = []

    def hear(data: bytes) -> None:
        heard.append(data)
        other._tasks.spawn(answer(decode_operation(data).inbox), name="answer")

    other.listen(subjects.GATEWAYS, hear)
    await other.flush()
    await sign(other, silent)
    await until(lambda: silent in requests.registry.silent() and requests.registry.warmed_up)

    def kick(inbox: str) -> Kick:
        return Kick(Selection("", user_id="ann"), inbox, "banned", "spam")

    async def answer(inbox: str) -> None:
        for address in (answers, mute):
            await sign(other, address)
        await other.publish(inbox, OperationReport(answers, 3).encode())

    await sign(other, mute)
    await until(lambda: mute in requests.registry.alive())
    replies = await requests.request(kick, "", OperationReport, 0.2)
    assert replies.matched == 3
    assert mute in (*replies.unanswered, *replies.silent)
    assert silent in replies.silent
    assert answers not in (*replies.unanswered, *replies.silent)
    await until(lambda: heard)


async def test_a_gateway_that_was_alive_a_moment_ago_is_named_though_nobody_hears_a_kick(own_nats: Server):
    """It has lost NATS, and its connections live on."""
    async with running_bus(own_nats.url) as bus:
        requests = GatewayRequests(bus)
        await requests.start()
        cut_off = f"{fresh('gateway')}:1"
        await until(lambda: requests.registry.warmed_up)
        await sign(bus, cut_off)
        await until(lambda: cut_off in requests.registry.alive())
        began = time.monotonic()
        replies = await requests.request(
            lambda inbox: Kick(Selection("", user_id="ann"), inbox, "banned", "spam"), "", OperationReport, 5
        )
        assert cut_off in (*replies.unanswered, *replies.silent)
        assert time.monotonic() - began < 2


async def test_one_that_was_refused_a_name_takes_nothing_from_the_one_that_has_it(
    registry: GatewayRegistry, nats_url: str, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway_registry, "SILENT_AFTER", 30)
    name = fresh("gateway")
    async with running_bus(nats_url, "gateway", name) as gateway:
        await until(lambda: gateway.run_address in registry.alive())
        monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 30)  # its next sign of life is a while away
        with pytest.raises(liveness.NameTaken):
            async with running_bus(nats_url, "gateway", name):
                pass
        await sign(other, probe := f"{fresh('probe')}:1")
        await until(lambda: probe in registry.alive())
        assert gateway.run_address in registry.alive()
