"""Requests and their answers: with codes, bounded, gathered into messages, and asked again while one stands still."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from parley.common.errors import Code, Reject
from parley.common.nats import requests
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.requests import Answer, Answers, Rejection, Request, Requests
from parley.common.wire.rooms import GetRoomHeads
from tests.support.bus import fresh, rejected, running_bus
from tests.support.waiting import until

ANN = Identity("u_ann", "Ann", ("admin",), 12.5)
TOKEN = Authenticate("token")


async def test_a_request_returns_what_the_responder_answers(bus: Bus, other: Bus):
    async def authenticate(request: Authenticate) -> Identity:
        return Identity(request.token, "Ann")

    async def forget(request: Authenticate) -> None:
        assert request == TOKEN

    who, nothing = fresh("who"), fresh("nothing")
    await other.respond(who, Authenticate, authenticate, queue="q")
    await other.respond(nothing, Authenticate, forget, queue="q")
    await other.flush()
    assert await bus.request(who, Authenticate("u_1"), Identity) == Identity("u_1", "Ann")
    await bus.call(nothing, TOKEN)


async def test_a_rejection_crosses_with_its_code_text_and_whether_to_retry(bus: Bus, other: Bus):
    async def refuse(_request: Authenticate) -> Identity:
        raise Reject(Code.BANNED, "until Monday", retryable=True)

    await other.respond(subject := fresh("s"), Authenticate, refuse, queue="q")
    await other.flush()
    rejection = await rejected(bus.request(subject, TOKEN, Identity))
    assert rejection.as_dict() == {"code": "banned", "message": "until Monday", "retryable": True}
    assert (await rejected(bus.call(subject, TOKEN))).code is Code.BANNED


async def test_a_code_of_a_newer_process_becomes_internal_and_keeps_its_text(bus: Bus, other: Bus):
    async def answer(message: Msg) -> None:
        await other.publish(message.reply, Answer(Rejection("brand_new", "from tomorrow", retryable=False)).encode())

    await other.subscribe(subject := fresh("s"), answer)
    await other.flush()
    rejection = await rejected(bus.call(subject, TOKEN))
    assert (rejection.code, rejection.message, rejection.retryable) == (Code.INTERNAL, "from tomorrow", False)


async def test_without_a_responder_a_request_is_unavailable_at_once(bus: Bus):
    began = time.monotonic()
    assert (await rejected(bus.request(fresh("nobody"), TOKEN, Identity, timeout=30))).code is Code.UNAVAILABLE
    assert time.monotonic() - began < 5


async def test_a_responder_that_does_not_answer_in_time_is_a_timeout(nats_url: str, other: Bus):
    async def wait(_request: Authenticate) -> None:
        await asyncio.Event().wait()

    await other.respond(subject := fresh("s"), Authenticate, wait, queue="q")
    await other.flush()
    async with running_bus(nats_url, request_timeout=0.1) as hasty:
        assert (await rejected(hasty.call(subject, TOKEN))).code is Code.TIMEOUT
    async with running_bus(nats_url, request_timeout=60) as patient:
        assert (await rejected(patient.call(subject, TOKEN, timeout=0.1))).code is Code.TIMEOUT


def inbox_for(bus: Bus, subject: str) -> str:
    """Where the answers to what is asked on a subject may go."""
    return subjects.inbox(bus.user, subjects.answerer_of(subject))


async def ask_raw(bus: Bus, subject: str, payload: bytes) -> Answer:
    """Send bytes as a request."""
    answers: list[Answer] = []

    async def receive(message: Msg) -> None:
        answers.append(decode(message.data, Answer))

    inbox = subjects.with_range(inbox_for(bus, subject), range(1, 2))
    subscription = await bus.subscribe(inbox, receive)
    await bus.publish(subject, payload, inbox)
    await until(lambda: answers)
    await subscription.unsubscribe()
    return answers[0]


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\xff\xff", b"\x90", GetRoomHeads(["r"]).encode()])
async def test_a_malformed_request_is_an_invalid_payload_and_never_reaches_the_handler(
    bus: Bus, other: Bus, payload: bytes
):
    handled: list[Authenticate] = []

    async def authenticate(request: Authenticate) -> None:
        handled.append(request)

    await other.respond(subject := fresh("s"), Authenticate, authenticate, queue="q")
    await other.flush()
    whole = (await ask_raw(bus, subject, payload)).failure
    heard: list[bytes] = []
    bus.listen(inbox := inbox_for(bus, subject), heard.append)
    await bus.publish(subject, Requests(inbox, [Request(7, payload)]).encode())
    await until(lambda: heard)
    [(tag, answer)] = decode(heard[0], Answers).answers
    assert tag == 7
    for failure in (whole, answer.failure):
        assert failure is not None
        assert (failure.code, failure.retryable) == ("invalid_payload", False)
    assert not handled


async def test_a_handler_that_crashes_answers_internal_tells_nothing_and_goes_on(bus: Bus, other: Bus):
    async def crash(request: Authenticate) -> Identity:
        if request.token == "bad":
            raise RuntimeError("the password is hunter2")
        return ANN

    await other.respond(subject := fresh("s"), Authenticate, crash, queue="q")
    await other.flush()
    rejection = await rejected(bus.request(subject, Authenticate("bad"), Identity))
    assert rejection.code is Code.INTERNAL
    assert "hunter2" not in rejection.message
    assert await bus.request(subject, TOKEN, Identity) == ANN


async def test_an_answer_too_large_for_the_broker_is_a_failure_and_not_a_silence(bus: Bus, other: Bus):
    async def too_much(_request: Authenticate) -> Identity:
        return Identity("u", "x" * (other.max_payload + 1))

    await other.respond(subject := fresh("s"), Authenticate, too_much, queue="q")
    await other.flush()
    assert (await rejected(bus.request(subject, TOKEN, Identity, timeout=1))).code is Code.INTERNAL


async def test_a_request_too_large_for_the_broker_is_rejected_with_a_code(bus: Bus):
    request = Authenticate("x" * (bus.max_payload + 1))
    assert (await rejected(bus.call(fresh("s"), request))).code is Code.PAYLOAD_TOO_LARGE


async def test_requests_are_handled_concurrently(bus: Bus, other: Bus):
    arrived = 0
    all_here = asyncio.Event()

    async def wait_for_the_others(_request: Authenticate) -> Identity:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            all_here.set()
        await all_here.wait()
        return ANN

    await other.respond(subject := fresh("s"), Authenticate, wait_for_the_others, queue="q")
    await other.flush()
    answers = await asyncio.gather(*(bus.request(subject, TOKEN, Identity) for _ in range(50)))
    assert answers == [ANN] * 50


async def test_beyond_a_bound_of_requests_in_hand_the_sender_is_told_overloaded(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "MAX_REQUESTS", 20)
    release = asyncio.Event()
    handling = 0

    async def wait(_request: Authenticate) -> None:
        nonlocal handling
        handling += 1
        await release.wait()

    await other.respond(subject := fresh("s"), Authenticate, wait, queue="q")
    await other.flush()
    calls = [asyncio.create_task(bus.call(subject, TOKEN)) for _ in range(30)]
    await until(lambda: sum(call.done() for call in calls) >= 10)
    assert 0 < handling <= 20
    release.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes.count(None) == handling
    assert {o.code for o in outcomes if isinstance(o, Reject)} == {Code.OVERLOADED}


async def test_what_is_in_hand_on_one_subject_keeps_nothing_from_another(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "MAX_REQUESTS", 5)

    async def wait(_request: Authenticate) -> None:
        await asyncio.Event().wait()

    async def answer(_request: Authenticate) -> Identity:
        return ANN

    busy, quick = fresh("busy"), fresh("quick")
    await other.respond(busy, Authenticate, wait, queue="q")
    await other.respond(quick, Authenticate, answer, queue="q")
    await other.flush()
    calls = [asyncio.create_task(bus.call(busy, TOKEN, timeout=5)) for _ in range(6)]
    await until(lambda: any(call.done() for call in calls))
    assert await bus.request(quick, TOKEN, Identity) == ANN
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_beyond_a_bound_of_bytes_in_hand_the_sender_is_told_overloaded(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "MAX_REQUEST_BYTES", 1000)
    release = asyncio.Event()

    async def wait(_request: Authenticate) -> None:
        await release.wait()

    await other.respond(subject := fresh("s"), Authenticate, wait, queue="q")
    await other.flush()
    calls = [asyncio.create_task(bus.call(subject, Authenticate("x" * 400))) for _ in range(3)]
    await until(lambda: any(call.done() for call in calls))
    release.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == [None, None, Code.OVERLOADED]
    await bus.call(subject, Authenticate("x" * 400))  # there is room again


async def test_a_handler_that_hangs_is_given_up_on_and_its_place_is_free_whatever_it_makes_of_that(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "HANDLER_SECONDS", 0.1)
    monkeypatch.setattr(requests, "MAX_REQUESTS", 1)
    release = asyncio.Event()

    async def handle(request: Authenticate) -> Identity:
        while request.token == "hang" and not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        return ANN

    await other.respond(subject := fresh("s"), Authenticate, handle, queue="q")
    await other.flush()
    with capture_logs() as logged:
        assert (await rejected(bus.request(subject, Authenticate("hang"), Identity, timeout=5))).code is Code.TIMEOUT
    assert [line["event"] for line in logged] == ["requests took too long"]
    assert await bus.request(subject, TOKEN, Identity) == ANN
    release.set()


async def test_a_request_that_wants_no_answer_gets_none_beyond_the_bound_either(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    handled: list[str] = []

    async def handle(request: Authenticate) -> None:
        handled.append(request.token)

    await other.respond(subject := fresh("s"), Authenticate, handle, queue="q")
    await other.flush()
    with capture_logs() as logged:
        await bus.publish(subject, TOKEN.encode())
        monkeypatch.setattr(requests, "MAX_REQUESTS", 0)
        assert (await rejected(bus.call(subject, TOKEN))).code is Code.OVERLOADED
    assert not handled
    assert not logged


async def test_requests_of_one_tick_travel_as_one_message_and_so_do_their_answers(bus: Bus, other: Bus):
    seen: list[bytes] = []
    answers: list[bytes] = []

    async def see(message: Msg) -> None:
        seen.append(message.data)

    async def twice(request: Authenticate) -> Identity:
        if request.token == "7":
            raise Reject(Code.BANNED)
        return Identity(request.token, request.token * 2)

    await other.subscribe(subject := fresh("s"), see)
    await other.respond(subject, Authenticate, twice, queue="q")
    await other.flush()
    await bus.request(subject, Authenticate("first"), Identity)
    await until(lambda: seen)
    bus.listen(decode(seen[0], Requests).inbox, answers.append)
    await bus.flush()
    outcomes = await asyncio.gather(
        *(bus.request(subject, Authenticate(str(n)), Identity) for n in range(50)), return_exceptions=True
    )
    assert isinstance(refused := outcomes.pop(7), Reject)
    assert refused.code is Code.BANNED
    assert outcomes == [Identity(str(n), str(n) * 2) for n in range(50) if n != 7]
    await until(lambda: len(seen) == 2 and len(answers) == 1)
    assert len(decode(seen[1], Requests).requests) == 50
    assert len(decode(answers[0], Answers).answers) == 50


async def test_requests_that_come_soon_after_others_wait_for_more_and_travel_together(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "PAUSE_EACH", 0.2)
    monkeypatch.setattr(requests, "MAX_PAUSE", 0.2)
    together: list[int] = []

    async def see(message: Msg) -> None:
        together.append(len(decode(message.data, Requests).requests))

    async def answer(_request: Authenticate) -> Identity:
        return ANN

    await other.subscribe(subject := fresh("s"), see)
    await other.respond(subject, Authenticate, answer, queue="q")
    await other.flush()
    began = time.monotonic()
    assert await bus.request(subject, TOKEN, Identity) == ANN
    assert time.monotonic() - began < 0.2, "the first goes at once"
    waiting = [asyncio.create_task(bus.request(subject, TOKEN, Identity))]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(bus.request(subject, TOKEN, Identity)))
    assert await asyncio.gather(*waiting) == [ANN, ANN]
    assert together == [1, 2]


async def test_a_slow_request_holds_up_none_that_travelled_with_it(bus: Bus, other: Bus):
    release = asyncio.Event()

    async def handle(request: Authenticate) -> None:
        if request.token == "slow":
            await release.wait()

    await other.respond(subject := fresh("s"), Authenticate, handle, queue="q")
    await other.flush()
    slow, quick = (asyncio.create_task(bus.call(subject, Authenticate(token))) for token in ("slow", "quick"))
    await asyncio.wait_for(quick, 5)
    assert not slow.done()
    release.set()
    await slow


async def test_requests_and_answers_larger_than_a_message_together_are_cut(bus: Bus, other: Bus):
    async def echo(request: Authenticate) -> Identity:
        return Identity("u", request.token)

    await other.respond(subject := fresh("s"), Authenticate, echo, queue="q")
    await other.flush()
    tokens = [f"{n}" * (bus.max_payload // 3) for n in range(9)]
    answers = await asyncio.gather(*(bus.request(subject, Authenticate(token), Identity) for token in tokens))
    assert [answer.name for answer in answers] == tokens


async def test_an_answer_too_large_fails_alone(bus: Bus, other: Bus):
    async def much(request: Authenticate) -> Identity:
        return Identity("u", "x" * (other.max_payload + 1 if request.token == "much" else 1))

    await other.respond(subject := fresh("s"), Authenticate, much, queue="q")
    await other.flush()
    outcomes = await asyncio.gather(
        *(bus.request(subject, Authenticate(token), Identity, timeout=5) for token in ("a", "much", "b")),
        return_exceptions=True,
    )
    assert [o.code if isinstance(o, Reject) else None for o in outcomes] == [None, Code.INTERNAL, None]


async def test_who_waits_for_an_answer_when_the_connection_closes_is_told_so(nats_url: str, other: Bus):
    arrived = asyncio.Event()

    async def wait(_request: Authenticate) -> None:
        arrived.set()
        await asyncio.Event().wait()

    await other.respond(subject := fresh("s"), Authenticate, wait, queue="q")
    await other.flush()
    async with running_bus(nats_url) as bus:
        call = asyncio.create_task(bus.call(subject, TOKEN, timeout=60))
        await asyncio.wait_for(arrived.wait(), 5)
    assert (await rejected(asyncio.wait_for(call, 5))).code is Code.UNAVAILABLE


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"\x90", Answer(None).encode(), b"\x92\xc0\x93\xa1\xff\xa1a\x90"])
async def test_a_malformed_answer_is_internal_and_logged(bus: Bus, other: Bus, answer: bytes):
    async def reply(message: Msg) -> None:
        await other.publish(message.reply, answer)

    await other.subscribe(subject := fresh("s"), reply)
    await other.flush()
    with capture_logs() as logged:
        assert (await rejected(bus.request(subject, TOKEN, Identity))).code is Code.INTERNAL
    assert [(entry["event"], entry["subject"]) for entry in logged] == [("malformed answer", subject)]


async def test_a_rejection_whose_data_is_no_json_keeps_its_code(bus: Bus, other: Bus):
    async def reply(message: Msg) -> None:
        await other.publish(message.reply, Answer(Rejection("unavailable", "busy", True, b"{no json")).encode())

    await other.subscribe(subject := fresh("s"), reply)
    await other.flush()
    rejection = await rejected(bus.request(subject, TOKEN, Identity))
    assert (rejection.code, rejection.retryable, rejection.data) == (Code.UNAVAILABLE, True, None)


async def test_one_responder_of_a_queue_group_answers_each_request(bus: Bus, other: Bus):
    handled: list[str] = []

    async def answer(request: Authenticate) -> None:
        handled.append(request.token)

    subject = fresh("s")
    await other.respond(subject, Authenticate, answer, queue="q")
    await bus.respond(subject, Authenticate, answer, queue="q")
    await asyncio.gather(bus.flush(), other.flush())
    await asyncio.gather(*(bus.call(subject, Authenticate(str(n))) for n in range(40)))
    assert sorted(handled, key=int) == [str(n) for n in range(40)]


async def test_a_question_is_asked_again_while_the_one_who_was_asked_stands_still(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(requests, "REPEAT_AFTER", (0.02, 0.05))
    awake = asyncio.Event()
    asked: list[str] = []

    async def answer(request: Authenticate) -> Identity:
        asked.append(request.token)
        if asked.count(request.token) < 3:
            await awake.wait()
        return Identity(request.token, "Ann")

    await other.respond(subject := fresh("s"), Authenticate, answer, queue="q")
    await other.flush()
    questions = [bus.request(subject, Authenticate(f"u_{n}"), Identity, repeat=True) for n in range(20)]
    assert [identity.user_id for identity in await asyncio.gather(*questions)] == [f"u_{n}" for n in range(20)]
    assert len(asked) == 60
    # What is answered late is nobody's any more, and what may change something is asked once.
    awake.set()
    assert not any(len(questions.sent) for questions in bus._client_side._questions.values())
    awake.clear()
    assert (await rejected(bus.request(subject, Authenticate("once"), Identity, timeout=0.2))).code is Code.TIMEOUT
    assert asked.count("once") == 1


async def test_a_question_whose_answers_would_go_to_another_subject_is_not_answered(bus: Bus, other: Bus):
    """Or whoever may ask could have the one who answers publish where they may not themselves."""
    heard: list[bytes] = []
    handled: list[Authenticate] = []

    async def authenticate(request: Authenticate) -> Identity:
        handled.append(request)
        return ANN

    await other.respond(subject := fresh("s"), Authenticate, authenticate, queue="q")
    await other.flush()
    for elsewhere in (fresh("cmd"), subjects.inbox("gateway", "auth"), "_INBOX.*.other.x"):
        if "*" not in elsewhere:
            bus.listen(elsewhere, heard.append)
        await bus.publish(subject, Requests(elsewhere, [Request(7, TOKEN.encode())]).encode())
        await bus.publish(subject, b"\xc1", f"{elsewhere}.1.1")
    assert await bus.request(subject, TOKEN, Identity) == ANN
    assert len(handled) == 1
    assert not heard
