"""One Engine.IO client: whatever happens in whatever order, nothing sent is lost, doubled or reordered."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.engineio.packets import (
    CLOSE_PACKET,
    NOOP_PACKET,
    PING_PACKET,
    PONG_PACKET,
    MalformedPayload,
    Packet,
)
from parley.engineio.session import CONGESTED_BYTES, MAX_ANSWER, NotPolling, RequestInfo, Session
from parley.engineio.websocket.frames import NORMAL
from tests.fuzz.session_model import OPERATIONS, Model, Operation, RecordedPoll, RecordedSocket, run

RARE = [operation for operation, weight in OPERATIONS.items() if weight < 1]
COMMON = [operation for operation, weight in OPERATIONS.items() if weight >= 1]


def steps(operations: list[Operation]) -> st.SearchStrategy[list[tuple[Operation, int]]]:
    return st.lists(st.tuples(st.sampled_from(operations), st.integers(0, 63)), max_size=40)


@settings(max_examples=300)
@given(st.sampled_from([3, 4]), st.booleans(), steps(COMMON * 4 + RARE))
def test_whatever_happens_the_rules_hold(revision: int, websocket: bool, happens: list[tuple[Operation, int]]):
    run(revision, happens, websocket=websocket)


@settings(max_examples=300)
@given(st.data())
def test_an_upgrade_keeps_every_message_at_any_interleaving(data: st.DataObject):
    model = polling()
    model.probe(0)
    socket = model.sockets[0]
    # The client's own order is fixed; what the server sends and when it writes may come anywhere between.
    for stage in ("poll", "2probe", "poll", "5", "4m"):
        for operation in data.draw(st.lists(st.sampled_from([Model.send, Model.write, Model.choke]), max_size=4)):
            # Small packets, since a client that leaves too much unread would be ended as slow.
            operation(model, data.draw(st.integers(0, 1)))
            model.check()
        if stage == "poll":
            model.poll(1)
        else:
            model.session.socket_received(socket, stage)
            model.expected_messages += ["m"] if stage == "4m" else []
        model.check()
    assert model.session.socket is socket
    assert model.delivered == model.sent
    assert all(poll.answered for poll in model.polls)


def polling(revision: int = 4) -> Model:
    """A client that has got its handshake."""
    model = Model(revision)
    model.poll(1)
    assert (model.polls.pop().answered or [])[0].parts[0].data.startswith(b"0{")
    return model


def upgraded() -> tuple[Model, RecordedSocket]:
    """A client that has moved to a WebSocket."""
    model = polling()
    model.probe(0)
    for text in ("2probe", "5"):
        model.session.socket_received(model.sockets[0], text)
    assert model.session.socket is model.sockets[0]
    return model, model.sockets[0]


@pytest.mark.parametrize(("websocket", "upgrades"), [(False, ["websocket"]), (True, [])])
def test_the_handshake_names_the_session_and_its_limits(websocket: bool, upgrades: list[str]):
    model = Model(websocket=websocket)
    model.poll(1)
    answer = model.sockets[0].pushed if websocket else model.polls[0].answered or []
    opening = answer[0].parts[0].data
    assert opening[:1] == b"0"
    assert json.loads(opening[1:]) == {
        "sid": "s", "upgrades": upgrades, "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000
    }  # fmt: skip


def test_what_is_sent_in_one_tick_is_one_answer():
    model = polling()
    model.poll(1)
    model.send(1)
    model.send(1)
    assert model.polls[0].answered is None
    model.write(0)
    assert model.polls[0].answered == model.sent


def test_two_polls_at_once_end_the_session():
    model = polling()
    model.poll(1)
    second = RecordedPoll(model)
    with pytest.raises(NotPolling):
        model.session.poll(second)
    assert (model.polls[0].answered, second.answered, model.reasons) == ([CLOSE_PACKET], None, ["transport error"])


def test_a_poll_that_an_http_library_repeats_gets_the_same_answer_and_the_next_one_what_follows():
    model = polling()
    polls: list[RecordedPoll] = []
    for stamp in ("a", "b", "b", "b", "c"):
        model.send(1)
        polls.append(RecordedPoll(model))
        model.session.poll(polls[-1], stamp)
    answers = [poll.answered for poll in polls]
    assert answers == [model.sent[:1], *[model.sent[1:2]] * 3, model.sent[2:]]


def test_a_poll_that_is_repeated_while_the_first_waits_ends_the_session():
    model = polling()
    model.session.poll(RecordedPoll(model), "a")
    with pytest.raises(NotPolling):
        model.session.poll(RecordedPoll(model), "a")
    assert model.reasons == ["transport error"]


@pytest.mark.parametrize("stamp", ["", "always the same"])
def test_a_client_whose_polls_are_all_alike_gets_everything_once(stamp: str):
    model = Model(4)
    model.session.poll(RecordedPoll(model), stamp)
    for _ in range(3):
        model.send(1)
        answered = RecordedPoll(model)
        model.session.poll(answered, stamp)
        assert answered.answered == model.sent[-1:]


def test_a_poll_that_is_hung_up_ends_the_session_and_an_answered_one_does_not():
    model = polling()
    model.poll(1)
    model.send(1)
    model.write(0)
    model.cancel(0)
    assert not model.session.over
    model.poll(1)
    model.session.poll_cancelled(model.polls[0])
    assert not model.session.over
    model.cancel(0)
    assert model.reasons == ["transport close"]
    assert model.polls[1].answered is None


def test_a_client_that_closes_gets_its_poll_back():
    model = polling()
    model.poll(1)
    model.take_body(b"1")
    assert (model.polls[0].answered, model.reasons) == ([NOOP_PACKET], ["transport close"])
    with pytest.raises(NotPolling):
        model.take_body(b"4late")


@pytest.mark.parametrize("body", [b"", b"abc", b"4ok\x1e0", b"2"])
def test_a_malformed_post_ends_the_session(body: bytes):
    model = polling()
    model.expected_messages = ["ok"] if b"ok" in body else []
    with pytest.raises(MalformedPayload):
        model.take_body(body)
    model.check()
    assert model.reasons == ["parse error"]


@pytest.mark.parametrize("body", [b"4a\x1e1\x1e4b", b"4a\x1e4leave\x1e4b"])
def test_nothing_is_taken_from_a_client_after_its_end(body: bytes):
    model = polling()
    model.take_body(body)
    assert model.session.over
    assert "b" not in model.received_messages


def test_a_closed_polling_client_is_told_with_its_next_poll_what_came_before():
    model = polling()
    model.send(1)
    model.close(0)
    assert model.session.has_farewell
    # The packets first, and CLOSE by itself: who gets both at once acts on the CLOSE before it has read the packets.
    assert model.session.farewell() == model.sent
    assert model.session.has_farewell
    assert model.session.farewell() == [CLOSE_PACKET]
    assert not model.session.has_farewell


def test_a_closed_websocket_is_given_the_code_and_what_was_sent():
    model, socket = upgraded()
    model.send(1)
    model.session.close("shutdown", 1001)
    assert (socket.pushed[-1], socket.closed_with, model.reasons) == (model.sent[0], 1001, ["shutdown"])


def test_a_probe_is_answered_and_lets_the_poll_go():
    model = polling()
    model.poll(1)
    model.probe(0)
    socket = model.sockets[0]
    model.session.socket_received(socket, "2probe")
    assert (socket.pushed[0].parts[0].data, model.polls[0].answered) == (b"3probe", [NOOP_PACKET])
    model.poll(1)
    assert model.polls[1].answered == [NOOP_PACKET]
    model.session.socket_received(socket, "5")
    with pytest.raises(NotPolling):
        model.session.poll(RecordedPoll(model))
    with pytest.raises(NotPolling):
        model.take_body(b"4late")


@pytest.mark.parametrize("text", ["5", "4early", "2", "2prob", "1", "abc", ""])
def test_a_probe_that_says_something_else_fails_and_the_session_goes_on(text: str):
    model = polling()
    model.probe(0)
    model.session.socket_received(model.sockets[0], text)
    assert (model.sockets[0].closed_with, model.session.over) == (NORMAL, False)
    model.send(1)
    model.poll(1)
    assert model.polls[0].answered == model.sent
    assert model.session.probe(RecordedSocket(model)), "another may be tried"


def test_a_second_websocket_is_refused_before_and_after_the_upgrade():
    model = polling()
    model.probe(0)
    assert not model.session.probe(RecordedSocket(model))
    model, _ = upgraded()
    assert not model.session.probe(RecordedSocket(model))


def test_an_upgrade_that_takes_too_long_is_given_up_and_a_done_one_is_not():
    model = polling()
    model.probe(0)
    model.session.socket_received(model.sockets[0], "2probe")
    model.session.probe_failed(model.sockets[0])
    model.session.socket_received(model.sockets[0], "5")
    assert (model.session.socket, model.sockets[0].closed_with) == (None, NORMAL)
    model, socket = upgraded()
    model.session.probe_failed(socket)
    assert model.session.socket is socket


def test_a_websocket_that_is_lost_while_it_probes_leaves_room_for_another():
    model = polling()
    model.probe(0)
    model.session.socket_received(model.sockets[0], "2probe")
    model.lose(0)
    assert not model.session.over
    model.poll(1)
    assert model.polls[0].answered is None
    model.probe(0)
    assert not model.sockets[1].gone


def test_what_waits_for_a_polling_client_is_bounded():
    model = polling()
    waiting = 0
    while not model.session.over:
        model.send(1)
        model.check()
        waiting = max(waiting, model.session._queued)
    assert model.reasons == ["slow"]
    assert 0 < waiting <= model.limits.max_buffer
    tiny = polling(3)
    for _ in range(100):
        tiny.take_body(b"1:2" * 8) if not tiny.session.over else None
    assert tiny.reasons == ["slow"], "many small packets are bounded as well"


def test_a_slow_websocket_is_not_waited_for():
    model, socket = upgraded()
    model.session.fail("slow")
    assert socket.aborted


def test_volatile_packets_go_first():
    model = polling()
    volatile = Packet.of(b"4typing")
    model.session.send(volatile, volatile=True)
    assert model.dropped_packets == 0
    model.session._queued = CONGESTED_BYTES + 1
    model.session.send(volatile, volatile=True)
    assert model.dropped_packets == 1
    model, socket = upgraded()
    model.session.send(volatile, volatile=True)
    socket.congested = True
    model.session.send(volatile, volatile=True)
    assert (model.dropped_packets, socket.pushed.count(volatile)) == (1, 1)


# -- heartbeats --------------------------------------------------------------------------------------------------------


def test_a_client_that_answers_is_pinged_again_and_one_that_does_not_is_ended():
    model = polling()
    start = model.now
    for beat in range(1, 4):
        model.now = start + 25.0 * beat
        assert model.session.on_due(model.now) == model.now + 20
        model.poll(1)
        assert model.polls[-1].answered == [PING_PACKET]
        model.now += 19.9
        model.take_body(b"3")
    model.now = start + 100.0
    assert model.session.on_due(model.now) == model.now + 20
    assert model.session.on_due(model.now + 19.9) == model.now + 20
    model.now += 20
    model._pinged_at = model.now - 20
    assert model.session.on_due(model.now) is None
    assert model.reasons == ["ping timeout"]


def test_a_ping_that_is_a_little_late_does_not_put_off_the_end():
    model = polling()
    assert model.session.on_due(model.now + 25.9) == model.now + 45
    model._pinged_at = model.now + 25.9
    model.now += 45
    assert model.session.on_due(model.now) is None


def test_answers_that_nobody_asked_for_win_no_time():
    model = polling()
    for _ in range(5):
        model.take_body(b"3")
    assert model.session.on_due(model.now + 24.9) == model.now + 25
    model.session.on_due(model.now + 25)
    assert model.session._awaiting


def test_after_a_stall_a_client_still_has_its_time_to_answer():
    model = polling()
    model.now += 300
    assert model.session.on_due(model.now) == model.now + 10
    model.poll(1)
    model.now += 9
    model.take_body(b"3")
    assert model.session.on_due(model.now) == model.now + 6
    assert not model.session.over


def test_old_clients_ping_themselves():
    model = polling(3)
    model.now += 44
    model.take_body(b"1:2")
    model._heard_at = model.now
    model.poll(1)
    assert model.polls[0].answered == [PONG_PACKET]
    model.now += 44.9
    assert model.session.on_due(model.now) is not None
    model.now += 0.1
    assert model.session.on_due(model.now) is None
    assert model.reasons == ["ping timeout"]


@pytest.mark.parametrize(("revision", "heartbeat"), [(4, b"3"), (3, b"1:2")])
def test_who_polls_no_more_is_ended_although_heartbeats_come(revision: int, heartbeat: bytes):
    model = polling(revision)
    start = model.now
    while not model.session.over and model.now < start + 1000:
        model.now += 5
        model._pinged_at = model.now - 20  # the model's own rule about PINGs is not this test's
        model.session.on_due(model.now)
        if not model.session.over:
            model.take_body(heartbeat)
    assert model.reasons == ["ping timeout"]
    assert model.now <= start + 2 * 45 + 5


@pytest.mark.parametrize(("revision", "heartbeat"), [(4, b"3"), (3, b"1:2")])
def test_a_client_that_polls_slowly_lives_on(revision: int, heartbeat: bytes):
    model = polling(revision)
    for _ in range(200):
        model.send(2)
        model.now += 6
        model.session.on_due(model.now)
        model.poll(1)
        model.write(0)
        if revision == 3 or model.session._awaiting:
            model.take_body(heartbeat)
    assert not model.session.over


# -- what is left unread -----------------------------------------------------------------------------------------------


def test_the_last_answer_counts_as_unread_until_the_next_poll():
    model = polling()
    for stamp in ("a", "b"):
        model.send(2)
        model.session.poll(RecordedPoll(model), stamp)
    assert model.session.unread() == model.sent[-1].weight
    model.session.poll(RecordedPoll(model), "c")
    assert model.session.unread() == 0


def test_what_many_are_sent_at_once_is_shared_and_weighs_little():
    packet = Packet.of(b"4" + b"x" * 100_000, (b"y" * 100_000,) * 30)
    packet.receivers = 1000
    model = polling()
    model.session._enqueue(packet)
    assert model.session.unread() == packet.weight < 5_000
    model.session._next_answer()
    assert model.session.unread() > 0
    model.session._next_answer()
    assert model.session.unread() == 0


def test_a_session_that_is_cut_off_was_slow_and_keeps_nothing():
    model = polling()
    model.send(1)
    model.session.cut_off()
    assert (model.reasons, model.session.unread(), model.session.has_farewell) == (["slow"], 0, False)
    closed = polling()
    closed.send(1)
    closed.close(0)
    assert closed.session.unread() > 0
    closed.session.cut_off()
    assert (closed.session.unread(), closed.session.has_farewell) == (0, False)


# -- answers to polls --------------------------------------------------------------------------------------------------


def test_an_answer_holds_sixteen_packets_and_the_rest_waits_for_the_next_poll():
    model = polling()
    for _ in range(MAX_ANSWER + 3):
        model.send(3)
    model.poll(1)
    assert model.polls[-1].answered == model.sent[:MAX_ANSWER]
    model.poll(1)
    assert model.polls[-1].answered == model.sent[MAX_ANSWER:]
    model.check()


def test_a_waiting_poll_gets_the_packets_before_a_close_and_the_next_one_the_close():
    model = polling()
    model.poll(1)
    model.send(1)
    model.close(0)
    assert model.polls[-1].answered == model.sent
    assert model.session.farewell() == [CLOSE_PACKET]


class RecordedPost:
    """A POST whose body is coming."""

    abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


def test_a_second_post_at_once_ends_the_session_and_abandons_the_first():
    model, first = polling(), RecordedPost()
    model.session.begin_post(first)
    with pytest.raises(NotPolling):
        model.session.begin_post(RecordedPost())
    assert (first.abandoned, model.reasons) == (True, ["transport error"])


def test_a_post_that_is_over_is_not_abandoned_with_the_session():
    model, refused, done = polling(), RecordedPost(), RecordedPost()
    model.session.begin_post(refused)
    model.session.post_over(refused)
    model.session.begin_post(done)
    model.expected_messages = ["a"]
    model.take_body(b"4a")
    model.session.post_over(done)
    model.session.fail("forgotten")
    assert (refused.abandoned, done.abandoned) == (False, False)


def test_a_session_is_greeted_before_anything_is_taken_from_it_and_ends_with_its_only_socket():
    model = Model(3)
    session = Session(model, "t", 3, RequestInfo("address"), base64_only=False)
    socket = RecordedSocket(model)
    session.socket_received(socket, "4early")
    assert model.received_messages == []
    session.socket_lost(socket, "transport close")
    assert (session.over, model.reasons) == (True, ["transport close"])
