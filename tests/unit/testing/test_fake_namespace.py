"""A namespace with fake connections: real middleware, controllers and emitters, at once and without a network.

What fake connections and stock clients have in common is in `Conduct`, which runs with both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from parley.common.wire.disconnects import DisconnectReason
from parley.framework import Code, ConnectionContext, Context, LogEvent, Next, Reject, Router, Runtime, Service, on
from parley.testing import FakeConnection, FakeNamespace, consume, log_event
from tests.support.bus import rejected, until

NAMESPACE = "/lab"
Connect = Callable[..., Awaitable[Any]]
"""Lets a connection of a user in, fake or real."""


class Notes:
    """What the service saw, in order."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    async def has(self, line: Any) -> None:
        """Wait until it saw this."""
        await until(lambda: line in self.lines)


class Item(msgspec.Struct):
    name: str
    count: int = 1


router: Router[Notes] = Router(NAMESPACE)


@router.on("roll")
async def roll(context: Context[Notes], sides: int) -> dict[str, Any]:
    return {"sides": sides, "by": context.identity.user_id, "roles": context.identity.roles}


@router.on("echo", binary=True)
async def echo(context: Context[Notes], *args: Any) -> None:
    context.ack(*args)


@router.on("enter")
async def enter(context: Context[Notes], room: str) -> None:
    await context.join(room)


@router.on("exit")
async def leave(context: Context[Notes], room: str) -> None:
    await context.leave(room)


@router.on("say")
async def say(context: Context[Notes], rooms: list[str], text: str) -> None:
    await context.to(*rooms).emit("said", context.identity.user_id, text)


@router.on("whisper")
async def whisper(context: Context[Notes], user: str, data: Any) -> None:
    await context.everybody.to_user(user).emit("whispered", data)


@router.on("shout")
async def shout(context: Context[Notes], without: str) -> None:
    await context.emit("heard", "me")
    await context.broadcast.emit("heard", "others")
    await context.everybody.emit("heard", "all")
    await context.except_(without).emit("heard", "others without")
    await context.everybody.volatile.except_(without).emit("heard", "volatile")


@router.on("ask")
async def ask(context: Context[Notes], question: str) -> dict[str, Any]:
    return {"answer": await context.socket.emit_with_ack("question", question, timeout=0.3)}


@router.on("look")
async def look(context: Context[Notes], sid: str) -> dict[str, Any]:
    found = await context.everybody.socket(sid).fetch()
    return {"user": found.user_id, "name": found.name, "rooms": found.rooms, "namespace": found.namespace}


@router.on("remember")
async def remember(context: Context[Notes], value: Any) -> dict[str, Any]:
    context.data["count"] = context.data.get("count", 0) + 1
    context.data["value"] = value
    return dict(context.data)


@router.on("shake")
async def shake(context: Context[Notes]) -> dict[str, Any]:
    handshake = context.handshake
    return {"query": handshake.query.get("colour"), "auth": handshake.auth, "language": handshake.headers["language"]}


@router.on("dismiss")
async def dismiss(context: Context[Notes], sid: str) -> None:
    await context.everybody.socket(sid).disconnect()
    context.state.lines.append("dismissed")


@router.on("quit")
async def leave_for_good(context: Context[Notes]) -> dict[str, str]:
    await context.disconnect()
    return {"bye": "bye"}


@router.on("fail")
async def fail(context: Context[Notes]) -> None:
    raise RuntimeError("a secret")


@router.on("refuse")
async def refuse(context: Context[Notes]) -> None:
    raise Reject(Code.LIMIT_EXCEEDED, "enough", data={"limit": 3})


