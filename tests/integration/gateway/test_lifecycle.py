"""One life of a connection: whatever a client, a service or an administrator does to it, in whatever state it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest

from parley.common.wire.identity import Authenticate, CheckWelcome, Identity, Unwelcome, UnwelcomeUsers
from parley.common.wire.recovery import Recover, Recovered
from parley.framework import Router, Service
from parley.gateway import lifecycle
from parley.gateway.admission.admission import Admission
from parley.gateway.connections.connection import Connection
from parley.gateway.lifecycle import Lifecycle
from parley.gateway.recovery.recovery import Recovery
from parley.gateway.socketio.attempt import MAX_HELD, Attempt
from parley.gateway.socketio.server import SocketIoServer
from parley.testing import RunningServer, running_server
from parley.testing.tokens import authenticate
from tests.support.gateway.lives import (
    NAMESPACES,
    Hand,
    ack,
    at_the_door,
    ended,
    forget,
    gate,
    hand,
    handled,
    hands,
    kick,
    refusal,
    served,
    service,
)
from tests.support.waiting import until


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    async with served(nats_url) as running:
        yield running


@pytest.fixture(autouse=True)
def _blank() -> Iterator[None]:
    forget()
    yield
    gate.set()


@pytest.fixture
def asked_servers(monkeypatch: pytest.MonkeyPatch) -> list[SocketIoServer]:
    """The Socket.IO server that was last asked for a namespace."""
    servers: list[SocketIoServer] = []
    connect = SocketIoServer._connect

    def recorded(self: SocketIoServer, *arguments: Any) -> None:
        servers[:] = [self]
        connect(self, *arguments)

    monkeypatch.setattr(SocketIoServer, "_connect", recorded)
    return servers


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways give up, and try again, sooner."""
    monkeypatch.setattr(lifecycle, "PATIENCE", 0.1)
    monkeypatch.setattr(lifecycle, "FIRST_PAUSE", 0.1)


# -- namespaces beside each other --------------------------------------------------------------------------------------


async def test_a_namespace_whose_service_is_away_leaves_its_neighbours_alone(server: RunningServer, impatient: None):
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/gone")
        for n in range(20):
            assert (await socket.acked("/a", n))["ok"]
            await asyncio.sleep(0.02)


async def test_it_is_tried_again_until_the_service_is_there(server: RunningServer, impatient: None, nats_url: str):
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/gone")
        await asyncio.sleep(0.3)
        back = Router[None]("/gone")
        gone = Service("gone", back)
        async with gone.running(gone.settings(nats_url=nats_url, instance="gone1")):
            socket.admitted(await socket.text(), "/gone")
            assert (await socket.acked("/a", 1))["ok"]


async def test_alone_on_its_transport_it_is_sent_to_come_again(server: RunningServer, impatient: None):
    async with hand(server) as socket:
        await socket.connect("/gone")
        assert await socket.close_code() == 1001


async def test_what_is_emitted_into_one_namespace_does_not_wait_for_another(server: RunningServer):
    gate.clear()
    async with hand(server) as socket:
        await socket.connect("/a")
        await socket.connect("/slow")
        socket.admitted(await socket.text(), "/a")
        for n in range(200):
            await socket.send(f'42/a,{n}["hi",{n}]')
        assert {ack(await socket.text(), "/a", n)["n"] for n in range(200)} == set(range(200))
        gate.set()
        socket.admitted(await socket.text(), "/slow")
        assert (await socket.acked("/slow", 1))["ok"]


async def test_what_is_emitted_too_early_waits_within_a_bound_and_keeps_its_order(server: RunningServer):
    gate.clear()
    async with hand(server) as socket:
        await socket.connect("/slow")
        for n in range(MAX_HELD + 3):
            await socket.send(f'42/slow,{n}["hi",{n}]')
        for n in range(3):
            assert ack(await socket.text(), "/slow", MAX_HELD + n)["error"]["code"] == "overloaded"
        gate.set()
        socket.admitted(await socket.text(), "/slow")
        for n in range(MAX_HELD):
            assert ack(await socket.text(), "/slow", n)["ok"]
        assert handled == [("/slow", n) for n in range(MAX_HELD)]


# -- while it is being let in ------------------------------------------------------------------------------------------


async def test_a_second_connect_before_the_answer_gets_the_one_answer_and_a_living_socket(server: RunningServer):
    gate.clear()
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/slow")
        await until(lambda: len(at_the_door) == 1)
        await socket.connect("/slow")
        await until(lambda: len(at_the_door) == 2)
        gate.set()
        sid = socket.admitted(await socket.text(), "/slow")["sid"]
        assert sid == at_the_door[1].sid
        assert (await socket.acked("/slow", 1))["sid"] == sid
        assert (await socket.acked("/a", 1))["ok"]
        assert [c.sid for c in await server.emitter("/slow").fetch_connections()] == [sid]


