"""A service that runs: commands in their order, acks gathered per tick, and no command fails its neighbours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from parley.common.wire import subjects
from parley.common.wire.commands import ConnectionCommands
from parley.framework import Code, Context, Reject, Router
from parley.framework.serving import dispatcher
from parley.framework.serving.dispatcher import MAX_ACK_BYTES
from tests.support.framework.calling import ANN, Book, Caller, Say, running_service
from tests.support.waiting import until


async def say(context: Context[Book], payload: Say) -> dict[str, str]:
    """Write down when it starts and when it ends."""
    book = context.state
    book.lines.append(f"+{payload.text}")
    if (gate := book.gates.get(payload.text)) is not None:
        await gate.wait()
    book.lines.append(f"-{payload.text}")
    return {"said": payload.text}


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def router(nats_url: str, caller: Caller, namespace: str, book: Book) -> AsyncIterator[Router[Book]]:
    """The routing table of a running service; routes may be added."""
    table: Router[Book] = Router(namespace)
    table.route("say", say)
    table.route("fast", say, pipelined=True)
    async with running_service(nats_url, table, state=book):
        yield table


# -- outcomes ----------------------------------------------------------------------------------------------------------


async def test_each_command_is_acked_under_its_tag_with_the_controllers_result(router: Router[Book], caller: Caller):
    await caller.send(caller.says("a", "b"), caller.says("c"))
    assert await caller.acked(3) == [{"ok": True, "said": text} for text in "abc"]


async def test_a_controller_knows_who_sent_what_from_where(
    router: Router[Book], caller: Caller, book: Book, namespace: str
):
    seen: list[Context[Book]] = []

    async def look(context: Context[Book], _payload: dict[str, Any]) -> None:
        seen.append(context)

    router.route("look", look)
    talk = caller.conversation(("look", {}))
    await caller.send(talk)
    assert await caller.acked(1) == [{"ok": True}]
    (context,) = seen
    assert (context.namespace, context.event, context.args) == (namespace, "look", [{}])
    assert (context.identity, context.sid, context.gateway) == (ANN, talk.sid, caller.gateway)
    assert context.correlation == talk.commands[0].correlation
    assert context.state is book


async def test_an_unknown_event_a_bad_payload_and_a_rejection_are_acked_with_their_codes(
    router: Router[Book], caller: Caller
):
    async def refuse(_context: Context[Book], _payload: Any) -> None:
        raise Reject(Code.FORBIDDEN, "not you")

    router.route("refuse", refuse, payload=dict)
    await caller.send(
        caller.conversation(("nonsense", {}), ("say", {"text": 1}), ("refuse", {}), ("say", {"text": "x"}))
    )
    *rejections, accepted = await caller.acked(4)
    assert [body["error"]["code"] for body in rejections] == ["unknown_event", "invalid_payload", "forbidden"]
    assert rejections[2]["error"] == {"code": "forbidden", "message": "not you", "retryable": False}
    assert accepted == {"ok": True, "said": "x"}


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_controller_that_crashes_is_acked_internal_tells_nothing_and_its_neighbours_go_on(
    router: Router[Book], caller: Caller, pipelined: bool
):
    async def crash(_context: Context[Book], _payload: Any) -> None:
        raise RuntimeError("the password is hunter2")

    async def return_a_list(_context: Context[Book], _payload: Any) -> list[int]:
        return [1]

    router.route("crash", crash, payload=dict, pipelined=pipelined)
    router.route("list", return_a_list, payload=dict, pipelined=pipelined)
    await caller.send(
        caller.conversation(("crash", {}), ("list", {}), ("say", {"text": "on"})), caller.says("neighbour")
    )
    crashed, listed, *others = await caller.acked(4)
    assert crashed["error"]["code"] == listed["error"]["code"] == "internal"
    assert "hunter2" not in json.dumps(crashed)
    assert others == [{"ok": True, "said": "on"}, {"ok": True, "said": "neighbour"}]


async def test_a_message_that_is_no_batch_stops_nothing(router: Router[Book], caller: Caller):
    await caller.bus.publish(subjects.commands(caller.namespace), b"\xc1")
    await caller.send(caller.says("still here"))
    assert await caller.acked(1) == [{"ok": True, "said": "still here"}]


# -- order -------------------------------------------------------------------------------------------------------------


async def test_a_connections_commands_run_one_after_the_other(router: Router[Book], caller: Caller, book: Book):
    gate = book.hold("a")
    await caller.send(caller.says("a", "b", "c"), caller.says("probe"))
    await until(lambda: "-probe" in book.lines)
    assert [line for line in book.lines if "probe" not in line] == ["+a"]
    gate.set()
    await caller.acked(4)
    assert [line for line in book.lines if "probe" not in line] == ["+a", "-a", "+b", "-b", "+c", "-c"]


async def test_pipelined_commands_overlap_and_start_in_the_order_sent(router: Router[Book], caller: Caller, book: Book):
    texts = [str(n) for n in range(20)]
    gates = [book.hold(text) for text in texts]
    await caller.send(caller.says(*texts, event="fast"))
    await until(lambda: len(book.lines) == 20)
    assert book.lines == [f"+{text}" for text in texts]
    gates[7].set()
    assert await caller.acked(1) == [{"ok": True, "said": "7"}], "acked as soon as it has ended"
    for gate in gates:
        gate.set()
    await caller.acked(20)


async def test_a_command_that_is_not_pipelined_waits_for_those_before_it_and_holds_those_after(
    router: Router[Book], caller: Caller, book: Book
):
    gates = {text: book.hold(text) for text in ("a", "b", "slow")}
    fast, slow = caller.says("a", "b", event="fast"), caller.says("slow")
    later = caller.says("c", "d", event="fast")
    await caller.send(ConnectionCommands("sid", ANN, [*fast.commands, *slow.commands, *later.commands]))
    await until(lambda: len(book.lines) == 2)
    gates["a"].set()
    await caller.acked(1)
    assert book.lines == ["+a", "+b", "-a"], "one of those before it has not ended"
    gates["b"].set()
    await until(lambda: "+slow" in book.lines)
    await caller.acked(2)
    assert book.lines == ["+a", "+b", "-a", "-b", "+slow"]
    gates["slow"].set()
    await caller.acked(5)
    assert book.lines[5:] == ["-slow", "+c", "-c", "+d", "-d"]


async def test_connections_do_not_wait_for_each_other(router: Router[Book], caller: Caller, book: Book):
    gate = book.hold("stuck")
    await caller.send(caller.says("stuck"), *(caller.says(str(n)) for n in range(10)))
    await caller.send(caller.says("another batch"))
    assert [body["said"] for body in await caller.acked(11)] == [*(str(n) for n in range(10)), "another batch"]
    gate.set()
    await caller.acked(12)


# -- acks --------------------------------------------------------------------------------------------------------------


async def test_the_acks_of_one_tick_go_in_one_message(router: Router[Book], caller: Caller):
    await caller.send(*(caller.says(str(n)) for n in range(200)))
    await caller.acked(200)
    assert len(caller.messages) == 1


async def test_acks_of_different_gateways_go_each_to_its_own(router: Router[Book], caller: Caller, namespace: str):
    other = Caller(caller.bus, namespace)
    await other.start()
    await caller.send(caller.says("mine"))
    await other.send(other.says("theirs"))
    assert await caller.acked(1) == [{"ok": True, "said": "mine"}]
    assert await other.acked(1) == [{"ok": True, "said": "theirs"}]


async def test_acks_are_cut_below_the_brokers_limit_and_all_arrive(router: Router[Book], caller: Caller):
    async def big(_context: Context[Book], _payload: Any) -> dict[str, str]:
        return {"text": "x" * 200_000}

    router.route("big", big, payload=dict)
    await caller.send(*(caller.conversation(("big", {})) for _ in range(12)))
    await caller.acked(12)
    assert 1 < len(caller.messages) <= 6
    assert max(caller.sizes) <= MAX_ACK_BYTES + 1024


async def test_an_outcome_too_large_for_the_broker_is_a_failure_of_its_own_and_loses_no_others(
    router: Router[Book], caller: Caller
):
    async def huge(_context: Context[Book], _payload: Any) -> dict[str, str]:
        return {"text": "x" * (caller.bus.max_payload + 1)}

    router.route("huge", huge, payload=dict)
    await caller.send(caller.says("before"), caller.conversation(("huge", {})), caller.says("after"))
    before, failed, after = await caller.acked(3)
    assert (before, after) == ({"ok": True, "said": "before"}, {"ok": True, "said": "after"})
    assert failed["error"]["code"] == "internal"


async def test_acks_that_carry_much_data_all_arrive_and_so_do_those_of_another_gateway(
    router: Router[Book], caller: Caller, namespace: str
):
    async def login(context: Context[Book], _payload: Any) -> None:
        context.data["profile"] = "x" * 4000

    router.route("login", login, payload=dict)
    other = Caller(caller.bus, namespace)
    await other.start()
    await caller.send(*(caller.conversation(("login", {})) for _ in range(300)))
    await other.send(*(other.says("hi") for _ in range(5)))
    await caller.acked(300)
    await other.acked(5)
    assert all(ack.data_changes is not None for message in caller.messages for ack in message.acks)
    assert max(caller.sizes) <= MAX_ACK_BYTES


@pytest.mark.parametrize("kept", ["x" * 5000, 2**70], ids=["too large", "no MessagePack"])
async def test_who_refuses_and_left_in_the_data_what_cannot_be_kept_is_acked_and_so_is_what_follows(
    router: Router[Book], caller: Caller, kept: Any
):
    async def greedy(context: Context[Book], _payload: Any) -> None:
        context.data["kept"] = kept
        raise Reject(Code.FORBIDDEN)

    router.route("greedy", greedy, payload=dict)
    await caller.send(
        caller.conversation(("greedy", {}), ("say", {"text": "after"})), caller.conversation(("greedy", {}))
    )
    refused, followed, alone = await caller.acked(3)
    assert refused["error"]["code"] == alone["error"]["code"] == "forbidden"
    assert followed["said"] == "after"
    assert all(ack.data_changes is None for message in caller.messages for ack in message.acks)


# -- load --------------------------------------------------------------------------------------------------------------


async def test_beyond_a_bound_of_commands_in_hand_the_sender_is_told_overloaded_until_there_is_room(
    router: Router[Book], caller: Caller, book: Book, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher, "MAX_PENDING", 3)
    gate = book.hold("stuck")
    await caller.send(caller.says("stuck", "x", "y"), caller.says("too much", "and this"))
    refused = await caller.acked(2)
    assert [body["error"]["code"] for body in refused] == ["overloaded", "overloaded"]
    assert refused[0]["error"]["retryable"] is True
    gate.set()
    await caller.acked(5)
    await caller.send(caller.says("room again"))
    assert (await caller.acked(6))[-1] == {"ok": True, "said": "room again"}


async def test_beyond_a_bound_of_bytes_in_hand_the_sender_is_told_overloaded_until_there_is_room(
    router: Router[Book], caller: Caller, book: Book, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher, "MAX_PENDING_BYTES", 10_000)
    gate = book.hold("x" * 6000)
    await caller.send(caller.says("x" * 6000))
    await caller.send(caller.says("y" * 6000), caller.says("small"))
    await caller.acked(2)
    assert [body["ok"] for body in await caller.acked(2)] == [False, True]
    gate.set()
    await caller.acked(3)
    await caller.send(caller.says("z" * 9000))
    assert (await caller.acked(4))[-1] == {"ok": True, "said": "z" * 9000}


async def test_two_replicas_in_one_queue_group_share_the_batches(nats_url: str, caller: Caller, namespace: str):
    handled: tuple[list[str], list[str]] = ([], [])

    async def note(context: Context[list[str]], payload: Say) -> None:
        context.state.append(payload.text)

    table: Router[list[str]] = Router(namespace)
    table.route("say", note)
    async with (
        running_service(nats_url, table, state=handled[0]),
        running_service(nats_url, table, state=handled[1]),
    ):
        for number in range(60):
            await caller.send(caller.says(str(number)))
        await caller.acked(60)
    assert sorted(map(int, [*handled[0], *handled[1]])) == list(range(60)), "each command was handled once"
    assert all(handled)


async def test_what_is_in_hand_when_a_service_stops_may_end(nats_url: str, caller: Caller, namespace: str, book: Book):
    table: Router[Book] = Router(namespace)
    table.route("say", say)
    gate = book.hold("in hand")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_service(nats_url, table, state=book))
        await caller.send(caller.says("in hand", "next"))
        await until(lambda: "+in hand" in book.lines)
        closing = asyncio.create_task(stack.aclose())
        await caller.deserted()
        await caller.send(caller.says("too late"))
        assert not closing.done(), "it waits"
        gate.set()
        await closing
    assert await caller.acked(2) == [{"ok": True, "said": "in hand"}, {"ok": True, "said": "next"}]


async def test_what_does_not_end_in_time_when_a_service_stops_is_cancelled(
    nats_url: str, caller: Caller, namespace: str, book: Book, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher, "FINISH_SECONDS", 0.1)
    table: Router[Book] = Router(namespace)
    table.route("say", say)
    book.hold("stuck")
    async with asyncio.timeout(5), running_service(nats_url, table, state=book):
        await caller.send(caller.says("stuck"))
        await until(lambda: book.lines)
    assert book.lines == ["+stuck"]
    assert caller.acks == {}
