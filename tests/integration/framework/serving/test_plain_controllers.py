"""Plain controllers: what they return is acked, at once or when their future is done, and no task is held for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from parley.common.process.logs import CORRELATION
from parley.framework import Code, Context, Next, Reject, Router, on
from parley.framework.serving import dispatcher, event_runner
from tests.support.framework.calling import Caller, Say, running_service
from tests.support.waiting import until

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Said(msgspec.Struct):
    said: str


class Desk:
    """Futures of what was asked for, by text, in the order in which it was."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.counts: defaultdict[str, int] = defaultdict(int)

    def ask(self, text: str) -> asyncio.Future[Any]:
        """Have something decided later."""
        return self.waiting.setdefault(text, asyncio.get_running_loop().create_future())

    def decide(self, text: str, outcome: Any = None) -> None:
        """Decide it."""
        if isinstance(outcome, BaseException):
            self.waiting[text].set_exception(outcome)
        else:
            self.waiting[text].set_result(Said(text) if outcome is None else outcome)


def later(context: Context[Desk], payload: Say) -> asyncio.Future[Said]:
    """Answer when the desk has decided."""
    return context.state.ask(payload.text)


def at_once(context: Context[Desk], payload: Say) -> Said:
    """Answer what was said."""
    context.state.counts[payload.text] += 1
    return Said(payload.text)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def router(nats_url: str, caller: Caller, namespace: str, desk: Desk) -> AsyncIterator[Router[Desk]]:
    """The routing table of a running service; routes may be added."""
    table: Router[Desk] = Router(namespace)
    table.route("say", at_once)
    table.route("later", later)
    table.route("fast", later, pipelined=True)
    async with running_service(nats_url, table, state=desk):
        yield table


async def test_what_is_returned_and_what_a_future_resolves_to_are_acked_alike(
    router: Router[Desk], caller: Caller, desk: Desk
):
    await caller.send(caller.says("a"), caller.says("b", event="later"), caller.says("c"))
    await until(lambda: desk.waiting)
    assert len(await caller.acked(2)) == 2, "who is answered at once waits for nobody"
    desk.decide("b")
    assert await caller.acked(3) == [{"ok": True, "said": text} for text in "abc"]


async def test_no_task_is_held_while_a_future_is_waited_for(router: Router[Desk], caller: Caller, desk: Desk):
    before = len(asyncio.all_tasks())
    texts = [str(number) for number in range(50)]
    await caller.send(*(caller.says(text, event="later") for text in texts))
    await until(lambda: len(desk.waiting) == 50)
    assert len(asyncio.all_tasks()) <= before
    for text in texts:
        desk.decide(text)
    assert [answer["said"] for answer in await caller.acked(50)] == texts


async def test_others_have_a_turn_while_the_connections_of_one_message_are_begun(
    router: Router[Desk], caller: Caller, desk: Desk
):
    turns: list[int] = []

    def note_turn(_context: Context[Desk], payload: Say) -> None:
        if payload.text == "0":
            asyncio.get_running_loop().call_soon(lambda: turns.append(desk.counts["begun"]))
        desk.counts["begun"] += 1

    router.route("note", note_turn)
    number = 3 * dispatcher.STARTED_AT_ONCE
    await caller.send(*(caller.says(str(n), event="note") for n in range(number)))
    assert len(await caller.acked(number)) == number
    assert turns == [dispatcher.STARTED_AT_ONCE]


async def test_what_a_future_fails_with_becomes_its_code_and_its_neighbours_go_on(
    router: Router[Desk], caller: Caller, desk: Desk
):
    await caller.send(*(caller.says(text, event="later") for text in ("no", "crash", "gone", "yes")))
    await until(lambda: len(desk.waiting) == 4)
    with capture_logs() as logged:
        desk.decide("no", Reject(Code.FORBIDDEN))
        desk.decide("crash", RuntimeError("a mistake"))
        desk.waiting["gone"].cancel()
        desk.decide("yes")
        refused, crashed, cancelled, accepted = await caller.acked(4)
    assert [answer["error"]["code"] for answer in (refused, crashed, cancelled)] == [
        "forbidden",
        "internal",
        "internal",
    ]
    assert accepted == {"ok": True, "said": "yes"}
    assert [line["exc_info"] for line in logged if line["event"] == "controller failed"] == [True, True]