async def test_connect_to_a_namespace_it_is_in_is_leaving_and_joining(server: RunningServer):
    async with hand(server) as socket:
        first = await socket.joined("/a")
        second = await socket.joined("/a")
        assert first["sid"] != second["sid"]
        await until(lambda: (socket.user, "/a", "replaced") in ended)
        assert (await socket.acked("/a", 1))["sid"] == second["sid"]
        assert [c.sid for c in await server.emitter("/a").fetch_connections()] == [second["sid"]]


async def test_who_leaves_before_the_answer_gets_none_and_the_service_hears_of_it(server: RunningServer):
    gate.clear()
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/slow")
        await until(lambda: at_the_door)
        await socket.send("41/slow,")
        assert (await socket.acked("/a", 1))["ok"]
        gate.set()
        await until(lambda: (socket.user, "the door", "client namespace disconnect") in ended)
        assert (await socket.acked("/a", 2))["ok"]
        await socket.joined("/slow")


async def test_who_is_lost_before_the_answer_leaves_no_trace(server: RunningServer):
    gate.clear()
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/slow")
        await until(lambda: at_the_door)
    await until(lambda: (socket.user, "/a", "transport close") in ended)
    gate.set()
    await until(lambda: (socket.user, "the door", "transport close") in ended)
    assert await server.emitter("/slow").fetch_connections() == []


@pytest.mark.parametrize("code", ["kicked", "banned"])
async def test_a_kick_before_the_answer_is_the_answer(server: RunningServer, code: str):
    gate.clear()
    async with hand(server) as socket:
        await socket.joined("/a")
        await socket.connect("/slow")
        await until(lambda: at_the_door)
        await kick(server, socket.user, code)
        said = {await socket.text() for _ in range(3)}
        assert {f'42/a,["kicked",{{"code":"{code}","reason":"bye"}}]', "41/a,"} < said
        (refused,) = (text for text in said if text.startswith("44"))
        assert refusal(refused, "/slow") == code
        await socket.closed()
    gate.set()
    await until(lambda: (socket.user, "/a", code) in ended)
    assert await server.emitter("/slow").fetch_connections() == []


