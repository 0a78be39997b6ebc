"""A namespace with fake connections: real middleware, controllers and emitters, at once and without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from parley.common.wire.disconnects import DisconnectReason
from parley.framework import Code, Context, LogEvent, Router, Service
from parley.testing import FakeConnection, FakeNamespace, consume, log_event
from tests.support.bus import rejected
from tests.support.testing.connection_behaviour import Connect, ConnectionBehaviour
from tests.support.testing.lab import NAMESPACE, notes, service
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _blank_notes() -> None:
    notes.lines.clear()


@pytest.fixture
async def fake() -> AsyncGenerator[FakeNamespace]:
    async with FakeNamespace(service, state=notes) as made:
        yield made


class TestFakeConnections(ConnectionBehaviour):
    @pytest.fixture
    def connect(self, fake: FakeNamespace) -> Connect:
        return fake.connect


async def test_fake_connections_end_for_the_reasons_of_real_ones():
    reasons: list[str] = []

    async def gone(_context: Context[None], reason: str) -> None:
        reasons.append(reason)

    table: Router[None] = Router(NAMESPACE)
    table.route("disconnect", gone)
    async with FakeNamespace(table) as made:
        for user in ("ann", "ben", "eve"):
            await made.connect(user)
        await made.connections[0].disconnect()
        await made.emitter.to_user("ben").disconnect()
    assert reasons == [DisconnectReason.CLIENT_LEFT, DisconnectReason.SERVER_DISCONNECT, DisconnectReason.SHUTDOWN]


async def test_a_controller_that_fails_prints_a_short_traceback_without_local_variables(
    capsys: pytest.CaptureFixture[str],
):
    async def fail(_context: Context[None], secret: str) -> None:
        raise LookupError(len(secret))

    table: Router[None] = Router(NAMESPACE)
    table.route("fail", fail)
    ann = await FakeNamespace(table).connect("ann")
    assert (await ann.emit("fail", "mellon"))["error"]["code"] == "internal"
    printed = capsys.readouterr().out
    assert "LookupError: 6" in printed
    assert "mellon" not in printed
    assert len(printed.splitlines()) < 30


# -- what only fakes have ----------------------------------------------------------------------------------------------


async def test_who_is_refused_by_connection_middleware_gets_the_rejection(fake: FakeNamespace):
    refused = await rejected(fake.connect("eve", query={"as": "stranger"}))
    assert refused.as_dict() == {
        "code": "forbidden", "message": "not you", "retryable": False, "data": {"ask": "ann"},
    }  # fmt: skip
    assert (await rejected(fake.connect("eve", query={"as": "ghost"}))).code is Code.FORBIDDEN
    assert (await rejected(fake.connect("eve", query={"as": "broken"}))).code is Code.INTERNAL
    assert fake.connections == []
    assert not [line for line in notes.lines if line[0] == "connect"]


async def test_everything_has_happened_when_a_call_returns(fake: FakeNamespace):
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    await ann.emit("enter", "red")
    assert (ann.rooms, ben.rooms) == ({"admitted", "lobby", "red"}, {"admitted", "lobby"})
    assert (ann.data, ann.identity.name, ann.connected) == ({"since": 1}, "ann", True)
    await ann.emit("dismiss", ben.sid)
    assert not ben.connected
    assert ("disconnect", "ben", {"since": 1}) in notes.lines
    assert ("outer out", "ben", "server disconnect") in notes.lines
    with pytest.raises(ConnectionError, match="ben is not connected"):
        await ben.emit("roll", 6)
    assert ann.received[-1] == ("left", ["ben"])


async def test_the_emitter_reaches_fake_connections_from_outside(fake: FakeNamespace):
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    await fake.emitter.start()
    assert await fake.emitter.to(ann.sid).join("red", ann.sid) == 1
    await fake.emitter.to("red").emit("news", 1, b"\2")
    assert await ann.event("news") == [1, b"\2"]
    ann.answers("vote", "yes")
    result = await fake.emitter.emit_with_acks("vote", timeout=1)
    assert (result.answers, result.missing, result.unanswered) == (["yes"], 1, ())
    assert [found.user_id for found in await fake.emitter.except_("red").fetch_connections()] == ["ben"]
    assert await fake.emitter.of("/elsewhere").fetch_connections() == []
    assert await fake.emitter.local("another gateway").disconnect() == 0
    assert await fake.emitter.leave("red", "user:ben") == 2
    assert ann.rooms == {"admitted", "lobby"}
    assert [found.user_id for found in await fake.emitter.to_user("ben").fetch_connections()] == ["ben"]
    assert await fake.emitter.to_user("ben").disconnect() == 1
    assert ("disconnect", "ben", {"since": 1}) in notes.lines
    assert (await rejected(fake.emitter.socket(ben.sid).fetch())).code is Code.NOT_FOUND
    with pytest.raises(ValueError, match="own room"):
        await fake.emitter.join("user:eve")


async def test_arguments_travel_as_they_would_in_reality(fake: FakeNamespace):
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    with pytest.raises(TypeError):
        await fake.emitter.emit("news", object())
    data: dict[str, tuple[int, ...]] = {"numbers": (1, 2)}
    await fake.emitter.emit("news", data)
    data["numbers"] = (3,)
    mine, theirs = await ann.event("news"), await ben.event("news")
    assert mine == theirs == [{"numbers": [1, 2]}]
    assert mine[0] is not theirs[0]
    with pytest.raises(TypeError):
        await ann.emit("roll", object())


async def test_a_congested_connection_misses_what_is_volatile(fake: FakeNamespace):
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    ann.congested = True
    await fake.emitter.volatile.emit("tick")
    await fake.emitter.emit("tock")
    assert [event for event, _ in ann.received][2:] == ["tock"]
    assert [event for event, _ in ben.received][2:] == ["tick", "tock"]


async def test_an_event_that_does_not_come_is_said_with_what_came(fake: FakeNamespace):
    ann = await fake.connect("ann")
    with pytest.raises(AssertionError, match=r"no 'news' arrived .*'greeting'"):
        await ann.event("news", timeout=0.01)
    with pytest.raises(AssertionError, match="still connected"):
        await ann.disconnected(timeout=0.01)
    waiting = asyncio.create_task(ann.event("news"))
    await asyncio.sleep(0)
    await fake.emitter.emit("news", 1)
    assert await waiting == [1]


async def test_events_of_a_connection_are_handled_in_turn_and_pipelined_ones_together():
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}
    lines: list[str] = []
    table: Router[None] = Router("/turns")

    async def work(context: Context[None], name: str) -> None:
        lines.append(f"+{name}")
        if name in gates:
            await gates[name].wait()
        context.data[name] = True
        lines.append(f"-{name}")

    table.route("work", work)
    table.route("fast", work, pipelined=True)
    fake = FakeNamespace(table)
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    emits: list[asyncio.Task[Any]] = []
    for event, name in (("fast", "a"), ("fast", "b"), ("work", "c")):
        emits.append(asyncio.create_task(ann.emit(event, name)))
        await until(lambda name=name: f"+{name}" in lines or ann.in_flight == 3)
    await ben.emit("work", "ben")
    gates["b"].set()
    await emits[1]
    gates["a"].set()
    await asyncio.gather(*emits)
    assert lines == ["+a", "+b", "+ben", "-ben", "-b", "-a", "+c", "-c"]
    assert ann.data == {"a": True, "b": True, "c": True}


async def test_what_is_in_flight_ends_before_a_connection_is_told_to_be_gone():
    gate, lines = asyncio.Event(), list[str]()
    table: Router[None] = Router("/ends")

    async def work(context: Context[None]) -> None:
        await gate.wait()
        lines.append("done")

    async def gone(context: Context[None], reason: str, rooms: list[str]) -> None:
        lines.append(reason)

    table.route("work", work)
    table.route("disconnect", gone)
    fake = FakeNamespace(table)
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    working = asyncio.create_task(ann.emit("work"))
    await until(lambda: ann.in_flight)
    await ann.disconnect("transport close")
    await ben.disconnect()
    assert lines == ["client namespace disconnect"]
    gate.set()
    assert await working == {"ok": True}
    assert lines == ["client namespace disconnect", "done", "transport close"]


def test_it_must_be_clear_which_namespace_is_meant():
    two = Service("two", Router[None]("/a"), Router[None]("/b"))
    assert FakeNamespace(two, "/b").namespace == "/b"
    with pytest.raises(ValueError, match="name one of the namespaces of two: /a, /b"):
        FakeNamespace(two)
    with pytest.raises(ValueError, match="two has no namespace /c"):
        FakeNamespace(two, "/c")


async def test_the_lifespan_does_not_run_and_state_is_what_the_test_says():
    table: Router[list[str]] = Router("/state")

    @table.on("note")
    async def note(context: Context[list[str]], text: str) -> None:
        context.state.append(text)

    fake = FakeNamespace(table)
    fake.state = []
    ann: FakeConnection = await fake.connect("ann")
    await ann.emit("note", "x")
    assert fake.state == ["x"]


async def test_a_consumer_is_handed_events_as_chat_does():
    billed: list[tuple[str, int]] = []
    service: Service[None] = Service("billing")

    @service.consumer("billing", events="message.*")
    async def bill(events: list[LogEvent]) -> None:
        billed.extend((event.actor_id, len(event.data["body"])) for event in events)

    one, two = (log_event("message.sent", {"body": body}, actor="u_ben") for body in ("hi", "there"))
    await consume(service, "billing", one, two)
    assert billed == [("u_ben", 2), ("u_ben", 5)]
    assert (two.sequence, one.event_id == two.event_id) == (one.sequence + 1, False)
    assert bill is service.consumers["billing"].consume
