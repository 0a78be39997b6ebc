"""Signs of life: one process under a name, and knowing when the own connection is deaf."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import AsyncMock

import psutil
import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from parley.common.errors import Code, Reject
from parley.common.nats import liveness
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.processes import SignOfLife
from tests.support.bus import fresh, rejected, running_bus
from tests.support.own_server import Server
from tests.support.proxy import Proxy
from tests.support.waiting import until

ANN = Identity("u_ann", "Ann", ("admin",), 12.5)
TOKEN = Authenticate("token")


# -- its name ----------------------------------------------------------------------------------------------------------


async def test_a_second_process_under_a_name_is_refused_and_one_of_another_service_is_not(nats_url: str):
    name = fresh("name")
    async with running_bus(nats_url, "gateway", name):
        with pytest.raises(liveness.NameTaken, match=name):
            async with running_bus(nats_url, "gateway", name):
                pass
        async with running_bus(nats_url, "chat", name) as chat:
            assert chat.check() is None


async def test_after_a_process_that_ended_its_name_is_free_at_once(nats_url: str):
    name = fresh("name")
    began = time.monotonic()
    runs: set[str] = set()
    for _ in range(3):
        async with running_bus(nats_url, "gateway", name) as bus:
            runs.add(bus.run)
    assert time.monotonic() - began < liveness.NAME_TIMEOUT
    assert len(runs) == 3


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """The signals to stop that this process was sent."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


async def test_whatever_error_the_broker_names_it_is_connected_to_again(nats_url: str, stopped: list[int]):
    reconnects: list[int] = []
    async with Proxy.running(nats_url) as proxy, running_bus(proxy.url) as bus:
        bus.on_reconnect(lambda: reconnects.append(1))
        proxy.inject("down", b"-ERR 'Maximum Control Line Exceeded'\r\n")
        await until(lambda: reconnects)
        await until(lambda: bus.check() is None)
    assert not stopped


async def test_a_process_that_stood_still_stops_when_a_younger_one_has_taken_its_name(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, stopped: list[int]
):
    monkeypatch.setattr(liveness, "NAME_TIMEOUT", 0.1)
    monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 0.05)
    name = fresh("name")
    async with running_bus(nats_url, "gateway", name) as old:
        # As one that stands still, it does not answer.
        monkeypatch.setattr(old, "publish", AsyncMock())
        with capture_logs() as logged:
            async with running_bus(nats_url, "gateway", name) as young:
                assert old.run != young.run
                await until(lambda: stopped)
        assert [line["instance"] for line in logged if line["log_level"] == "critical"] == [name]


async def test_a_process_hears_of_an_older_one_under_its_name_and_goes_on(
    nats_url: str, other: Bus, monkeypatch: pytest.MonkeyPatch, stopped: list[int]
):
    name = fresh("name")
    async with running_bus(nats_url, "gateway", name) as bus:
        subject = subjects.alive("gateway", f"{name}:0123456789ab")
        await other.publish(subject, SignOfLife(1).encode())
        await other.publish(subject, SignOfLife(2**50, leaving=True).encode())
        await other.flush()
        await bus.flush()
        assert bus.check() is None
    assert not stopped


async def test_a_deaf_process_connects_anew_and_in_the_end_stops(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, stopped: list[int]
):
    monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 0.05)
    monkeypatch.setattr(liveness, "RECONNECT_AFTER", 0.2)
    reconnects: list[int] = []
    async with running_bus(nats_url) as bus:
        bus.on_reconnect(lambda: reconnects.append(1))
        heard = bus._liveness.on_namesake
        monkeypatch.setattr(bus._liveness, "on_namesake", lambda _data, _run: None)
        with capture_logs() as logged:
            await until(lambda: reconnects)
            monkeypatch.setattr(bus._liveness, "on_namesake", heard)
            await until(lambda: not bus._liveness._reconnected)
            assert not stopped
            monkeypatch.setattr(liveness, "STOP_AFTER", 0.6)
            monkeypatch.setattr(bus._liveness, "on_namesake", lambda _data, _run: None)
            await until(lambda: stopped)
        assert len(reconnects) == 2, "once each time"
        assert "deaf for too long, stopping" in [line["event"] for line in logged]


async def test_whoever_fails_after_a_reconnect_keeps_no_other_from_hearing_of_it(bus: Bus):
    heard: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    bus.on_reconnect(fail)
    bus.on_reconnect(lambda: heard.append("other"))
    with capture_logs() as logged:
        bus.reconnected()
    assert heard == ["other"]
    assert [entry["event"] for entry in logged] == ["failed after a reconnect"]


# -- being deaf --------------------------------------------------------------------------------------------------------


async def test_a_connection_that_no_longer_hears_itself_is_deaf_until_it_does_again(
    own_nats: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 0.2)
    monkeypatch.setattr(liveness, "DEAF_AFTER", 1.0)
    servers = [
        p for p in psutil.process_iter(["name", "cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())
    ]
    async with running_bus(own_nats.url) as bus:
        await until(lambda: bus.hearing)
        for server in servers:
            server.suspend()
        try:
            await until(lambda: bus.check() is not None)
            assert bus.connected, "its socket looks healthy"
            assert "deaf" in (bus.check() or "")
        finally:
            for server in servers:
                server.resume()
        await until(lambda: bus.check() is None)


async def test_while_nats_is_away_it_is_not_ready_refuses_what_cannot_be_sent_and_then_carries_on(own_nats: Server):
    heard: list[bytes] = []
    reconnects: list[int] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    async def authenticate(_request: Authenticate) -> Identity:
        return ANN

    async with running_bus(own_nats.url) as bus, running_bus(own_nats.url) as other:
        bus.on_reconnect(lambda: reconnects.append(1))
        bus.on_reconnect(lambda: reconnects.append(2))
        await bus.subscribe("news", hear)
        await other.respond("who", Authenticate, authenticate, queue="q")
        await other.flush()
        await own_nats.stop()
        await until(lambda: not bus.connected and not other.connected)

        assert bus.check() == "not connected to NATS"
        assert not bus.hearing
        began = time.monotonic()
        assert (await rejected(bus.request("who", TOKEN, Identity, timeout=30))).code is Code.UNAVAILABLE
        assert time.monotonic() - began < 5
        await bus.publish("news", b"published meanwhile")
        much = await asyncio.gather(
            *(bus.publish("elsewhere", bytes(512 * 1024)) for _ in range(20)), return_exceptions=True
        )
        assert isinstance(much[-1], Reject), "the buffer is bounded"
        assert much[-1].code is Code.UNAVAILABLE
        assert not reconnects

        await own_nats.start()
        await until(lambda: bus.check() is None and other.connected)
        await until(lambda: reconnects == [1, 2])
        await until(lambda: b"published meanwhile" in heard)
        await other.flush()
        assert await bus.request("who", TOKEN, Identity) == ANN
        await other.publish("news", b"published after")
        await until(lambda: b"published after" in heard)


async def test_a_sign_of_life_due_while_closing_does_not_stop_the_process(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(liveness, "ALIVE_INTERVAL", 0)
    stopped: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    try:
        for _ in range(5):
            async with running_bus(nats_url) as bus:
                await bus.flush()
        # A signal's handler runs at the next opportunity of the interpreter.
        await asyncio.sleep(0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not stopped