async def test_a_kick_in_the_very_last_moment_refuses(server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    admit, began = Admission.admit, Lifecycle._try
    lives: list[Lifecycle] = []

    async def caught(self: Lifecycle, attempt: Attempt, patience: float) -> None:
        lives.append(self)
        await began(self, attempt, patience)

    async def kicked(self: Admission, attempt: Attempt, connection: Connection, patience: float) -> Any:
        admitted = await admit(self, attempt, connection, patience)
        assert lives[0].end_user("eve", lifecycle.Code.KICKED, "") == 1
        return admitted

    monkeypatch.setattr(Lifecycle, "_try", caught)
    monkeypatch.setattr(Admission, "admit", kicked)
    async with hand(server, "eve") as socket:
        await socket.connect("/a")
        assert refusal(await socket.text(), "/a") == "kicked"
        # There is no CONNECT after it, which would leave a socket that nothing reaches.
        await socket.send("40/nowhere,")
        assert (await socket.text()).startswith("44/nowhere,")
        assert await server.emitter("/a").to_user("eve").fetch_connections() == []


# -- its end -----------------------------------------------------------------------------------------------------------


async def test_a_kick_is_told_in_every_namespace_of_the_transport(server: RunningServer):
    async with hands(server, 2) as (ann, ben):
        for namespace in ("/a", "/b", "/guests"):
            await ann.joined(namespace)
        await ben.joined("/a")
        await kick(server, ann.user)
        told = [await ann.text() for _ in range(6)]
        for namespace in ("/a", "/b", "/guests"):
            event = f'42{namespace},["kicked",{{"code":"kicked","reason":"bye"}}]'
            assert [text for text in told if namespace in text] == [event, f"41{namespace},"]
        await ann.closed()
        assert (await ben.acked("/a", 1))["ok"]
        await until(lambda: {(ann.user, namespace, "kicked") for namespace in ("/a", "/b", "/guests")} <= set(ended))


async def test_what_fails_in_one_connection_leaves_no_other_unkicked(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    say, failures = SocketIoServer.say_disconnect, list[Connection]()

    def fail_once(self: SocketIoServer, connection: Connection) -> None:
        if not failures:
            failures.append(connection)
            raise RuntimeError("on purpose")
        say(self, connection)

    monkeypatch.setattr(SocketIoServer, "say_disconnect", fail_once)
    async with hands(server, 3, "everywhere") as sockets:
        for socket in sockets:
            await socket.joined("/a")
        await kick(server, "everywhere")
        for socket in sockets:
            await socket.closed()
    assert failures
    assert await server.emitter("/a").fetch_connections() == []


@pytest.mark.parametrize("by", ["service", "client"])
async def test_a_transport_that_has_left_its_last_namespace_and_joins_no_other_is_closed_in_time(by: str):
    async with served(gateway_connect_timeout=0.4) as server, hand(server) as socket:
        await socket.joined("/a")
        await socket.joined("/b")
        began = time.monotonic()
        for namespace in ("/a", "/b"):
            if by == "client":
                await socket.send(f"41{namespace},")
            else:
                assert await server.emitter(namespace).disconnect() == 1
                assert await socket.text() == f"41{namespace},"
            if namespace == "/a":
                # It is in another, which keeps it for as long as it likes.
                while time.monotonic() < began + 0.8:
                    assert (await socket.acked("/b", 1))["ok"]
                    await asyncio.sleep(0.05)
        # As a client does that has passed over DISCONNECT: it answers heartbeats, and emits in vain.
        await socket.send('42/b,2["hi",2]')
        assert await socket.close_code() == 1000


async def test_a_service_that_closes_the_transport_ends_every_namespace_with_disconnect(server: RunningServer):
    async with hand(server) as socket:
        for namespace in ("/a", "/b"):
            await socket.joined(namespace)
        assert await server.emitter("/a").disconnect(close=True) == 1
        assert {await socket.text() for _ in range(2)} == {"41/a,", "41/b,"}
        await socket.closed()
    await until(lambda: {(socket.user, name, "server disconnect") for name in ("/a", "/b")} <= set(ended))


async def test_a_service_may_end_one_namespace_alone(server: RunningServer):
    async with hand(server) as socket:
        for namespace in ("/a", "/b"):
            await socket.joined(namespace)
        assert await server.emitter("/a").disconnect() == 1
        assert await socket.text() == "41/a,"
        assert (await socket.acked("/b", 1))["ok"]


async def test_a_connection_ends_with_its_token_where_the_namespace_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "SOON", 0.1)

    async def briefly(claim: Authenticate) -> Identity:
        # Its clock is two minutes off, and that is no matter.
        return msgspec.structs.replace(await authenticate(claim), expires_at=time.time() - 120, valid_for=0.5)

    monkeypatch.setattr(running_server, "authenticate", briefly)
    namespaces = NAMESPACES | {"/b": {"expires": True, "recovery": 60}}
    async with served(namespaces=namespaces) as server, hands(server, 2) as (ann, ben):
        await ben.joined("/a")
        await ann.joined("/a")
        joined = await ann.joined("/b")
        # No DISCONNECT: stock clients stay away after it.
        assert await ann.close_code() == 1001
        await until(lambda: {(ann.user, name, "expired_token") for name in ("/a", "/b")} <= set(ended))
        assert (await ben.acked("/a", 1))["ok"]
        async with hand(server, ann.user) as again:
            assert (await again.joined("/b", pid=joined["pid"], offset=""))["sid"] == joined["sid"]


async def test_nothing_waits_for_the_token_of_who_has_left(
    monkeypatch: pytest.MonkeyPatch, asked_servers: list[SocketIoServer]
):
    async def for_years(claim: Authenticate) -> Identity:
        return msgspec.structs.replace(await authenticate(claim), expires_at=time.time() + 10**9, valid_for=1e9)

    monkeypatch.setattr(running_server, "authenticate", for_years)
    async with served(namespaces=NAMESPACES | {"/b": {"expires": True}}) as server, hand(server) as ann:
        await ann.joined("/b")
        wheel = asked_servers[0].engine._wheel
        before = sum(map(len, wheel._slots.values()))
        for _ in range(5):
            await ann.send("41/b,")
            await ann.joined("/b")
        assert sum(map(len, wheel._slots.values())) <= before


async def test_ipv4_clients_of_a_server_that_listens_on_ipv6_are_not_one_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "REFUSALS_BURST", 2)
    monkeypatch.setattr(lifecycle, "REFUSALS_PER_SECOND", 0.001)
    async with served() as server, aiohttp.ClientSession() as http:
        for number in range(1, 5):
            url, told = f"{server.url}/socket.io/?EIO=4&transport=websocket", f"::ffff:192.0.2.{number}"
            async with http.ws_connect(url, headers={"X-Forwarded-For": told}) as raw:
                socket = Hand(raw)
                await socket.handshake()
                await socket.connect("/a", token="nonsense")
                assert refusal(await socket.text(), "/a") == "invalid_token"
                await socket.joined("/a")