async def test_what_a_plain_controller_raises_and_what_it_cannot_read_is_acked_with_a_code(
    router: Router[Desk], caller: Caller, desk: Desk
):
    def refuse(_context: Context[Desk], payload: Say) -> None:
        if payload.text == "crash":
            raise RuntimeError("a mistake")
        if payload.text == "cancelled":
            raise asyncio.CancelledError
        raise Reject(Code.FORBIDDEN)

    router.route("refuse", refuse)
    with capture_logs():
        await caller.send(
            caller.says("no", event="refuse"), caller.says("crash", event="refuse"),
            caller.says("cancelled", event="refuse"), caller.conversation(("refuse", 1)), caller.says("after"),
        )  # fmt: skip
        answers = await caller.acked(5)
    assert [answer["error"]["code"] for answer in answers[:4]] == [
        "forbidden", "internal", "internal", "invalid_payload",
    ]  # fmt: skip
    assert answers[4] == {"ok": True, "said": "after"}


async def test_pipelined_ones_start_in_the_order_sent_and_others_wait_for_what_is_before_them(
    router: Router[Desk], caller: Caller, desk: Desk
):
    talk = caller.conversation(
        *(("fast", {"text": text}) for text in "12"), ("later", {"text": "3"}), ("say", {"text": "4"})
    )
    await caller.send(talk)
    await until(lambda: len(desk.waiting) == 2)
    desk.decide("2")
    await caller.acked(1)
    assert list(desk.waiting) == ["1", "2"], "the third waits for the first"
    desk.decide("1")
    await until(lambda: len(desk.waiting) == 3)
    assert not desk.counts
    desk.decide("3")
    assert [answer["said"] for answer in await caller.acked(4)] == ["1", "2", "3", "4"]


