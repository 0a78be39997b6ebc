"""What becomes of an event, whatever its client nests in it and whatever its controller returns, acks or keeps."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from parley.common.process import logs
from parley.common.process.settings import ServiceSettings
from parley.common.wire.binary import MAX_DEPTH
from parley.common.wire.commands import Command, ConnectionCommands
from parley.framework import Code, ConnectionContext, Context, Next, Reject, Router
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.invocation import Invocation
from parley.testing import FakeNamespace
from tests.support.framework.invocations import ANN
from tests.support.paths import ROOT


class Blob(msgspec.Struct):
    data: bytes


class Album(msgspec.Struct):
    pictures: list[Blob]
    title: str = ""


@dataclass
class Plain:
    count: int


router: Router[None] = Router("/deep")


@router.on("tell", binary=True)
async def tell(context: Context[None], *args: Any) -> None:
    await context.broadcast.emit("told", *args)


@router.on("wrap")
async def wrap(context: Context[None], value: Any) -> None:
    await context.emit("wrapped", {"value": value})


@router.on("answer")
async def answer(context: Context[None], *args: Any) -> None:
    await context.ack(*args)


@router.on("answer.wrapped")
async def answer_wrapped(context: Context[None], *args: Any) -> None:
    await context.ack({"args": args})


@router.on("return")
async def give_back(_context: Context[None], value: Any) -> dict[str, Any]:
    return {"value": value}


@router.on("look")
async def look(context: Context[None], *_args: Any) -> dict[str, int]:
    return {"count": len(context.args)}


@router.on("typed")
async def typed(_context: Context[None], value: list[Any]) -> dict[str, int]:
    return {"count": len(value)}


@router.on("mark", binary=True)
async def mark(context: Context[None], value: Any) -> None:
    await context.everybody.emit("marked", value, b"stamp")


@router.on("reject")
async def reject(_context: Context[None], value: Any) -> None:
    raise Reject(Code.FORBIDDEN, data={"value": value, "object": object()})


async def outcome_of(table: Router[None], event: str, args: bytes, *attachments: bytes) -> EventResult:
    """What becomes of an event that reached the service like this."""
    fake = FakeNamespace(table)
    await fake.connect("ben")
    command = Command(0, event, args, "", attachments)
    sender = ConnectionCommands("sid", ANN, [command])
    return await fake.handle(Invocation(fake.emitter, "", sender, command, ConnectionData(), None))


async def acked(table: Router[None], event: str, args: bytes = b"[]") -> Any:
    """The ack of an event, its code when it was refused."""
    body = json.loads((await outcome_of(table, event, args)).payload)
    return body if body.get("ok", True) else body["error"]["code"]


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A list of one argument, nested like this, in it."""
    return b"[" + opening * depth + b"1" + closing * depth + b"]"


