"""Middleware around events: inward in order, outward in reverse, and what it does not let through is not acked ok."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley.framework import Code, Context, Next, PacketMiddleware, Reject, Router
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.event_runner import EventRunner
from parley.framework.serving.invocation import Invocation
from tests.support.framework.invocations import invocation_of

Lines = list[str]


def noting(lines: Lines, name: str) -> PacketMiddleware:
    """Middleware that writes down when it is entered and when it is left."""

    async def note(_context: Context[Any], call_next: Next) -> None:
        lines.append(f"+{name}")
        try:
            await call_next()
        finally:
            lines.append(f"-{name}")

    return note


async def shut(_context: Context[Any], _call_next: Next) -> None:
    """Let nothing through, and say nothing of it."""


class Table(Router[None]):
    """A table with `say`, which says what it was given, and middleware around it."""

    def __init__(self, *middleware: PacketMiddleware) -> None:
        super().__init__("/chat")
        self.said: Lines = []
        self.route("say", self.say)
        self.route("fail", self.fail)
        self.use(*middleware)

    async def say(self, context: Context[None], text: str) -> dict[str, str]:
        self.said.append(text)
        return {"said": text}

    async def fail(self, _context: Context[None], _text: str = "") -> None:
        raise Reject(Code.ALREADY_EXISTS, "no")

    async def handle(self, event: str, *args: Any) -> Any:
        """What an event is answered: the JSON arguments of its ack."""
        outcome = await self.outcome(event, *args)
        (answer,) = json.loads(b"[" + outcome.payload + b"]")
        assert answer["ok"] is outcome.ok
        return answer

    async def outcome(self, event: str, *args: Any) -> EventResult:
        """What becomes of an event."""
        return await EventRunner(self).handle(invocation_of(event, json.dumps(args).encode()))


async def refused(table: Table, event: str, *args: Any) -> str:
    """The code with which an event is refused."""
    return (await table.handle(event, *args))["error"]["code"]


# -- order -------------------------------------------------------------------------------------------------------------


async def test_middleware_runs_inward_in_order_and_outward_in_reverse():
    lines: Lines = []
    table = Table(noting(lines, "a"), noting(lines, "b"))
    table.use(noting(lines, "c"))
    assert await table.handle("say", "x") == {"ok": True, "said": "x"}
    assert lines == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_it_surrounds_every_event_anew():
    lines: Lines = []
    table = Table(noting(lines, "a"))
    for text in "xyz":
        await table.handle("say", text)
    assert (table.said, lines) == (["x", "y", "z"], ["+a", "-a"] * 3)


async def test_what_is_inside_fails_through_what_is_outside():
    lines: Lines = []
    table = Table(noting(lines, "a"), noting(lines, "b"))
    assert await refused(table, "fail") == "already_exists"
    assert await refused(table, "say", 1) == "invalid_payload"
    assert await refused(table, "unrouted") == "unknown_event"
    assert lines == ["+a", "+b", "-b", "-a"] * 3


async def test_it_may_make_something_else_of_a_failure():
    async def forgiving(context: Context[Any], call_next: Next) -> None:
        try:
            await call_next()
        except Reject as rejection:
            context.result = {"was": str(rejection.code)}

    assert await Table(forgiving).handle("fail") == {"ok": True, "was": "already_exists"}


# -- stopping ----------------------------------------------------------------------------------------------------------


async def test_it_stops_an_event_with_an_error_that_the_client_sees():
    lines: Lines = []

    async def only_short(context: Context[Any], call_next: Next) -> None:
        if len(context.args[0]) > 3:
            raise Reject(Code.LIMIT_EXCEEDED, "too long", data={"most": 3})
        await call_next()

    table = Table(noting(lines, "outer"), only_short, noting(lines, "inner"))
    assert await table.handle("say", "long text") == {
        "ok": False,
        "error": {"code": "limit_exceeded", "message": "too long", "retryable": False, "data": {"most": 3}},
    }
    assert (table.said, lines) == ([], ["+outer", "-outer"])
    assert await table.handle("say", "abc") == {"ok": True, "said": "abc"}


async def test_a_crash_in_it_tells_the_client_nothing():
    async def crash(_context: Context[Any], _call_next: Next) -> None:
        raise RuntimeError("the password is hunter2")

    outcome = await Table(crash).outcome("say", "x")
    assert json.loads(outcome.payload)["error"]["code"] == "internal"
    assert b"hunter2" not in outcome.payload


async def test_what_is_not_let_through_is_forbidden_whether_it_is_routed_or_not():
    table = Table(shut)
    for event in ("say", "unrouted"):
        answer = await table.handle(event, "x")
        assert answer["error"]["code"] == "forbidden"
        assert event in answer["error"]["message"]
    assert table.said == []


# -- answering ---------------------------------------------------------------------------------------------------------


async def test_it_may_answer_in_the_controllers_place():
    async def cached(context: Context[Any], _call_next: Next) -> None:
        context.result = {"said": "cached"}

    table = Table(cached)
    assert await table.handle("say", "x") == {"ok": True, "said": "cached"}
    assert table.said == []


async def test_it_may_answer_as_socketio_does():
    async def pong(context: Context[Any], _call_next: Next) -> None:
        context.ack("pong", 1)

    assert await Table(pong).outcome("unrouted") == EventResult(b'"pong",1', True)


async def test_it_may_add_to_the_controllers_result():
    async def signed(context: Context[Any], call_next: Next) -> None:
        await call_next()
        context.result |= {"by": context.identity.user_id}

    assert await Table(signed).handle("say", "x") == {"ok": True, "said": "x", "by": "u_ann"}


async def test_an_event_that_nothing_handles_is_let_through_at_once_and_may_be_answered_by_what_is_around():
    seen: list[bool] = []

    async def catch_all(context: Context[Any], call_next: Next) -> None:
        await call_next()
        seen.append(isinstance(context, Invocation) and context.let_through)
        if context.event not in {"say", "fail", "really unknown"}:
            context.result = {"event": context.event}

    table = Table(catch_all)
    assert await table.handle("anything", 1, 2) == {"ok": True, "event": "anything"}
    assert await refused(table, "really unknown") == "unknown_event"
    assert seen == [True, True]


@pytest.mark.parametrize("event", ["", "Say", "say ", "message.send", "x" * 100_000, "__init__"])
async def test_an_unknown_event_is_refused_with_a_short_text(event: str):
    answer = await Table().handle(event)
    assert answer["error"]["code"] == "unknown_event"
    assert len(answer["error"]["message"]) < 200


# -- replacing ---------------------------------------------------------------------------------------------------------


async def test_it_may_replace_the_arguments_and_the_event():
    async def translate(context: Context[Any], call_next: Next) -> None:
        if context.event == "speak":
            context.event, context.args = "say", [context.args[0]["text"].upper()]
        await call_next()

    table = Table(translate)
    assert await table.handle("speak", {"text": "hello"}) == {"ok": True, "said": "HELLO"}
    assert await table.handle("say", "as it is") == {"ok": True, "said": "as it is"}


async def test_replaced_arguments_are_checked_like_those_of_a_client():
    async def spoil(context: Context[Any], call_next: Next) -> None:
        context.args = [1]
        await call_next()

    assert await refused(Table(spoil), "say", "x") == "invalid_payload"


async def test_it_sees_what_was_replaced_outside_of_it():
    seen: list[list[Any]] = []

    async def replace(context: Context[Any], call_next: Next) -> None:
        assert context.args == ["x"]
        context.args = ["y"]
        await call_next()

    async def look(context: Context[Any], call_next: Next) -> None:
        seen.append(context.args)
        await call_next()

    assert await Table(replace, look).handle("say", "x") == {"ok": True, "said": "y"}
    assert seen == [["y"]]


# -- once --------------------------------------------------------------------------------------------------------------


async def test_calling_the_next_twice_is_a_mistake_and_the_controller_runs_once():
    caught: list[str] = []

    async def twice(_context: Context[Any], call_next: Next) -> None:
        await call_next()
        try:
            await call_next()
        except RuntimeError as error:
            caught.append(str(error))
            raise

    table = Table(twice)
    assert await refused(table, "say", "x") == "internal"
    assert (table.said, caught) == (["x"], ["call_next was called twice"])


async def test_an_event_is_answered_once():
    async def eager(context: Context[Any], call_next: Next) -> None:
        context.ack("first")
        with pytest.raises(RuntimeError, match="say was answered already"):
            context.ack("second")
        await call_next()

    assert await Table(eager).outcome("say", "x") == EventResult(b'"first"', True)


# -- lifecycle ---------------------------------------------------------------------------------------------------------


async def test_the_events_of_a_connections_life_pass_no_middleware():
    lives: Lines = []
    table = Table(shut)

    async def connect(_context: Context[None], recovered: bool) -> None:
        lives.append(f"connect {recovered}")

    async def disconnect(_context: Context[None], reason: str, rooms: list[str]) -> None:
        lives.append(f"disconnect {reason} {rooms}")

    table.route("connect", connect)
    table.route("disconnect", disconnect)
    assert await table.handle("connect", False) == {"ok": True}
    assert await table.handle("disconnect", "transport close", ["r"]) == {"ok": True}
    assert lives == ["connect False", "disconnect transport close ['r']"]