async def test_addresses_that_are_refused_again_and_again_lose_their_transports(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "REFUSALS_BURST", 3)
    monkeypatch.setattr(lifecycle, "REFUSALS_PER_SECOND", 0.001)
    async with served() as server:
        async with hand(server) as socket:
            for _ in range(4):
                await socket.connect("/a", token="nonsense")
                assert refusal(await socket.text(), "/a") == "invalid_token"
            await socket.closed()
        async with hand(server) as socket:
            await socket.joined("/a")
            await socket.connect("/b", token="nonsense")
            assert refusal(await socket.text(), "/b") == "invalid_token"
            assert (await socket.acked("/a", 1))["ok"]


async def test_a_flood_of_connects_ends_the_transport(server: RunningServer):
    async with hand(server) as socket:
        for _ in range(101):
            await socket.send("40/nowhere,")
        await socket.closed()


# -- recovery ----------------------------------------------------------------------------------------------------------


async def test_services_know_a_recovered_connection_by_the_sid_it_has():
    kept, doors = Router[None]("/kept"), list[Any]()

    async def keep(connection: Any, call_next: Any) -> None:
        doors.append(connection)
        await call_next()

    @kept.on("hi")
    async def _hi(context: Any) -> dict[str, Any]:
        await doors[-1].emit("hello")
        await doors[-1].join("table")
        found = await context.everybody.to("table").fetch_connections()
        return {"context": context.sid, "connection": doors[-1].sid, "at the table": len(found)}

    kept.use_connection(keep)
    options = {"/kept": {"recovery": 60}}
    async with running_server.running(Service("kept", kept), namespaces=options) as server:
        async with hand(server) as socket:
            first = await socket.joined("/kept")
        await until(lambda: doors[0].gone)
        async with hand(server, socket.user) as socket:
            second = await socket.joined("/kept", pid=first["pid"], offset="")
            assert second["sid"] == first["sid"] == doors[-1].sid
            await socket.send('42/kept,1["hi"]')
            said = [await socket.text() for _ in range(2)]
            assert any(text.startswith('42/kept,["hello"') for text in said)
            (answer,) = (text for text in said if text.startswith("43"))
            assert ack(answer, "/kept", 1) == {
                "ok": True, "context": first["sid"], "connection": first["sid"], "at the table": 1,
            }  # fmt: skip


@pytest.mark.parametrize("gateways", [1, 2])
async def test_a_guest_who_brings_the_pid_is_that_guest(gateways: int):
    async with running_server.running(service, namespaces=NAMESPACES, gateways=gateways) as server:
        async with hand(server) as socket:
            first = socket.admitted(await socket.join("/guests", {}), "/guests")
        for who, same in (({}, False), ({"pid": first["pid"] + "x"}, False), ({"pid": first["pid"]}, True)):
            async with hand(server, gateway=gateways - 1) as socket:
                joined = socket.admitted(await socket.join("/guests", who), "/guests")
                assert (joined["sid"] == first["sid"]) is same
        async with hand(server) as socket:
            # The secret is a guest's, not one for who has a token.
            assert (await socket.joined("/guests", pid=first["pid"]))["sid"] != first["sid"]


@pytest.mark.parametrize("gateways", [1, 2])
async def test_a_kick_that_was_missed_ends_a_guest_who_came_back_after_it(
    gateways: int, monkeypatch: pytest.MonkeyPatch
):
    kicked = float("inf")

    async def check(question: CheckWelcome) -> UnwelcomeUsers:
        ago = time.monotonic() - kicked
        older = [position for position, held in enumerate(question.held) if held.age > ago]
        return UnwelcomeUsers([Unwelcome(position, "kicked", "bye") for position in older])

    monkeypatch.setattr(running_server, "check_welcome", check)
    async with running_server.running(service, namespaces=NAMESPACES, gateways=gateways) as server:
        async with hand(server) as socket:
            first = socket.admitted(await socket.join("/guests", {}), "/guests")
        admitted = time.monotonic()
        # Ages are compared here: the guest has to be older than the kick by more than a question's way takes.
        await until(lambda: time.monotonic() - admitted > 0.5)
        kicked = time.monotonic()
        async with hand(server, gateway=gateways - 1) as socket, hand(server) as another:
            joined = socket.admitted(await socket.join("/guests", {"pid": first["pid"]}), "/guests")
            assert joined["sid"] == first["sid"]
            another.admitted(await another.join("/guests", {}), "/guests")
            assert (await socket.text()).startswith('42/guests,["kicked",')
            assert (await another.acked("/guests", 1))["ok"]