# -- nesting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [MAX_DEPTH, 490, 700, 985, 5_000])
@pytest.mark.parametrize("event", ["tell", "wrap", "answer", "answer.wrapped", "return", "look", "typed", "nobody"])
@pytest.mark.parametrize("braces", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
async def test_what_is_nested_too_deeply_is_an_invalid_payload(event: str, depth: int, braces: tuple[bytes, bytes]):
    expected = "unknown_event" if event == "nobody" else "invalid_payload"
    assert await acked(router, event, nested(depth, *braces)) == expected


@pytest.mark.parametrize("event", ["wrap", "answer.wrapped", "return"])
async def test_what_is_too_deep_only_where_the_service_put_it_is_an_invalid_payload(event: str):
    assert await acked(router, event, nested(MAX_DEPTH - 3)) != "invalid_payload"
    assert await acked(router, event, nested(MAX_DEPTH - 1)) == "invalid_payload"


async def test_a_placeholder_that_a_client_made_up_is_an_invalid_payload_where_binary_data_is_sent():
    assert await acked(router, "mark", b'[{"_placeholder":true,"num":0}]') == "invalid_payload"
    assert await acked(router, "mark", b'["x"]') == {"ok": True}


async def test_middleware_that_looks_at_nested_arguments_refuses_them_as_invalid():
    async def curious(context: Context[Any], call_next: Next) -> None:
        assert context.args
        await call_next()

    table: Router[None] = Router("/deep")
    table.route("tell", tell)
    table.use(curious)
    assert await acked(table, "tell", nested(700)) == "invalid_payload"


async def test_the_error_controller_hears_of_what_was_nested_too_deeply():
    heard: list[str] = []

    async def failed(_context: Context[None], failure: dict[str, Any]) -> None:
        heard.append(failure["code"])

    table: Router[None] = Router("/deep")
    table.route("tell", tell)
    table.route("error", failed)
    assert await acked(table, "tell", nested(700)) == "invalid_payload"
    assert heard == ["invalid_payload"]


async def test_connection_middleware_that_emits_a_nested_handshake_refuses_it_as_invalid():
    async def greet(connection: ConnectionContext[None], call_next: Next) -> None:
        await connection.everybody.emit("came", connection.handshake.auth)
        await call_next()

    table: Router[None] = Router("/deep")
    table.use_connection(greet)
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(Reject) as refused:
        await FakeNamespace(table).connect("ann", auth={"deep": deep})
    assert refused.value.code is Code.INVALID_PAYLOAD


async def test_a_fake_connection_that_nests_too_deeply_is_told_so():
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    ann = await FakeNamespace(router).connect("ann")
    assert (await ann.emit("tell", deep))["error"]["code"] == "invalid_payload"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_events_that_nest_or_fail_neither_fill_the_log_nor_stop_the_loop(log_format: str):
    # In a process of its own: loggers remember how they were configured when they were first used.
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as it; it.flood({log_format!r})"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, nesting, failing = map(float, done.stdout.split())
    assert seconds < 1
    assert nesting < 10_000
    assert 0 < failing <= 8192
    assert "RecursionError" in done.stderr


def flood(log_format: Any) -> None:
    """Write how long ten nested events take, how much they write to the log, and how much one that fails does."""

    async def fail(_context: Context[None], text: str) -> None:
        async def recurse(count: int) -> None:
            await recurse(count + 1)

        await recurse(len(text))

    table: Router[None] = Router("/deep")
    table.route("tell", tell)
    table.route("fail", fail)
    logs.configure(ServiceSettings(log_format=log_format), "test")
    written = io.StringIO()
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)

    async def run() -> None:
        started = time.process_time()
        for _ in range(10):
            assert await acked(table, "tell", nested(700)) == "invalid_payload"
        seconds, nesting = time.process_time() - started, len(written.getvalue())
        assert await acked(table, "fail", b'["x"]') == "internal"
        sys.stdout.write(f"{seconds} {nesting} {len(written.getvalue()) - nesting}")
        sys.stderr.write(written.getvalue())

    asyncio.run(run())


async def test_a_rejection_whose_data_is_no_json_is_answered_all_the_same():
    assert await acked(router, "reject", b"[1]") == "internal"


# -- results -----------------------------------------------------------------------------------------------------------


def returning(value: Any, annotation: Any, *, middleware: Any = None) -> Router[None]:
    async def give(_context: Context[None]) -> Any:
        return value

    give.__annotations__["return"] = annotation
    if annotation is Ellipsis:
        del give.__annotations__["return"]
    table: Router[None] = Router("/deep")
    table.route("give", give)
    if middleware is not None:
        table.use(middleware)
    return table


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ({"data": b"1", "more": [b"2", {"x": (b"3",)}]}, dict[str, Any]),
        ({"data": b"1"}, Ellipsis),
        ({"data": b"1"}, dict[str, bytes]),
        ({"data": bytearray(b"1"), "view": memoryview(b"2")}, dict),
        (Album([Blob(b"1"), Blob(b"2")]), Album),
        (Blob(b"1"), Album | Blob),
        ({"data": b"1"}, object),
    ],
    ids=["any", "nothing", "bytes", "dict", "struct", "union", "object"],
)
async def test_bytes_that_a_controller_returns_reach_the_client_as_binary_data(value: Any, annotation: Any):
    fake = FakeNamespace(returning(value, annotation))
    ann = await fake.connect("ann")
    plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
    expected = msgspec.json.encode(plain)
    answer = await ann.emit("give")
    assert answer.pop("ok") is True
    assert msgspec.json.encode(answer) == expected
    assert isinstance(answer.get("data", b""), bytes)
    outcome = await outcome_of(returning(value, annotation), "give", b"[]")
    assert outcome.attachments[0] == b"1"


@pytest.mark.parametrize("annotation", [Plain, dict[str, int], Album | Plain, dict[str, Any], None, Ellipsis])
async def test_results_without_binary_data_are_what_they_were(annotation: Any):
    value = None if annotation is None else {"count": 1}
    assert await acked(returning(value, annotation), "give") == {"ok": True, **(value or {})}