async def test_one_that_takes_too_long_is_cancelled_told_timeout_and_its_place_is_free(
    router: Router[Desk], caller: Caller, desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_runner, "SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(dispatcher, "MAX_PENDING", 2)
    router.route("short", later, timeout=0.1)
    await caller.send(caller.says("a", event="short"), caller.says("b", event="later"), caller.says("too much"))
    with capture_logs() as logged:
        refused, late = sorted(answer["error"]["code"] for answer in await caller.acked(2))
    assert (refused, late) == ("overloaded", "timeout")
    assert desk.waiting["a"].cancelled()
    assert [line["seconds"] for line in logged if line["event"] == "controller took too long and was cancelled"] == [
        0.1
    ]
    await caller.send(caller.says("room again"))
    assert (await caller.acked(3))[-1] == {"ok": True, "said": "room again"}
    desk.decide("b")
    await caller.acked(4)


async def test_a_future_that_several_events_wait_for_answers_them_all(router: Router[Desk], caller: Caller, desk: Desk):
    await caller.send(*(caller.says("same", event="later") for _ in range(3)))
    await until(lambda: desk.waiting)
    desk.decide("same")
    assert await caller.acked(3) == [{"ok": True, "said": "same"}] * 3


async def test_what_it_does_to_the_data_its_context_and_the_correlation_is_its_connections_own(
    router: Router[Desk], caller: Caller, desk: Desk
):
    seen: list[tuple[str, str]] = []

    def mark(context: Context[Desk], payload: Say) -> asyncio.Future[Said]:
        context.data["text"] = payload.text
        seen.append((WHO.get(), CORRELATION.get()))
        WHO.set(payload.text)
        decided = context.state.ask(payload.text)
        decided.add_done_callback(lambda _: seen.append((WHO.get(), CORRELATION.get())))
        return decided

    router.route("mark", mark)
    talks = [caller.says(text, event="mark") for text in "ab"]
    await caller.send(*talks)
    await until(lambda: len(desk.waiting) == 2)
    correlations = [talk.commands[0].correlation for talk in talks]
    assert seen == [("nobody", correlation) for correlation in correlations]
    desk.decide("a")
    desk.decide("b")
    await caller.acked(2)
    assert seen[2:] == list(zip("ab", correlations, strict=True))
    assert all(ack.data_changes is not None for message in caller.messages for ack in message.acks)


async def test_acks_of_futures_that_one_turn_resolves_go_in_one_message(
    router: Router[Desk], caller: Caller, desk: Desk
):
    texts = [str(number) for number in range(100)]
    await caller.send(*(caller.says(text, event="later") for text in texts))
    await until(lambda: len(desk.waiting) == 100)
    for text in texts:
        desk.decide(text)
    await caller.acked(100)
    assert len(caller.messages) == 1


@pytest.mark.parametrize("tells", [False, True], ids=["", "with an error controller"])
async def test_middleware_and_the_error_controller_surround_it_as_they_do_any_other(
    nats_url: str, caller: Caller, namespace: str, desk: Desk, *, tells: bool
):
    told: list[str] = []

    async def count(context: Context[Desk], call_next: Next) -> None:
        await call_next()
        told.append(context.result.said)

    def failed(_context: Context[Desk], failure: dict[str, Any]) -> None:
        told.append(failure["code"])

    table: Router[Desk] = Router(namespace)
    table.route("say", at_once)
    table.route("later", later)
    if tells:
        table.route("error", failed)
    table.use(count)
    async with running_service(nats_url, table, state=desk):
        await caller.send(caller.says("a"), caller.says("b", event="later"), caller.says("c", event="later"))
        await until(lambda: len(desk.waiting) == 2)
        desk.decide("b")
        desk.decide("c", Reject(Code.FORBIDDEN))
        answers = await caller.acked(3)
        expected = ["a", "b", "forbidden"] if tells else ["a", "b"]
        await until(lambda: sorted(told) == expected)
    assert [answer["ok"] for answer in answers] == [True, True, False]


async def test_an_async_controller_may_return_a_future_and_a_method_may_be_plain(
    nats_url: str, caller: Caller, namespace: str, desk: Desk
):
    class Talk:
        def __init__(self, context: Context[Desk]) -> None:
            self.context = context

        @on("plain")
        def plain(self, payload: Say) -> Said:
            return Said(payload.text)

        @on("async")
        async def waits(self, payload: Say) -> asyncio.Future[Said]:
            return self.context.state.ask(payload.text)

        @on("coroutine")
        def coroutine(self, payload: Say) -> Any:
            return self.waits(payload)

    table: Router[Desk] = Router(namespace)
    table.controllers(Talk)
    assert table.routes["async"].signature.returns is Said
    async with running_service(nats_url, table, state=desk):
        await caller.send(*(caller.says(event, event=event) for event in ("plain", "async", "coroutine")))
        await until(lambda: len(desk.waiting) == 2)
        desk.decide("async")
        desk.decide("coroutine")
        assert [answer["said"] for answer in await caller.acked(3)] == ["plain", "async", "coroutine"]


async def test_what_is_in_hand_when_a_service_stops_may_end_and_what_does_not_is_cancelled(
    nats_url: str, caller: Caller, namespace: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher, "FINISH_SECONDS", 0.3)
    table: Router[Desk] = Router(namespace)
    table.route("later", later)
    async with asyncio.timeout(5):
        async with running_service(nats_url, table, state=desk):
            await caller.send(caller.says("ends", event="later"), caller.says("stuck", event="later"))
            await until(lambda: len(desk.waiting) == 2)
            asyncio.get_running_loop().call_later(0.1, desk.decide, "ends")
        assert await caller.acked(1) == [{"ok": True, "said": "ends"}]
    assert desk.waiting["stuck"].cancelled()