async def test_a_kicked_guest_is_not_recovered(server: RunningServer):
    async with hand(server) as socket:
        first = socket.admitted(await socket.join("/guests", {}), "/guests")
        (info,) = await server.emitter("/guests").fetch_connections()
    await until(lambda: (info.user_id, "/guests", "transport close") in ended)
    await kick(server, info.user_id)
    # Who answers this has heard of the kick.
    await server.emitter("/guests").fetch_connections()
    async with hand(server) as socket:
        joined = socket.admitted(await socket.join("/guests", {"pid": first["pid"]}), "/guests")
        assert joined["sid"] != first["sid"]


@pytest.mark.parametrize("gateways", [1, 2])
async def test_a_connection_is_not_spent_on_who_goes_away_while_being_let_in(
    gateways: int, monkeypatch: pytest.MonkeyPatch
):
    namespaces = NAMESPACES | {"/slow": {"recovery": 60}}
    claimed = asyncio.Event()

    async def slowly(self: Recovery, question: Recover) -> Recovered:
        answer = self._on_recover(question)
        if question.step == "claim" and not claimed.is_set():
            claimed.set()
            await asyncio.sleep(0.3)
        return answer

    monkeypatch.setattr(Recovery, "_answer", slowly)
    async with running_server.running(service, namespaces=namespaces, gateways=gateways) as server:
        async with hand(server) as socket:
            first = await socket.joined("/slow")
        user = socket.user
        await until(lambda: (user, "/slow", "transport close") in ended)
        if gateways == 1:
            gate.clear()
        async with hand(server, user, gateways - 1) as socket:
            await socket.connect("/slow", pid=first["pid"])
            await until(claimed.is_set if gateways == 2 else lambda: len(at_the_door) == 2)
        gate.set()
        async with hand(server, user, gateways - 1) as socket:
            again = await socket.joined("/slow", pid=first["pid"])
            assert again["sid"] == first["sid"]
            assert (await socket.acked("/slow", 1))["sid"] == first["sid"]


async def test_what_is_said_at_connect_counts_until_the_answer_and_its_cursors_stay_as_they_came(
    monkeypatch: pytest.MonkeyPatch, asked_servers: list[SocketIoServer]
):
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(claim: Authenticate) -> Identity:
        asked.set()
        await answer.wait()
        return await authenticate(claim)

    monkeypatch.setattr(running_server, "authenticate", slow)
    many = {f"room{number}": number for number in range(3000)}
    async with (
        served(gateway_max_unjoined_memory=128 * 1024) as server,
        hands(server, 3) as (ann, ben, bob),
        AsyncExitStack() as stack,
    ):
        stack.callback(answer.set)
        await ann.connect("/a", cursors=many)
        await asked.wait()
        engine = asked_servers[0].engine
        size = len(str(many)) - 2 * len(many)
        assert engine.budget._unjoined.held >= size
        attempts = [found for session in engine.sessions.values() for found in session.client.namespaces.values()]
        assert [type(attempt.auth["cursors"]) for attempt in attempts] == [msgspec.Raw]
        await ben.connect("/a", cursors=many)
        await until(lambda: engine.budget._unjoined.held >= 2 * size)
        await bob.connect("/a", cursors=many)
        assert await bob.close_code()
        answer.set()
        for socket in (ann, ben):
            socket.admitted(await socket.text(), "/a")
        assert (engine.budget.held, engine.budget._unjoined.held) == (0, 0)


async def test_middleware_that_is_through_when_nobody_waits_any_more_asks_no_service(
    monkeypatch: pytest.MonkeyPatch, asked_servers: list[SocketIoServer]
):
    left: list[Connection] = []
    ask = Admission._ask

    async def too_late(self: Admission, attempt: Attempt, connection: Connection, deadline: float) -> None:
        # As when DISCONNECT arrives in the loop turn in which the middleware calls on.
        asked_servers[0].message_received(connection.session, "1/a,")
        left.append(connection)
        await ask(self, attempt, connection, deadline)

    monkeypatch.setattr(Admission, "_ask", too_late)
    async with served(namespaces=NAMESPACES | {"/a": {"connection_middleware": ["log"]}}) as own, hand(own) as ann:
        await ann.connect("/a")
        await until(lambda: left)
        monkeypatch.setattr(Admission, "_ask", ask)
        await ann.joined("/b")
    assert not left[0].rooms
    assert not left[0].lifecycle_events