@pytest.mark.parametrize("annotation", [Plain, dict[str, int], dict[str, msgspec.Raw], None])
async def test_results_whose_type_holds_no_bytes_are_not_searched(annotation: Any, monkeypatch: pytest.MonkeyPatch):
    def search(_args: Any) -> Any:
        raise AssertionError("searched")

    monkeypatch.setattr("parley.framework.serving.event_result.extract", search)
    assert (await acked(returning({"count": 1}, annotation), "give"))["ok"]


async def test_json_in_a_result_of_any_kind_stays_as_it_is():
    value = {"raw": msgspec.Raw(b'{"a":[1,2]}'), "data": b"1"}
    outcome = await outcome_of(returning(value, dict[str, Any]), "give", b"[]")
    assert json.loads(outcome.payload)["raw"] == {"a": [1, 2]}


async def test_bytes_that_middleware_answers_with_are_binary_data_whatever_the_controller_returns():
    async def seal(context: Context[Any], call_next: Next) -> None:
        await call_next()
        context.result = {**context.result, "seal": b"wax"}

    ann = await FakeNamespace(returning({"count": 1}, dict[str, int], middleware=seal)).connect("ann")
    assert await ann.emit("give") == {"ok": True, "count": 1, "seal": b"wax"}


@pytest.mark.parametrize("value", [[1], "text", b"bytes", {"x": object()}])
async def test_what_is_no_object_is_internal(value: Any):
    assert await acked(returning(value, Any), "give") == "internal"


async def test_an_ack_may_be_awaited_and_need_not_be():
    ended: list[str] = []

    async def ignored(context: Context[None]) -> None:
        context.ack("ignored")
        ended.append("ignored")

    async def awaited(context: Context[None]) -> None:
        await context.ack("awaited", 2)
        ended.append("awaited")

    table: Router[None] = Router("/deep")
    table.route("ignored", ignored)
    table.route("awaited", awaited)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (await outcome_of(table, "ignored", b"[]")).payload == b'"ignored"'
        assert (await outcome_of(table, "awaited", b"[]")).payload == b'"awaited",2'
    assert ended == ["ignored", "awaited"]


# -- arguments and session ---------------------------------------------------------------------------------------------


async def test_what_middleware_changes_in_the_arguments_in_place_reaches_the_controller():
    async def change(context: Context[Any], call_next: Next) -> None:
        context.args[0]["amount"] = True
        context.args.append("more")
        await call_next()

    async def take(_context: Context[None], bid: dict[str, Any], note: str) -> dict[str, Any]:
        return {"bid": bid, "note": note}

    table: Router[None] = Router("/deep")
    table.route("take", take)
    table.use(change)
    assert await acked(table, "take", b'[{"amount":1}]') == {"ok": True, "bid": {"amount": True}, "note": "more"}


async def test_arguments_that_were_only_looked_at_reach_the_controller_as_they_came():
    async def look_at(context: Context[Any], call_next: Next) -> None:
        assert context.args == [{"n": 1.5, "s": "é"}]
        await call_next()
        assert context.encoded_args == (b'[ {"n": 15e-1, "s": "\\u00e9"} ]', ())

    table: Router[None] = Router("/deep")
    table.route("give", give_back)
    table.use(look_at)
    assert await acked(table, "give", b'[ {"n": 15e-1, "s": "\\u00e9"} ]') == {
        "ok": True,
        "value": {"n": 1.5, "s": "é"},
    }


async def test_data_that_becomes_too_large_is_refused_and_stays_as_it_was():
    async def keep(context: Context[None], text: str) -> None:
        context.data["text"] = text

    table: Router[None] = Router("/deep")
    table.route("keep", keep)
    ann = await FakeNamespace(table).connect("ann")
    assert await ann.emit("keep", "short") == {"ok": True}
    refused = await ann.emit("keep", "x" * 5_000)
    assert refused["error"]["code"] == "payload_too_large"
    assert "4096" in refused["error"]["message"]
    assert ann.data == {"text": "short"}


async def test_a_connection_whose_data_is_too_large_from_the_start_is_refused():
    async def keep(connection: ConnectionContext[None], call_next: Next) -> None:
        connection.data["text"] = "x" * 5_000
        await call_next()

    table: Router[None] = Router("/deep")
    table.use_connection(keep)
    with pytest.raises(Reject) as refused:
        await FakeNamespace(table).connect("ann")
    assert refused.value.code is Code.PAYLOAD_TOO_LARGE
