"""What controllers can do in a service that runs: take long, fail, answer in their own way, and keep a session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from parley.common.wire import subjects
from parley.common.wire.binary import insert
from parley.common.wire.codec import decode
from parley.common.wire.commands import Ack, Command, ConnectionCommands, DataChanges
from parley.common.wire.connections import Handshake
from parley.common.wire.operations import Emit
from parley.framework import Code, Context, Next, Reject, Router, on
from tests.support.framework.calling import ANN, Caller, running_service
from tests.support.waiting import until

SHORT = 0.3
"""Seconds that a controller may take here."""

Lines = list[str]


@pytest.fixture
def lines() -> Lines:
    """What the controllers wrote down."""
    return []


@pytest.fixture
async def router(nats_url: str, caller: Caller, namespace: str, lines: Lines) -> AsyncIterator[Router[Lines]]:
    """The routing table of a running service; routes may be added."""
    table: Router[Lines] = Router(namespace)
    table.route("note", note)
    async with running_service(nats_url, table, state=lines):
        yield table


async def note(context: Context[Lines], text: str) -> dict[str, str]:
    context.state.append(text)
    return {"noted": text}


async def acks(caller: Caller, count: int) -> list[Ack]:
    """Wait for so many acks and return them by tag."""
    found: list[Ack] = []

    def arrived() -> bool:
        found[:] = [ack for message in caller.messages for ack in message.acks]
        return len(found) >= count

    await until(arrived)
    return sorted(found, key=lambda ack: ack.tag)


def codes(bodies: list[dict[str, Any]]) -> list[str]:
    """`ok` or the code of each."""
    return ["ok" if body["ok"] else body["error"]["code"] for body in bodies]


# -- arguments ---------------------------------------------------------------------------------------------------------


async def test_a_controller_takes_the_arguments_that_its_annotations_say(router: Router[Lines], caller: Caller):
    async def add(_context: Context[Lines], first: int, *rest: int) -> dict[str, int]:
        return {"sum": first + sum(rest)}

    async def total(_context: Context[Lines], *numbers: int) -> dict[str, int]:
        return {"sum": sum(numbers)}

    async def scale(_context: Context[Lines], number: int, by: int = 10) -> dict[str, int]:
        return {"is": number * by}

    with pytest.raises(ValueError, match="add: an event's arguments are positional, rest is not"):
        router.route("add", add)
    router.route("total", total)
    router.route("scale", scale)
    commands = [("total", [1, 2, 3]), ("total", []), ("scale", [2]), ("scale", [2, 3]), ("scale", ["2"])]
    await caller.send(
        ConnectionCommands(
            "sid", ANN, [Command(n, event, json.dumps(args).encode(), "c") for n, (event, args) in enumerate(commands)]
        )
    )
    *results, refused = await caller.acked(5)
    assert [body.get("sum", body.get("is")) for body in results] == [6, 0, 20, 6]
    assert refused["error"]["code"] == "invalid_payload"


async def test_binary_data_is_bytes_in_the_arguments_of_a_controller_that_takes_it(
    router: Router[Lines], caller: Caller
):
    got: list[bytes] = []

    async def upload(_context: Context[Lines], name: str, data: bytes) -> dict[str, int]:
        got.append(data)
        return {"bytes": len(data), "of": len(name)}

    router.route("upload", upload, binary=True)
    router.route("text", note)
    args, blob = b'["name",{"_placeholder":true,"num":0}]', bytes(range(256))
    await caller.send(
        ConnectionCommands("sid", ANN, [Command(n, e, args, "c", (blob,)) for n, e in enumerate(["upload", "text"])])
    )
    uploaded, refused = await caller.acked(2)
    assert (uploaded, got) == ({"ok": True, "bytes": 256, "of": 4}, [blob])
    assert refused["error"] == {"code": "invalid_payload", "message": "text: takes no binary data", "retryable": False}


async def test_a_class_of_controllers_is_made_with_each_events_context(router: Router[Lines], caller: Caller):
    class Notes:
        def __init__(self, context: Context[Lines]) -> None:
            self.context = context

        @on("shout")
        async def shout(self, text: str) -> dict[str, str]:
            return await note(self.context, text.upper())

    router.controllers(Notes)
    await caller.send(caller.conversation(("shout", "a"), ("shout", "b")))
    assert await caller.acked(2) == [{"ok": True, "noted": "A"}, {"ok": True, "noted": "B"}]


async def test_a_controller_knows_how_its_connection_came_about(router: Router[Lines], caller: Caller):
    seen: list[Handshake] = []

    async def look(context: Context[Lines]) -> None:
        seen.append(context.handshake)

    router.route("look", look)
    shake = Handshake("10.0.0.1", {"v": "1"}, {"room": "r"}, {"x-app": "a"}, True, 12.5, "websocket")
    for encoded in (shake.encode(), b""):
        await caller.send(ConnectionCommands("sid", ANN, [Command(len(seen), "look", b"[]", "c")], encoded))
        await caller.acked(len(seen) + 1)
    assert seen == [shake, Handshake()]


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_controller_that_takes_too_long_is_cancelled_and_the_connections_next_command_runs(
    router: Router[Lines], caller: Caller, lines: Lines, pipelined: bool
):
    async def stuck(context: Context[Lines], text: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            context.state.append(f"cancelled {text}")
            raise

    router.route("stuck", stuck, timeout=SHORT, pipelined=pipelined)
    await caller.send(caller.conversation(("stuck", "a"), ("note", "between"), ("stuck", "b"), ("note", "after")))
    first, *others = await caller.acked(4)
    assert first["error"]["code"] == "timeout"
    assert first["error"]["retryable"] is True
    assert codes(others) == ["ok", "timeout", "ok"]
    assert lines == ["cancelled a", "between", "cancelled b", "after"]


async def test_time_is_each_commands_own(router: Router[Lines], caller: Caller):
    async def wait(_context: Context[Lines], seconds: float) -> None:
        await asyncio.sleep(seconds)

    router.route("wait", wait, timeout=SHORT * 3)
    router.route("wait longer", wait, timeout=60)
    await caller.send(
        caller.conversation(*[("wait", SHORT)] * 4), caller.conversation(("wait longer", SHORT * 5), ("wait", 60))
    )
    assert codes(await caller.acked(6)) == ["ok"] * 5 + ["timeout"]


async def test_a_timeout_of_the_controllers_own_is_its_own_failure(router: Router[Lines], caller: Caller):
    async def impatient(_context: Context[Lines]) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async def patient(_context: Context[Lines]) -> dict[str, bool]:
        try:
            await impatient(_context)
        except TimeoutError:
            return {"gave up": True}
        return {}

    router.route("impatient", impatient)
    router.route("patient", patient)
    await caller.send(
        ConnectionCommands("sid", ANN, [Command(n, e, b"[]", "c") for n, e in enumerate(["impatient", "patient"])])
    )
    failed, gave_up = await caller.acked(2)
    assert (failed["error"]["code"], gave_up) == ("internal", {"ok": True, "gave up": True})


async def test_a_controller_that_makes_something_else_of_its_cancellation_costs_its_connection_nothing(
    router: Router[Lines], caller: Caller
):
    async def stubborn(_context: Context[Lines], _text: str) -> dict[str, str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"still": "here"}
        return {}

    async def clumsy(_context: Context[Lines], _text: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise RuntimeError("broken off") from error

    async def stuck(_context: Context[Lines], _text: str) -> None:
        async with asyncio.timeout(60):
            await asyncio.Event().wait()

    for controller in (stubborn, clumsy, stuck):
        router.route(controller.__name__, controller, timeout=SHORT)
    await caller.send(caller.conversation(("stubborn", ""), ("clumsy", ""), ("stuck", ""), ("note", "after")))
    assert codes(await caller.acked(4)) == ["ok", "internal", "timeout", "ok"]


# -- failures ----------------------------------------------------------------------------------------------------------


class Failure(msgspec.Struct):
    """What an `error` controller is told."""

    event: str
    code: str
    message: str
    retryable: bool


async def test_an_error_controller_is_told_of_every_failure_with_a_context_of_its_own(
    router: Router[Lines], caller: Caller
):
    told: list[tuple[Context[Lines], Failure]] = []

    async def error(context: Context[Lines], failure: Failure) -> None:
        told.append((context, failure))
        context.ack("this answers nothing")

    async def refuse(_context: Context[Lines], _text: str) -> None:
        raise Reject(Code.FORBIDDEN, "not you")

    async def crash(_context: Context[Lines], _text: str) -> None:
        raise RuntimeError("the password is hunter2")

    router.route("error", error)
    router.route("refuse", refuse)
    router.route("crash", crash)
    talk = caller.conversation(("refuse", "x"), ("crash", "x"), ("note", 1), ("nonsense", "x"), ("note", "fine"))
    await caller.send(talk)
    *failed, _fine = await caller.acked(5)
    expected = ["forbidden", "internal", "invalid_payload", "unknown_event"]
    assert codes(failed) == [failure.code for _, failure in told] == expected
    assert [failure.event for _, failure in told] == ["refuse", "crash", "note", "nonsense"]
    assert all("hunter2" not in failure.message for _, failure in told)
    for context, command in zip((context for context, _ in told), talk.commands, strict=False):
        assert (context.event, context.sid, context.identity) == ("error", talk.sid, ANN)
        assert context.correlation == command.correlation


async def test_an_error_controller_that_fails_itself_is_not_told_and_the_first_failure_is_acked(
    router: Router[Lines], caller: Caller, lines: Lines
):
    async def error(context: Context[Lines], failure: Failure) -> None:
        context.state.append(failure.code)
        raise RuntimeError("again")

    router.route("error", error)
    with capture_logs() as logged:
        await caller.send(caller.conversation(("nonsense", "x"), ("note", "on")))
        assert codes(await caller.acked(2)) == ["unknown_event", "ok"]
    assert lines == ["unknown_event", "on"]
    assert [line["event_name"] for line in logged if line["event"] == "controller failed"] == ["error"]


async def test_a_crash_is_logged_with_its_traceback_and_whose_event_it_was(
    router: Router[Lines], caller: Caller, namespace: str
):
    async def crash(_context: Context[Lines], _text: str) -> None:
        raise RuntimeError("a mistake")

    router.route("crash", crash)
    talk = caller.conversation(("crash", "x"))
    with capture_logs() as logged:
        await caller.send(talk)
        await caller.acked(1)
    (line,) = (line for line in logged if line["event"] == "controller failed")
    assert line["exc_info"] is True
    assert (line["namespace"], line["sid"], line["user"], line["event_name"]) == (namespace, talk.sid, "u_ann", "crash")


# -- answers of one's own ----------------------------------------------------------------------------------------------


async def test_a_controller_may_answer_with_several_arguments_and_binary_data(router: Router[Lines], caller: Caller):
    async def ask(context: Context[Lines], text: str) -> dict[str, str]:
        context.ack(text, {"n": 1, "blob": b"\x00\x01"}, [b"\xff"])
        return {"this": "is not sent"}

    async def bare(context: Context[Lines], _text: str) -> None:
        context.ack()

    router.route("ask", ask)
    router.route("bare", bare)
    await caller.send(caller.conversation(("ask", "hello"), ("bare", "")))
    asked, answered = await acks(caller, 2)
    assert json.loads(b"[" + asked.payload + b"]") == [
        "hello", {"n": 1, "blob": {"_placeholder": True, "num": 0}}, [{"_placeholder": True, "num": 1}]
    ]  # fmt: skip
    assert (asked.ok, asked.attachments) == (True, (b"\x00\x01", b"\xff"))
    assert (answered.ok, answered.payload, answered.attachments) == (True, b"", ())


async def test_what_was_answered_stands_when_the_controller_fails_afterwards(router: Router[Lines], caller: Caller):
    async def hasty(context: Context[Lines], _text: str) -> None:
        context.ack("done")
        raise RuntimeError("or not")

    router.route("hasty", hasty)
    await caller.send(caller.conversation(("hasty", "")))
    (ack,) = await acks(caller, 1)
    assert (ack.ok, ack.payload) == (True, b'"done"')


async def test_an_answer_too_large_for_the_broker_is_a_failure(router: Router[Lines], caller: Caller):
    async def huge(context: Context[Lines], _text: str) -> None:
        context.ack(b"x" * caller.bus.max_payload)

    router.route("huge", huge)
    await caller.send(caller.conversation(("note", "a"), ("huge", ""), ("note", "b")))
    assert codes(await caller.acked(3)) == ["ok", "internal", "ok"]
    assert all(ack.attachments == () for ack in await acks(caller, 3))


# -- session -----------------------------------------------------------------------------------------------------------


async def count(context: Context[Any], _text: str) -> dict[str, int]:
    context.data["count"] = context.data.get("count", 0) + 1
    return {"count": context.data["count"]}


def changes_of(ack: Ack) -> dict[str, Any] | None:
    """The keys that a controller set, and to what."""
    if ack.data_changes is None:
        return None
    return {key: msgspec.msgpack.decode(value) for key, value in decode(ack.data_changes, DataChanges).values.items()}


async def test_data_comes_with_the_commands_and_goes_back_changed_with_the_acks(router: Router[Lines], caller: Caller):
    router.route("count", count)
    talk = caller.conversation(("note", "a"), ("count", ""), ("note", "b"), ("count", ""))
    await caller.send(msgspec.structs.replace(talk, data=msgspec.msgpack.encode({"count": 5, "kept": [1]})))
    assert [body.get("count") for body in await caller.acked(4)] == [None, 6, None, 7]
    assert [changes_of(ack) for ack in await acks(caller, 4)] == [None, {"count": 6}, None, {"count": 7}]


async def test_data_that_is_looked_at_or_set_to_what_it_was_does_not_travel_back(router: Router[Lines], caller: Caller):
    async def look(context: Context[Lines], _text: str) -> dict[str, Any]:
        context.data["same"] = context.data["same"]
        return dict(context.data)

    router.route("look", look)
    talk = msgspec.structs.replace(caller.conversation(("look", "")), data=msgspec.msgpack.encode({"same": 1}))
    await caller.send(talk)
    assert await caller.acked(1) == [{"ok": True, "same": 1}]
    assert [ack.data_changes for ack in await acks(caller, 1)] == [None]


async def test_what_is_removed_from_the_data_travels_back_as_that(router: Router[Lines], caller: Caller):
    async def forget(context: Context[Lines], _text: str) -> None:
        context.data.clear()

    router.route("forget", forget)
    router.route("count", count)
    talk = caller.conversation(("forget", ""), ("count", ""))
    await caller.send(msgspec.structs.replace(talk, data=msgspec.msgpack.encode({"count": 5})))
    forgotten, counted = await acks(caller, 2)
    assert forgotten.data_changes is not None
    assert decode(forgotten.data_changes, DataChanges) == DataChanges({}, ["count"])
    assert changes_of(counted) == {"count": 1}


@pytest.mark.parametrize(
    ("value", "code"), [("x" * 5000, "payload_too_large"), (object(), "internal")], ids=["too large", "no message pack"]
)
async def test_data_that_cannot_be_kept_refuses_its_event_and_stays_as_it_was(
    router: Router[Lines], caller: Caller, value: Any, code: str
):
    async def hoard(context: Context[Lines], _text: str) -> None:
        context.data["hoard"] = value

    router.route("hoard", hoard)
    router.route("count", count)
    with capture_logs() as logged:
        await caller.send(caller.conversation(("count", ""), ("hoard", ""), ("count", "")))
        bodies = await caller.acked(3)
    assert codes(bodies) == ["ok", code, "ok"]
    assert [body.get("count") for body in bodies] == [1, None, 2]
    assert [changes_of(ack) for ack in await acks(caller, 3)] == [{"count": 1}, None, {"count": 2}]
    assert {"rejected", "connection data that cannot be kept"} & {line["event"] for line in logged}


# -- what is nested, and binary data -----------------------------------------------------------------------------------


async def test_nested_arguments_that_are_passed_on_are_invalid_and_leave_the_service_as_it_was(
    router: Router[Lines], caller: Caller
):
    async def tell(context: Context[Lines], *args: Any) -> None:
        await context.broadcast.emit("told", *args)

    router.route("tell", tell)
    deep = [Command(number, "tell", b"[" * 701 + b"]" * 701, "c") for number in range(10)]
    with capture_logs() as logged:
        await caller.send(ConnectionCommands("sid", ANN, [*deep, Command(10, "note", b'["after"]', "c")]))
        assert codes(await caller.acked(11)) == ["invalid_payload"] * 10 + ["ok"]
    assert len(str([line for line in logged if line["log_level"] != "debug"])) < 10_000


async def test_bytes_that_a_controller_returns_travel_as_attachments(router: Router[Lines], caller: Caller):
    async def picture(_context: Context[Lines]) -> dict[str, Any]:
        return {"data": b"\x89PNG", "pages": [b"1"]}

    router.route("picture", picture)
    await caller.send(ConnectionCommands("sid", ANN, [Command(0, "picture", b"[]", "c")]))
    (ack,) = await acks(caller, 1)
    assert insert(b"[" + ack.payload + b"]", ack.attachments) == [{"ok": True, "data": b"\x89PNG", "pages": [b"1"]}]


# -- the way to others -------------------------------------------------------------------------------------------------


async def test_what_a_controller_emits_to_others_leaves_its_own_connection_out(
    router: Router[Lines], caller: Caller, namespace: str
):
    heard: list[Emit] = []

    async def hear(message: Msg) -> None:
        heard.append(decode(message.data, Emit))

    async def tell(context: Context[Lines], _text: str) -> None:
        await context.everybody.emit("all")
        await context.broadcast.emit("others")
        await context.to("r1", "r2").emit("rooms", 1)
        await context.except_("r3").volatile.emit("without", b"x")
        await context.emit("you")

    await caller.bus.subscribe(subjects.sockets(namespace), hear)
    await caller.bus.subscribe(subjects.gateway(caller.gateway, namespace), hear)
    await caller.bus.flush()
    router.route("tell", tell)
    talk = caller.conversation(("tell", ""))
    await caller.send(talk)
    assert await caller.acked(1) == [{"ok": True}]
    await until(lambda: len(heard) == 5)
    selected = {emit.event: (emit.selection.rooms, emit.selection.except_rooms) for emit in heard}
    assert selected == {
        "all": ((), ()),
        "others": ((), (talk.sid,)),
        "rooms": (("r1", "r2"), (talk.sid,)),
        "without": ((), (talk.sid, "r3")),
        "you": ((talk.sid,), ()),
    }
    assert [emit.event for emit in heard if emit.volatile] == ["without"]


# -- middleware --------------------------------------------------------------------------------------------------------


async def test_a_services_middleware_surrounds_its_controllers(nats_url: str, caller: Caller, namespace: str):
    lines: Lines = []

    async def members_only(context: Context[Lines], call_next: Next) -> None:
        if not context.data.get("member"):
            raise Reject(Code.FORBIDDEN, "members only")
        await call_next()
        context.state.append("passed")

    table: Router[Lines] = Router(namespace)
    table.use(members_only)
    table.route("note", note)
    async with running_service(nats_url, table, state=lines):
        await caller.send(
            caller.conversation(("note", "a")),
            msgspec.structs.replace(caller.conversation(("note", "b")), data=msgspec.msgpack.encode({"member": True})),
        )
        assert codes(await caller.acked(2)) == ["forbidden", "ok"]
    assert lines == ["b", "passed"]


async def test_an_event_that_takes_too_long_in_middleware_is_cancelled_as_well(
    nats_url: str, caller: Caller, namespace: str
):
    async def slow(_context: Context[Lines], call_next: Next) -> None:
        await asyncio.Event().wait()
        await call_next()

    lines: Lines = []
    table: Router[Lines] = Router(namespace)
    table.use(slow)
    table.route("note", note, timeout=SHORT)
    async with running_service(nats_url, table, state=lines):
        await caller.send(caller.conversation(("note", "a")))
        assert codes(await caller.acked(1)) == ["timeout"]
    assert lines == []


async def test_events_are_counted_by_outcome_and_names_that_clients_make_up_are_not(
    router: Router[Lines], caller: Caller, namespace: str
):
    await caller.send(caller.conversation(("note", "a"), ("note", "b"), ("note", 1), ("made up", 1), ("made up 2", 1)))
    await caller.acked(5)

    def count(event: str, outcome: str) -> float | None:
        labels = {"namespace": namespace, "event": event, "outcome": outcome}
        return REGISTRY.get_sample_value("parley_service_events_total", labels)

    await until(lambda: count("", "unknown_event") == 2)
    assert (count("note", "accepted"), count("note", "invalid_payload")) == (2, 1)
    assert count("made up", "unknown_event") is None
