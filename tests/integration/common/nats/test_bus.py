"""The NATS connection: requests with coded answers, bounded and concurrent responders, and knowing when it is deaf."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import AsyncMock

import psutil
import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from parley.cli.stack import embedded
from parley.common.errors import Code, Reject
from parley.common.nats import liveness, requests
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.processes import SignOfLife
from parley.common.wire.requests import Answer, Answers, Rejection, Request, Requests
from parley.common.wire.rooms import GetRoomHeads
from tests.support.bus import fresh, rejected, running_bus
from tests.support.own_server import Server
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.waiting import until

ANN = Identity("u_ann", "Ann", ("admin",), 12.5)
TOKEN = Authenticate("token")


# -- requests ----------------------------------------------------------------------------------------------------------


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


async def ask_raw(bus: Bus, subject: str, payload: bytes) -> Answer:
    """Send bytes as a request."""
    answers: list[Answer] = []

    async def receive(message: Msg) -> None:
        answers.append(decode(message.data, Answer))

    inbox = fresh("inbox")
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
    bus.listen(inbox := fresh("inbox"), heard.append)
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
    assert not list(bus._client_side._sent)
    awake.clear()
    assert (await rejected(bus.request(subject, Authenticate("once"), Identity, timeout=0.2))).code is Code.TIMEOUT
    assert asked.count("once") == 1


# -- publishing --------------------------------------------------------------------------------------------------------


async def test_messages_of_a_subject_are_handled_one_at_a_time_in_order(bus: Bus, other: Bus):
    handled: list[bytes] = []
    busy = False

    async def handle(message: Msg) -> None:
        nonlocal busy
        assert not busy
        busy = True
        await asyncio.sleep(0)
        handled.append(message.data)
        busy = False

    await other.subscribe(subject := fresh("s"), handle)
    await other.flush()
    for number in range(200):
        await bus.publish(subject, b"%d" % number)
    await until(lambda: len(handled) == 200)
    assert handled == [b"%d" % number for number in range(200)]


async def test_once_flushed_a_subscription_misses_nothing_that_others_publish(bus: Bus, other: Bus):
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    published = [fresh("s") for _ in range(400)]
    for subject in published:
        await bus.subscribe(subject, hear)
        await bus.flush()
        await other.publish(subject, b"")
        await other.flush()
    await other.flush()
    await bus.flush()
    await until(lambda: len(heard) == len(published), seconds=2)
    assert heard == published


async def test_a_handler_that_crashes_is_called_again_with_the_next_message(bus: Bus):
    handled: list[bytes] = []

    async def handle(message: Msg) -> None:
        handled.append(message.data)
        raise RuntimeError("crash")

    with capture_logs() as logged:
        await bus.subscribe(subject := fresh("s"), handle)
        await bus.publish(subject, b"1")
        await bus.publish(subject, b"2")
        await until(lambda: handled == [b"1", b"2"])
    assert [(line["event"], line["subject"], line["exc_info"]) for line in logged] == [
        ("message not handled", subject, True)
    ] * 2


@pytest.mark.parametrize("room", ["a.b", "*", ">", "a b", "", "日本", "x" * 300, "\r\nPUB x 0\r\n", "\ud800"])
async def test_no_room_name_reaches_another_rooms_subject(bus: Bus, other: Bus, room: str):
    namespace = fresh("/n")
    heard: list[tuple[str, str]] = []

    async def hear(message: Msg) -> None:
        heard.append(subjects.parse_room(message.subject))

    await bus.subscribe(subjects.room(namespace, room), hear)
    await bus.flush()
    for name in ("a", "a.b.c", "other", room):
        await other.publish(subjects.room(namespace, name), b"")
    await until(lambda: heard)
    await other.flush()
    await bus.flush()
    assert heard == [(namespace, room)]


# -- the connection ----------------------------------------------------------------------------------------------------


async def test_a_healthy_connection_has_nothing_to_say(bus: Bus):
    assert bus.check() is None
    assert bus.connected
    assert bus.hearing


async def test_it_waits_for_nats_that_is_not_there_yet(tmp_path: Path):
    port = free_port()
    server = Server(lambda: embedded.nats(tmp_path / "nats", port))

    async def use() -> None:
        async with running_bus(f"nats://127.0.0.1:{port}") as bus:
            assert bus.check() is None

    using = asyncio.create_task(use())
    try:
        done, _ = await asyncio.wait({using}, timeout=0.3)
        assert not done
        await server.start()
        await asyncio.wait_for(using, 20)
    finally:
        await server.stop()


async def test_while_nats_is_not_there_a_line_now_and_then_says_where_it_is_looked_for_and_stopping_is_at_once():
    url = f"nats://ann:secret@127.0.0.1:{free_port()}"

    async def use() -> None:
        async with running_bus(url):
            raise AssertionError("there is no NATS")

    with capture_logs() as logged:
        using = asyncio.create_task(use())
        done, _ = await asyncio.wait({using}, timeout=1.2)
        assert not done
        began = time.monotonic()
        using.cancel()
        await asyncio.wait({using})
        assert time.monotonic() - began < 0.2
    (line,) = logged
    assert line["event"] == "waiting for NATS"
    assert line["url"] == url.replace("ann:secret@", "")


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


async def test_after_it_was_closed_nothing_can_be_sent(nats_url: str):
    async with running_bus(nats_url) as bus:
        pass
    assert (await rejected(bus.publish("s", b""))).code is Code.UNAVAILABLE
    assert (await rejected(bus.call("s", TOKEN))).code is Code.UNAVAILABLE