@router.on("slow", timeout=0.05)
async def slow(context: Context[Notes]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        context.state.lines.append("cancelled")


class Basket:
    def __init__(self, context: Context[Notes]) -> None:
        self.context = context

    @on("basket.add")
    async def add(self, item: Item) -> dict[str, Any]:
        self.context.data.setdefault("basket", []).append(item.name)
        return {"items": self.context.data["basket"], "count": item.count}


router.controllers(Basket)


@router.on("connect")
async def connected(context: Context[Notes], recovered: bool) -> None:
    context.state.lines.append(("connect", context.identity.user_id, recovered))
    await context.join("lobby")
    await context.emit("welcome", sorted(context.data))
    if context.handshake.query.get("as") == "unlucky":
        raise Reject(Code.NOT_FOUND, "no luck")


@router.on("disconnecting")
async def disconnecting(context: Context[Notes], reason: str, rooms: list[str]) -> None:
    context.state.lines.append(("disconnecting", context.identity.user_id, reason, rooms))


@router.on("disconnect")
async def disconnected(context: Context[Notes], reason: str, rooms: list[str]) -> None:
    context.state.lines.append(("disconnect", context.identity.user_id, dict(context.data)))
    await context.everybody.emit("left", context.identity.user_id)


@router.on("error")
async def failed(context: Context[Notes], failure: dict[str, Any]) -> None:
    context.state.lines.append(("error", failure["event"], failure["code"]))


async def packets(context: Context[Notes], call_next: Next) -> None:
    """Stop, answer, swallow or replace events of some names."""
    match context.event:
        case "stopped":
            raise Reject(Code.FORBIDDEN, "stopped", data={"by": "middleware"})
        case "cached":
            context.result = {"cached": True}
        case "swallowed":
            pass
        case "replaced":
            context.event, context.args = "roll", [int(context.args[0]) + 1]
            await call_next()
            context.result = {**context.result, "after": True}
        case _:
            await call_next()


async def outer(connection: ConnectionContext, call_next: Next) -> None:
    """See who comes and goes."""
    notes.lines.append(("outer in", connection.identity.user_id))
    await call_next()
    notes.lines.append(("outer out", connection.identity.user_id, connection.reason))


async def inner(connection: ConnectionContext, call_next: Next) -> None:
    """Refuse some, and give the others something on their way."""
    match connection.handshake.query.get("as"):
        case "stranger":
            raise Reject(Code.FORBIDDEN, "not you", data={"ask": "ann"})
        case "ghost":
            return
        case "broken":
            raise RuntimeError("a secret")
        case _:
            pass
    connection.data["since"] = 1
    await connection.join("admitted")
    await connection.emit("greeting", connection.identity.name)
    await call_next()
    notes.lines.append(("inner out", connection.identity.user_id, connection.reason))


router.use(packets)
router.use_connection(outer, inner)
notes = Notes()
"""What the service of this process saw; a test clears it."""


@asynccontextmanager
async def keeping_notes(_runtime: Runtime) -> AsyncGenerator[Notes]:
    yield notes


service = Service("lab", router, lifespan=keeping_notes)


class Conduct:
    """What holds for fake connections and for stock clients alike; `connect` lets one in."""

    # -- events and acks -------------------------------------------------------------------------------------------

    async def test_a_controller_gets_typed_arguments_and_who_sent_them_and_its_result_is_the_ack(
        self, connect: Connect
    ):
        ann = await connect("ann", roles=("dealer",))
        assert await ann.emit("roll", 6) == {"ok": True, "sides": 6, "by": "ann", "roles": ["dealer"]}
        assert (await ann.emit("roll", "six"))["error"]["code"] == "invalid_payload"
        assert (await ann.emit("roll"))["error"]["code"] == "invalid_payload"
        assert (await ann.emit("nonsense"))["error"]["code"] == "unknown_event"

    async def test_what_is_answered_with_ack_arrives_as_it_is(self, connect: Connect):
        ann = await connect("ann")
        assert await ann.emit("echo") is None
        assert await ann.emit("echo", 5) == 5
        assert await ann.emit("echo", [b"\0\xff", {"deep": b""}], "text") == ([b"\0\xff", {"deep": b""}], "text")

    async def test_failures_carry_their_code_and_data_and_no_secret_and_the_error_controller_hears_of_them(
        self, connect: Connect
    ):
        ann = await connect("ann")
        error = (await ann.emit("refuse"))["error"]
        assert error == {"code": "limit_exceeded", "message": "enough", "retryable": False, "data": {"limit": 3}}
        failure = await ann.emit("fail")
        assert failure["error"]["code"] == "internal"
        assert "secret" not in str(failure)
        await notes.has(("error", "fail", "internal"))
        assert ("error", "refuse", "limit_exceeded") in notes.lines

    async def test_without_an_ack_a_failure_arrives_as_an_event(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        await ann.tell("roll", 6)
        await ann.tell("refuse")
        assert (await ann.event("error"))[0]["data"] == {"limit": 3}
        assert await ben.emit("roll", 6)
        assert not [event for event, _ in (*ann.received, *ben.received) if event == "error"][1:]

    async def test_a_controller_that_takes_too_long_is_cancelled(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("slow"))["error"]["code"] == "timeout"
        assert "cancelled" in notes.lines
        assert (await ann.emit("roll", 6))["ok"]

    async def test_names_of_the_protocol_cannot_be_emitted(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("disconnecting", "x", []))["error"]["code"] == "unknown_event"
        assert (await ann.emit("error", {"event": "x", "code": "y"}))["error"]["code"] == "unknown_event"
        assert ("error", "x", "y") not in notes.lines

    # -- who hears what --------------------------------------------------------------------------------------------

    async def test_rooms_are_joined_and_left_and_who_sends_hears_nothing_of_it(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        for connection in (ann, ben):
            assert (await connection.emit("enter", "red"))["ok"]
            assert (await connection.emit("enter", "blue"))["ok"]
        assert (await ann.emit("say", ["red", "blue", ben.sid], "one copy"))["ok"]
        assert await ben.event("said") == ["ann", "one copy"]
        assert (await ben.emit("exit", "red"))["ok"]
        assert (await ann.emit("say", ["red"], "nobody"))["ok"]
        assert (await cat.emit("say", ["blue"], "both"))["ok"]
        assert [await one.event("said") for one in (ann, ben)] == [["cat", "both"]] * 2
        assert [len([1 for event, _ in one.received if event == "said"]) for one in (ann, ben, cat)] == [1, 2, 0]

    async def test_a_users_connections_are_a_room_and_binary_data_arrives_as_such(self, connect: Connect):
        ann, also_ben, ben = await connect("ann"), await connect("ben"), await connect("ben")
        assert (await ann.emit("whisper", "ben", {"a": [1, None]}))["ok"]
        assert await ben.event("whispered") == await also_ben.event("whispered") == [{"a": [1, None]}]
        assert "whispered" not in [event for event, _ in ann.received]

    async def test_everybody_others_and_all_but_some_are_reached(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        assert (await cat.emit("enter", "deaf"))["ok"]
        assert (await ann.emit("shout", "deaf"))["ok"]
        expected = {
            ann: ["me", "all", "volatile"],
            ben: ["others", "all", "others without", "volatile"],
            cat: ["others", "all"],
        }
        for connection, kinds in expected.items():
            assert [(await connection.event("heard"))[0] for _ in kinds] == kinds
            assert len([1 for event, _ in connection.received if event == "heard"]) == len(kinds)

    async def test_a_client_is_asked_and_answers_or_does_not(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("ask", "sure?"))["error"]["code"] == "timeout"
        ann.answers("question", "yes")
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": "yes"}
        ann.answers("question", ("yes", [2]))
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": ["yes", [2]]}
        ann.answers("question")
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": None}
        assert await ann.event("question") == ["sure?"]

    async def test_a_connection_is_described_with_its_rooms(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben", name="Ben")
        assert (await ben.emit("enter", "red"))["ok"]
        assert await ann.emit("look", ben.sid) == {
            "ok": True, "user": "ben", "name": "Ben", "namespace": NAMESPACE,
            "rooms": [ben.sid, "admitted", "lobby", "red", "user:ben"],
        }  # fmt: skip

    # -- what is kept ----------------------------------------------------------------------------------------------

    async def test_data_is_kept_with_the_connection_and_is_its_own(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        assert await ann.emit("remember", [1, "x"]) == {"ok": True, "since": 1, "count": 1, "value": [1, "x"]}
        assert (await ann.emit("remember", 2))["count"] == 2
        assert (await ben.emit("remember", 3))["count"] == 1

    async def test_data_that_is_too_large_is_not_kept(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("remember", 1))["count"] == 1
        await ann.emit("remember", "x" * 5000)
        again = await ann.emit("remember", 2)
        assert (again["count"], again["value"]) == (2, 2)

    async def test_a_class_of_controllers_has_its_context(self, connect: Connect):
        ann = await connect("ann")
        assert await ann.emit("basket.add", {"name": "pear"}) == {"ok": True, "items": ["pear"], "count": 1}
        assert await ann.emit("basket.add", {"name": "plum", "count": 4}) == {
            "ok": True, "items": ["pear", "plum"], "count": 4,
        }  # fmt: skip
        assert (await ann.emit("basket.add", {"count": 4}))["error"]["code"] == "invalid_payload"

    async def test_the_handshake_is_known_to_controllers(self, connect: Connect):
        ann = await connect("ann", query={"colour": "blue"}, auth={"age": 7}, headers={"language": "de"})
        assert await ann.emit("shake") == {"ok": True, "query": "blue", "auth": {"age": 7}, "language": "de"}

    # -- middleware ------------------------------------------------------------------------------------------------

    async def test_packet_middleware_stops_answers_swallows_and_replaces(self, connect: Connect):
        ann = await connect("ann")
        stopped = await ann.emit("stopped")
        assert (stopped["error"]["code"], stopped["error"]["data"]) == ("forbidden", {"by": "middleware"})
        assert await ann.emit("cached") == {"ok": True, "cached": True}
        assert (await ann.emit("swallowed"))["error"]["code"] == "forbidden"
        assert await ann.emit("replaced", "5") == {"ok": True, "sides": 6, "by": "ann", "roles": [], "after": True}

    async def test_connection_middleware_stands_around_a_life_outermost_first_and_last(self, connect: Connect):
        ann = await connect("ann", name="Ann")
        assert notes.lines[:1] == [("outer in", "ann")]
        await notes.has(("connect", "ann", False))
        assert await ann.event("greeting") == ["Ann"]
        assert await ann.event("welcome") == [["since"]]
        assert [event for event, _ in ann.received] == ["greeting", "welcome"]
        await ann.disconnect()
        reason = "client namespace disconnect"
        await notes.has(("outer out", "ann", reason))
        assert notes.lines.index(("inner out", "ann", reason)) < notes.lines.index(("outer out", "ann", reason))

    async def test_the_end_of_a_connection_is_told_to_its_controllers_and_by_them_to_others(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        await ann.emit("remember", 1)
        await ann.disconnect()
        assert await ben.event("left") == ["ann"]
        told = [line for line in notes.lines if line[0] in {"disconnecting", "disconnect"}]
        assert told == [
            ("disconnecting", "ann", "client namespace disconnect", ["admitted", "lobby", "user:ann"]),
            ("disconnect", "ann", {"since": 1, "count": 1, "value": 1}),
        ]
        assert not ann.connected

    async def test_a_service_ends_its_own_connection_and_others(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        assert (await ann.emit("dismiss", ben.sid))["ok"]
        await ben.disconnected()
        assert await cat.event("left") == ["ben"]
        await cat.tell("quit")
        await cat.disconnected()
        assert await ann.event("left") == ["ben"]
        assert await ann.event("left") == ["cat"]
        await notes.has(("outer out", "cat", "server disconnect"))

    async def test_a_connect_controller_that_refuses_is_told_as_an_error_and_the_connection_stays(
        self, connect: Connect
    ):
        ann = await connect("ann", query={"as": "unlucky"})
        assert (await ann.event("error"))[0]["message"] == "no luck"
        assert (await ann.emit("roll", 6))["ok"]


@pytest.fixture(autouse=True)
def _blank_notes() -> None:
    notes.lines.clear()


@pytest.fixture
async def fake() -> AsyncGenerator[FakeNamespace]:
    async with FakeNamespace(service, state=notes) as made:
        yield made


class TestFakeConnections(Conduct):
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
