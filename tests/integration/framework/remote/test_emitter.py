"""What services do to connections of any gateway: emit, ask, fetch, join, leave, disconnect. With stock clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.rooms import Delivery, RoomEvent
from parley.framework.remote.emitter import Emitter
from tests.support.bus import rejected, running_bus
from tests.support.clients.raw_socket import RawSocket
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.framework.emitter_scene import RECOVERING, Crowd, Scene, Service, Stack, running_stack
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client")


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path_factory.mktemp("emitter")) as running:
        yield running


@pytest.fixture(scope="module")
async def crowd() -> AsyncIterator[Crowd]:
    running = await Crowd.start()
    yield running
    await running.stop()


@pytest.fixture(scope="module")
async def service_bus(stack: Stack) -> AsyncIterator[Bus]:
    """The connection of the process that emits."""
    async with running_bus(stack.nats.url, "service") as bus:
        yield bus


@pytest.fixture(scope="module")
async def any_emitter(service_bus: Bus) -> Emitter:
    """One that has begun to learn which gateways live."""
    emitter = Emitter(service_bus, "/")
    await emitter.start()
    return emitter


@pytest.fixture
async def scene(stack: Stack, crowd: Crowd, service_bus: Bus, any_emitter: Emitter) -> AsyncIterator[Scene]:
    service = Service(service_bus, stack.fresh_namespace())
    await service.start()
    set_up = Scene(stack, crowd, service, any_emitter.of(service.namespace))
    yield set_up
    await set_up.stop()


# -- emit --------------------------------------------------------------------------------------------------------------


async def test_everybody_in_the_namespace_is_reached_on_every_gateway_and_nobody_else(scene: Scene, stack: Stack):
    here = [*await scene.join_three(), await scene.join_python(1)]
    service = Service(scene.service.bus, stack.fresh_namespace())
    await service.start()
    elsewhere = Scene(stack, scene._crowd, service, scene.emitter.of(service.namespace))
    stranger = await elsewhere.join()
    await scene.emitter.emit("news", {"text": "hello"}, 2)
    for socket in here:
        await socket.until(lambda socket=socket: socket.of("news") == [[{"text": "hello"}, 2]])
    await elsewhere.settle(stranger)
    assert stranger.of("news") == []
    await elsewhere.stop()


async def test_binary_data_anywhere_in_the_arguments_arrives_as_binary(scene: Scene):
    for socket in [await scene.join(0), await scene.join(1), await scene.join_python(1)]:
        await scene.emitter.to(socket.sid).emit("data", b"\0\xff", {"deep": [b"", {"deeper": b"abc"}]}, "text")
        await socket.until(lambda s=socket: s.of("data") == [[b"\0\xff", {"deep": [b"", {"deeper": b"abc"}]}, "text"]])


async def test_an_event_without_arguments_arrives_without(scene: Scene):
    socket = await scene.join()
    await scene.emitter.emit("ping!")
    await socket.until(lambda: socket.of("ping!") == [[]])


async def test_who_is_in_several_of_the_rooms_gets_one_copy(scene: Scene):
    both, one, none = await scene.join_three()
    await scene.emitter.to(both.sid).join("red", "blue")
    await scene.emitter.to(one.sid).join("blue")
    await (
        scene.emitter.to("red", "blue")
        .to(both.sid, f"user:{(await scene.emitter.socket(both.sid).fetch()).user_id}")
        .emit("x")
    )
    await scene.settle(both, one, none)
    assert [len(socket.of("x")) for socket in (both, one, none)] == [1, 1, 0]


async def test_except_leaves_out_sids_and_rooms(scene: Scene):
    first, second, third = await scene.join_three()
    await scene.emitter.to(third.sid).join("busy")
    await scene.emitter.except_(second.sid).emit("not second")
    await scene.emitter.to(first.sid, third.sid).except_("busy").emit("not busy")
    await scene.emitter.except_(first.sid, "busy").except_("nowhere").emit("only second")
    await scene.settle(first, second, third)
    heard = [[name for name, _ in socket.events if name != "settled"] for socket in (first, second, third)]
    assert heard == [["not second", "not busy"], ["only second"], ["not second"]]


async def test_local_reaches_one_gateway(scene: Scene):
    first, second, third = await scene.join_three()
    await scene.emitter.local("gateway2").emit("x")
    await scene.emitter.to(first.sid, third.sid).local("gateway1").emit("y")
    await scene.emitter.local("no such gateway").emit("z")
    await scene.settle(first, second, third)
    assert [[name for name, _ in s.events if name != "settled"] for s in (first, second, third)] == [["y"], [], ["x"]]


async def test_a_users_room_reaches_all_their_connections(scene: Scene):
    ann, also_ann, ben = await scene.join(0, "ann"), await scene.join(1, "ann"), await scene.join(1, "ben")
    await scene.emitter.to(subjects.user_room("ann")).emit("x")
    await scene.settle(ann, also_ann, ben)
    assert [len(socket.of("x")) for socket in (ann, also_ann, ben)] == [1, 1, 0]


async def test_emits_to_a_room_arrive_in_the_order_sent_however_it_was_addressed(scene: Scene):
    sockets = [await scene.join(0), await scene.join_python(1)]
    await scene.emitter.join("room", "other")
    shapes = [
        scene.emitter.to("room"),
        scene.emitter.to("room", "other"),
        scene.emitter.to("room").except_("nobody"),
        scene.emitter,
        scene.emitter.to("room").local("gateway1"),
    ]
    for number in range(400):
        await shapes[number % len(shapes)].emit("n", number)
    await scene.settle(*sockets)
    assert sockets[0].of("n") == [[number] for number in range(400)]
    assert sockets[1].of("n") == [[number] for number in range(400) if number % len(shapes) != 4]


async def test_an_emit_and_what_the_service_publishes_in_the_room_keep_their_order(scene: Scene):
    socket = await scene.join(1)
    await scene.emitter.join("room")
    for number in range(100):
        if number % 2:
            await scene.emitter.to("room").emit("n", number)
        else:
            item = RoomEvent("n", str(number).encode())
            await scene.service.bus.publish(subjects.room(scene.namespace, "room"), Delivery([item]).encode())
    await scene.settle(socket)
    assert socket.of("n") == [[number] for number in range(100)]


async def test_a_client_that_does_not_read_loses_what_is_volatile_and_nothing_else(scene: Scene, stack: Stack):
    async with RawSocket.open(stack.urls[0]) as slow:
        await slow.handshake()
        await slow.join(scene.namespace, {})
        dropped = await stack.volatile_dropped()
        count = 0
        while await stack.volatile_dropped() == dropped:
            await scene.emitter.emit("kept", count, "x" * 60_000)
            await scene.emitter.volatile.emit("lost", count)
            count += 1
            assert count < 500
        head = f"42{scene.namespace},"
        kept, lost = 0, 0
        while kept < count:
            text = await slow.text()
            if text.startswith(f'{head}["kept",'):
                assert text.startswith(f'{head}["kept",{kept},')
                kept += 1
            else:
                assert text == f'{head}["lost",{kept - 1}]'
                lost += 1
        assert lost < count
        await scene.emitter.volatile.emit("lost", "reads again")
        assert await slow.text() == f'{head}["lost","reads again"]'


async def test_chains_are_immutable(scene: Scene):
    first, second = await scene.join(0), await scene.join(1)
    one = scene.emitter.to(first.sid)
    both = one.to(second.sid)
    nobody = both.except_(first.sid, second.sid)
    elsewhere = both.local("gateway2").volatile
    await one.emit("one")
    await both.emit("both")
    await nobody.emit("nobody")
    await elsewhere.emit("second")
    await scene.settle(first, second)
    heard = [[name for name, _ in socket.events if name != "settled"] for socket in (first, second)]
    assert heard == [["one", "both"], ["both", "second"]]


async def test_what_cannot_be_meant_is_refused_where_it_is_written(scene: Scene):
    with pytest.raises(ValueError, match="no room"):
        scene.emitter.to(*[])
    with pytest.raises(ValueError, match="itself"):
        await scene.emitter.emit("disconnect")
    with pytest.raises(ValueError, match="_placeholder"):
        await scene.emitter.emit("x", {"_placeholder": True, "num": 3}, b"data")
    with pytest.raises(ValueError, match="own room"):
        await scene.emitter.join("user:ann")
    with pytest.raises(ValueError, match="too long"):
        await scene.emitter.join("r" * 2000)
    with pytest.raises(ValueError, match="timeout"):
        await scene.emitter.emit_with_acks("x", timeout=-1)
    assert (await rejected(scene.emitter.emit("x", b"x" * 2_000_000))).code is Code.PAYLOAD_TOO_LARGE


async def test_a_placeholder_of_a_users_own_is_but_data(scene: Scene):
    socket = await scene.join()
    await scene.emitter.emit("x", {"_placeholder": True, "num": 3})
    await socket.until(lambda: socket.of("x") == [[{"_placeholder": True, "num": 3}]])


async def test_what_is_no_operation_stops_no_gateway(scene: Scene, stack: Stack):
    sockets = [await scene.join(0), await scene.join(1)]
    for subject in (
        subjects.sockets(scene.namespace),
        *(subjects.gateway(one, scene.namespace) for one in ("gateway1", "gateway2")),
    ):
        for data in (b"", b"\xc1", b"\x93\x01", b"{}", Delivery([]).encode()):
            await scene.service.bus.publish(subject, data)
    await scene.settle(*sockets)
    assert "message not handled" in stack.gateways[1].log()


# -- acks --------------------------------------------------------------------------------------------------------------


async def test_all_answer(scene: Scene):
    first, second, third = await scene.join_three()
    await scene.join_python(1, answer=4)
    for number, socket in enumerate((first, second, third), start=1):
        await socket.answers(number)
    result = await scene.emitter.emit_with_acks("how many?", timeout=10)
    assert (sorted(result.answers), result.missing, result.unanswered) == ([1, 2, 3, 4], 0, ())


async def test_only_those_who_are_asked_answer(scene: Scene):
    first, second, third = await scene.join_three()
    for number, socket in enumerate((first, second, third), start=1):
        await socket.answers(number)
    await scene.emitter.to(second.sid, third.sid).join("room")
    assert sorted((await scene.emitter.to("room").emit_with_acks("?", timeout=10)).answers) == [2, 3]
    assert (await scene.emitter.to("room").except_(third.sid).emit_with_acks("?", timeout=10)).answers == [2]
    assert sorted((await scene.emitter.local("gateway1").emit_with_acks("?", timeout=10)).answers) == [1, 2]


async def test_who_does_not_answer_in_time_is_missing_and_a_late_answer_belongs_to_nothing(scene: Scene):
    first, second, third = await scene.join_three()
    await first.answers(1)
    await third.answers(3)
    result = await scene.emitter.emit_with_acks("?", timeout=0.5)
    assert (sorted(result.answers), result.missing) == ([1, 3], 1)
    await second.pay("too late")
    await second.answers(2)
    result = await scene.emitter.emit_with_acks("?", timeout=10)
    assert (sorted(result.answers), result.missing) == ([1, 2, 3], 0)


async def test_nobody_is_asked_where_nobody_is(scene: Scene):
    await scene.join()
    result = await scene.emitter.to("empty").emit_with_acks("?", timeout=10)
    assert (result.answers, result.missing) == ([], 0)
    result = await scene.emitter.local("no such gateway").emit_with_acks("?", timeout=10)
    assert (result.answers, result.missing) == ([], 0)


async def test_binary_data_goes_and_comes_back(scene: Scene):
    first, second = await scene.join(0), await scene.join_python(1, answer={"python": b"\1\2"})
    await first.answers({"js": [b"\3", "text"]})
    result = await scene.emitter.emit_with_acks("?", b"question", timeout=10)
    assert {"python": b"\1\2"} in result.answers
    assert {"js": [b"\3", "text"]} in result.answers
    assert first.of("?") == second.of("?") == [[b"question"]]


async def test_an_answer_is_none_one_or_several(scene: Scene):
    socket = await scene.join()
    for given, expected in (((), None), ((1,), 1), ((None,), None), ((1, "two"), (1, "two")), (([1],), [1])):
        await socket.answers(*given)
        assert await scene.emitter.socket(socket.sid).emit_with_ack("?", timeout=10) == expected


async def test_many_questions_at_once_are_not_mixed_up(scene: Scene):
    sockets = await scene.join_three()
    for socket in sockets:
        await socket.answers(socket.sid)
    asked = [scene.emitter.socket(s.sid).emit_with_ack("?", n, timeout=10) for n in range(50) for s in sockets]
    assert await asyncio.gather(*asked) == [s.sid for _ in range(50) for s in sockets]


async def test_one_client_that_does_not_answer_is_a_timeout(scene: Scene):
    socket = await scene.join(1)
    assert (await rejected(scene.emitter.socket(socket.sid).emit_with_ack("?", timeout=0.2))).code is Code.TIMEOUT
    assert (await rejected(scene.emitter.socket(socket.sid).emit_with_ack("?", timeout=0))).code is Code.TIMEOUT
    await socket.until(lambda: len(socket.of("?")) == 2, "both questions")


async def test_a_connection_that_does_not_exist_is_not_found(scene: Scene):
    for sid in ("gateway1.nobody", "gone.nobody", "nonsense", ""):
        ghost = scene.emitter.socket(sid)
        assert (await rejected(ghost.emit_with_ack("?", timeout=10))).code is Code.NOT_FOUND
        assert (await rejected(ghost.fetch())).code is Code.NOT_FOUND
        await ghost.emit("x")
        await ghost.disconnect(close=True)


async def test_who_leaves_without_an_answer_is_not_waited_for(scene: Scene):
    first, second = await scene.join(0), await scene.join(1)
    await first.answers(1)
    asked = asyncio.create_task(scene.emitter.emit_with_acks("?", timeout=60))
    alone = asyncio.create_task(rejected(scene.emitter.socket(second.sid).emit_with_ack("?", timeout=60)))
    await second.until(lambda: len(second.of("?")) == 2, "both questions")
    assert not asked.done()
    await second.close()
    result = await asked
    assert (result.answers, result.missing) == ([1], 1)
    assert (await alone).code is Code.NOT_FOUND


async def test_a_client_that_owes_too_many_answers_is_asked_no_more(scene: Scene):
    socket = await scene.join()
    only = scene.emitter.socket(socket.sid)
    waiting = [asyncio.create_task(only.emit_with_ack("?", n, timeout=30)) for n in range(256)]
    await socket.until(lambda: len(socket.of("?")) == 256, "all questions")
    assert (await rejected(only.emit_with_ack("?", "one more", timeout=30))).code is Code.NOT_FOUND
    await socket.pay("paid")
    assert await asyncio.gather(*waiting) == ["paid"] * 256
    await socket.answers("again")
    assert await only.emit_with_ack("?", timeout=30) == "again"
    assert ["one more"] not in socket.of("?")


async def test_an_answer_that_cannot_be_read_spoils_no_other(scene: Scene, stack: Stack):
    socket = await scene.join(1)
    await socket.answers(1)
    async with RawSocket.open(stack.urls[0]) as raw:
        await raw.handshake()
        sid = json.loads((await raw.join(scene.namespace, {})).removeprefix(f"40{scene.namespace},"))["sid"]

        async def answer_badly() -> None:
            ack_id = (await raw.text()).removeprefix(f"42{scene.namespace},").partition("[")[0]
            await raw.send(f"43{scene.namespace},{ack_id}[1e999]")

        asked = asyncio.create_task(scene.emitter.emit_with_acks("?", timeout=30))
        await answer_badly()
        result = await asked
        assert (result.answers, result.missing) == ([1], 1)
        alone = asyncio.create_task(rejected(scene.emitter.socket(sid).emit_with_ack("?", timeout=30)))
        await answer_badly()
        assert (await alone).code is Code.INVALID_PAYLOAD


async def test_answering_twice_or_what_was_never_asked_counts_for_nobody_else(scene: Scene, stack: Stack):
    socket = await scene.join(0)
    async with RawSocket.open(stack.urls[0]) as raw:
        await raw.handshake()
        await raw.join(scene.namespace, {})
        asked = asyncio.create_task(scene.emitter.emit_with_acks("?", timeout=30))
        ack_id = int((await raw.text()).removeprefix(f"42{scene.namespace},").partition("[")[0])
        for number, answered in enumerate((ack_id, ack_id, ack_id + 1, 999_999_999_999)):
            await raw.send(f"43{scene.namespace},{answered}[{number}]")
        await socket.until(lambda: socket.of("?"))
        await scene.settle(socket)
        assert not asked.done()
        await socket.pay("mine")
        result = await asked
        assert (result.answers, result.missing) == ([0, "mine"], 0)
        assert len(await scene.emitter.fetch_connections()) == 2


# -- connections -------------------------------------------------------------------------------------------------------


async def test_fetching_tells_who_is_connected_where_and_in_which_rooms(scene: Scene):
    scene.service.rooms["ann"] = ["general"]
    ann, ben = await scene.join(0, "ann"), await scene.join_python(1)
    await scene.emitter.to(ben.sid).join("red")
    found = {connection.sid: connection for connection in await scene.emitter.fetch_connections()}
    assert set(found) == {ann.sid, ben.sid}
    info = found[ann.sid]
    assert (info.user_id, info.name, info.gateway, info.namespace) == ("ann", "Ann", "gateway1", scene.namespace)
    assert set(info.rooms) == {ann.sid, "user:ann", "general"}
    assert (info.address, info.transport, found[ben.sid].gateway) == ("127.0.0.1", "websocket", "gateway2")
    assert await scene.rooms(ben) == {"red"}


async def test_fetching_can_be_narrowed_to_rooms(scene: Scene):
    first, second, third = await scene.join_three()
    await scene.emitter.to(first.sid, third.sid).join("red")

    async def fetched(*rooms: str, without: tuple[str, ...] = ()) -> set[str]:
        return {c.sid for c in await scene.emitter.to(*rooms).except_(*without).fetch_connections()}

    assert await fetched("red") == {first.sid, third.sid}
    assert await fetched("red", without=(third.sid,)) == {first.sid}
    assert await fetched("red", second.sid) == {first.sid, second.sid, third.sid}
    assert await fetched("empty") == set()


async def test_more_connections_than_fit_one_message_are_fetched_whole(scene: Scene):
    sockets = await scene.join_three()
    names = [f"{number:04}-{'r' * 900}" for number in range(900)]
    for start in range(0, len(names), 300):
        assert await scene.emitter.join(*names[start : start + 300]) == 3
    fetched = await scene.emitter.fetch_connections()
    assert {connection.sid for connection in fetched} == {socket.sid for socket in sockets}
    assert all(set(names) < set(connection.rooms) for connection in fetched)


async def test_joining_and_leaving_on_all_gateways(scene: Scene):
    first, second, third = await scene.join_three()
    assert await scene.emitter.to(first.sid, third.sid).join("red", "blue") == 2
    assert await scene.emitter.to("red").join("green") == 2
    assert await scene.rooms(first) == await scene.rooms(third) == {"red", "blue", "green"}
    assert await scene.rooms(second) == set()
    assert await scene.emitter.to("green").leave("red", "never entered") == 2
    assert await scene.rooms(third) == {"blue", "green"}
    await scene.emitter.to("red").emit("red")
    await scene.emitter.to("green").except_(third.sid).emit("green")
    await scene.settle(first, third)
    assert [[name for name, _ in s.events if name != "settled"] for s in (first, third)] == [["green"], []]


async def test_one_socket_joins_leaves_and_is_spoken_to(scene: Scene):
    first, second = await scene.join(0), await scene.join(1)
    remote = scene.emitter.socket(second.sid)
    await remote.join("red", "blue")
    await remote.leave("blue")
    await remote.emit("x", 1)
    await remote.volatile.emit("x", 2)
    await second.until(lambda: second.of("x") == [[1], [2]])
    assert await scene.rooms(second) == {"red"}
    assert await scene.rooms(first) == set()
    assert first.of("x") == []


async def test_events_of_a_room_joined_from_outside_are_received(scene: Scene):
    socket = await scene.join()
    await scene.emitter.join("watched")
    await scene.service.bus.publish(
        subjects.room(scene.namespace, "watched"), Delivery([RoomEvent("said", b'{"n":1}', 7)]).encode()
    )
    await socket.until(lambda: socket.of("said") == [[{"n": 1}]])


async def test_a_users_own_room_is_not_left(scene: Scene):
    socket = await scene.join(0, "ann")
    await scene.emitter.leave("user:ann")
    await scene.emitter.to("user:ann").emit("x")
    await socket.until(lambda: socket.of("x") == [[]])


async def test_a_closed_transport_takes_all_its_namespaces_along(scene: Scene):
    socket = await scene.join()
    assert await scene.emitter.disconnect(close=True) == 1
    await socket.until(lambda: socket.disconnects)
    assert await scene.emitter.fetch_connections() == []


async def test_without_closing_the_transport_other_namespaces_go_on(scene: Scene, stack: Stack):
    leaving, staying = await scene.join_python(0), await scene.join(1)
    service = Service(scene.service.bus, stack.fresh_namespace())
    await service.start()
    other = Scene(stack, scene._crowd, service, scene.emitter.of(service.namespace))
    guest = await scene.join(0)
    beside = await other.join(0, beside=guest)
    await scene.emitter.to(leaving.sid, guest.sid).join("out")
    assert await scene.emitter.to("out").disconnect() == 2
    await guest.until(lambda: guest.disconnects == ["io server disconnect"])
    await leaving.until(lambda: leaving.disconnects)
    await other.settle(beside)
    assert beside.disconnects == []
    assert [connection.sid for connection in await scene.emitter.fetch_connections()] == [staying.sid]
    assert await scene.emitter.to(guest.sid).disconnect(close=True) == 0
    assert await other.emitter.to(beside.sid).disconnect(close=True) == 1
    await beside.until(lambda: beside.disconnects)
    await other.stop()


async def test_nothing_is_delivered_after_a_disconnect(scene: Scene):
    first, second = await scene.join(0), await scene.join(1)
    await scene.emitter.to(first.sid).join("room")
    await scene.emitter.to(first.sid).disconnect()
    await scene.emitter.to("room", first.sid, second.sid).emit("x")
    await first.until(lambda: first.disconnects)
    await scene.settle(second)
    assert (first.of("x"), second.of("x")) == ([], [[]])


async def test_every_event_of_a_client_reaches_the_service_of_its_namespace(scene: Scene):
    socket = await scene.join(1)
    names = ["anything", "message", "*", "a.b c", ""]
    for name in names:
        assert await socket.emit(name, 1) == [{"ok": True}]
    assert scene.service.events == names


async def test_a_recovered_connection_gets_what_was_emitted_while_it_was_away(scene: Scene):
    service = Service(scene.service.bus, RECOVERING)
    await service.start()
    here = Scene(scene.stack, scene._crowd, service, scene.emitter.of(RECOVERING))
    socket = await here.join(0, "ann")
    sid = socket.sid
    await here.emitter.join("room", "busy")
    await here.emitter.to("room").emit("n", 1)
    await socket.until(lambda: socket.of("n"))
    await socket.drop()
    await socket.until(lambda: socket.disconnects)

    async def empty() -> bool:
        return not await here.emitter.fetch_connections()

    await until(empty, "nobody is connected")
    await here.emitter.to("room").emit("n", 2, b"data")
    await here.emitter.to("room").except_("busy").emit("n", "not for the busy")
    await here.emitter.volatile.emit("n", "volatile")
    await here.emitter.to("elsewhere").emit("n", "not in there")
    await here.emitter.to(sid).emit("n", 3)
    await here.emitter.emit("n", 4)
    await socket.come_back()
    await socket.until(lambda: len(socket.of("n")) >= 4)
    await here.emitter.to("room").emit("n", 5)
    await socket.until(lambda: len(socket.of("n")) >= 5)
    assert (socket.recovered, socket.sid) == (True, sid)
    assert [args[:-1] for args in socket.of("n")] == [[1], [2, b"data"], [3], [4], [5]]
    assert await here.rooms(socket) == {"room", "busy"}
    await here.stop()


# -- the broker goes away ----------------------------------------------------------------------------------------------


async def test_rooms_joined_from_outside_outlast_the_broker_and_lost_memberships_do_not(
    tmp_path_factory: pytest.TempPathFactory, crowd: Crowd
):
    async with running_stack(tmp_path_factory.mktemp("refresh")) as stack:
        service = Service(stack.bus, stack.fresh_namespace())
        await service.start()
        scene = Scene(stack, crowd, service, Emitter(stack.bus, service.namespace))
        service.rooms["ann"] = ["kept", "left", "both"]
        socket = await scene.join(0, "ann")
        await scene.emitter.join("guest", "became member", "both")
        service.rooms["ann"] = ["kept", "became member"]
        verified = service.verified
        await stack.nats.stop()
        await stack.nats.start()
        await until(lambda: service.verified > verified, seconds=20)

        async def has_rooms(*rooms: str) -> bool:
            return await scene.rooms(socket) == {*rooms}

        await until(lambda: has_rooms("kept", "guest", "became member"), "the lost memberships have ended")
        service.rooms["ann"] = ["kept"]
        verified = service.verified
        await stack.nats.stop()
        await stack.nats.start()
        await until(lambda: service.verified > verified, seconds=20)
        await until(lambda: has_rooms("kept", "guest"), "the lost membership has ended")
        await scene.emitter.to("guest").emit("x")
        await socket.until(lambda: socket.of("x") == [[]])
        await scene.stop()
