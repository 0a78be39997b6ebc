"""What the tests of egg-socket.io, the framework that others come from, show of it: here the same, or why not.

Real NATS, two gateways in front, two replicas of one service and another service behind them. `ConnectionBehaviour` is
in tests/support/testing, and tests/integration/testing/test_testing_kit.py runs it on one gateway and on two.

| behaviour there | test here, or why there is none |
|---|---|
| controllers that are async functions | ConnectionBehaviour.test_a_controller_gets_typed_arguments... |
| controllers that are classes | ConnectionBehaviour.test_a_class_of_controllers..., test_typed_controllers... |
| ids of one's own (`generateId`) | none: proxies route by sids, so gateways make them |
| one process | ConnectionBehaviour on one gateway; acceptance/test_one_command.py |
| several processes behind a sticky proxy | test_any_replica_serves_any_gateway; acceptance/test_failover.py |
| `uws` as the WebSocket engine | none: gateways have an engine of their own, test_engine_wire.py |
| the redis adapter | none: NATS is always there; ConnectionBehaviour on two gateways, test_emitter.py |
| connection middleware at connect and disconnect (2) | test_connection_middleware_surrounds... |
| packet middleware before and after (2) | test_packet_middleware_surrounds... |
| an event without a controller still releases middleware | test_an_event_without_a_controller... |
| a listener of one's own next to a routed event | test_events_that_middleware_answers... |
| middleware that returns without `next` | test_packets_that_are_not..., test_connections_that_are_not... |
| a session from the cookie, or in an external store (2) | test_data_that_is_set_at_connect... (in the gateway) |
| without a session: `auth failed!` | test_without_what_a_session_is_made_of... |
| errors in controllers, also at the end (2) | test_a_controller_that_crashes..., test_a_crash_at_the_end... |
| errors in connection middleware (2) | test_connection_middleware_that_crashes..., test_a_crash_after... |
| errors in packet middleware (2) | test_packet_middleware_that_crashes... |
| redis refuses connections: logged, the app stays up | test_while_nats_is_away... |
| namespaces | test_namespaces_have_controllers_and_middleware_of_their_own |
| the same in TypeScript, with a namespace and without (2) | test_typed_controllers... |

Not tested there: kick, rooms, online lists and exchange are in acceptance/test_p2p.py; acks in
ConnectionBehaviour.test_what_is_answered_with_ack_arrives_as_it_is; broadcasts across processes in the same on two
gateways.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from parley.framework import (
    Code,
    ConnectionContext,
    ConnectionMiddleware,
    Context,
    Next,
    PacketMiddleware,
    Reject,
    Router,
    Runtime,
    Service,
    on,
)
from parley.testing import ConnectError, RunningServer, StockClient, running
from tests.support.bus import fresh
from tests.support.own_server import Server as Nats
from tests.support.waiting import until

lines: list[Any] = []
"""What middleware and controllers wrote down, in order."""
replicas = itertools.count(1)
TROUBLE: dict[str, Any] = {
    "crash": RuntimeError("a secret"),
    "reject": Reject(Code.LIMIT_EXCEEDED, "no", data={"n": 3}),
}


@pytest.fixture(autouse=True)
def _blank_lines() -> None:
    lines.clear()


# -- middleware, for gateways and services alike -----------------------------------------------------------------------


def packets(name: str) -> PacketMiddleware:
    """Write down what passes, and do what the event's first argument says, as in `["gateway b", "before", "crash"]`."""

    async def middleware(context: Context[Any], call_next: Next) -> None:
        args = context.args
        where, when, what = args[0] if args and isinstance(args[0], list) else ("", "", "")
        lines.append(f"+{name}")
        try:
            if where == name and when == "before":
                if what == "return":
                    return
                raise TROUBLE[what]
            await call_next()
            if where == name:
                raise TROUBLE[what]
        finally:
            lines.append(f"-{name}")

    return middleware


def connections(name: str) -> ConnectionMiddleware:
    """Write down who comes and goes, and do what the query says, as in `{"gateway b": "crash"}`."""

    async def middleware(connection: ConnectionContext, call_next: Next) -> None:
        what, user = connection.handshake.query.get(name), connection.identity.user_id
        lines.append((f"+{name}", user))
        try:
            if what == "return":
                return
            if what in TROUBLE:
                raise TROUBLE[what]
            await call_next()
            if what == "crash after":
                raise TROUBLE["crash"]
        finally:
            lines.append((f"-{name}", user, connection.reason))

    return middleware


async def signed_in(connection: ConnectionContext, call_next: Next) -> None:
    """Make the session of what the client says of itself, or refuse it."""
    card = connection.handshake.auth.get("card", "guest card")
    if card == "none":
        raise Reject(Code.FORBIDDEN, "auth failed!", data={"missing": "card"})
    connection.data["card"] = card
    await call_next()


async def stamped(connection: ConnectionContext, call_next: Next) -> None:
    """Add to the session what only the service's own state knows."""
    connection.data["stamp"] = [connection.data["card"], connection.state > 0]
    await call_next()


async def answering(context: Context[Any], call_next: Next) -> None:
    """Answer what has no controller."""
    if context.event == "ping":
        context.ack("pong", *context.args)
    else:
        await call_next()


async def telling(context: Context[Any], call_next: Next) -> None:
    """Tell the client before and after the controller."""
    await context.emit("before", context.event)
    await call_next()
    await context.emit("after", context.result)


gateway_connections = [connections("gateway a"), connections("gateway b")]
gateway_packets = [packets("gateway a"), packets("gateway b")]
connection_a, connection_b = gateway_connections
packet_a, packet_b = gateway_packets


def passed() -> list[str]:
    """What was written down of events."""
    return [line for line in lines if isinstance(line, str)]


def life(user: str) -> list[Any]:
    """What was written down of a user's connection, without the name."""
    return [(line[0], *line[2:]) for line in lines if isinstance(line, tuple) and line[1] == user]


def here(*names: str) -> list[str]:
    """As the configuration names what is in this module."""
    return [f"{__name__}:{name}" for name in names]


NAMESPACES: dict[str, dict[str, Any]] = {
    "/peer": {
        "connection_middleware": here("connection_a", "signed_in", "connection_b"),
        "packet_middleware": here("packet_a", "answering", "packet_b"),
    },
    "/typed": {"packet_middleware": here("telling"), "auth": "guest"},
}


# -- services ----------------------------------------------------------------------------------------------------------

peer: Router[int] = Router("/peer")
peer.use(packets("service a"), packets("service b"))
peer.use_connection(connections("service a"), stamped, connections("service b"))


@peer.on("work")
async def work(context: Context[int], *_args: Any) -> dict[str, int]:
    lines.append("work")
    return {"replica": context.state}


@peer.on("session")
async def session(context: Context[int]) -> dict[str, Any]:
    return {"replica": context.state, "session": dict(context.data)}


@peer.on("trouble")
async def trouble(context: Context[int], kind: str) -> None:
    raise TROUBLE[kind]


@peer.on("plan")
async def plan(context: Context[int], event: str) -> None:
    context.data["crash at"] = event


@peer.on("disconnecting")
async def disconnecting(context: Context[int], reason: str, _rooms: list[str]) -> None:
    end(context, reason)


@peer.on("disconnect")
async def disconnect(context: Context[int], reason: str, _rooms: list[str]) -> None:
    end(context, reason)


def end(context: Context[int], reason: str) -> None:
    lines.append((context.event, context.identity.user_id, reason, context.data["card"]))
    if context.data.get("crash at") == context.event:
        raise TROUBLE["crash"]


class Order(msgspec.Struct):
    item: str
    count: int = 1


typed: Router[None] = Router("/typed")


class Desk:
    def __init__(self, context: Context[None]) -> None:
        self.context = context

    @on("work")
    async def work(self, order: Order) -> Order:
        await self.context.emit("res", order)
        return Order(order.item, order.count + 1)


typed.controllers(Desk)


@asynccontextmanager
async def numbered(_runtime: Runtime) -> AsyncGenerator[int]:
    yield next(replicas)


peer_service = Service("peer", peer, lifespan=numbered)
typed_service = Service("typed", typed)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RunningServer]:
    services = (peer_service, peer_service, typed_service)
    async with running(*services, namespaces=NAMESPACES, gateways=2) as started:
        yield started


@pytest.fixture(params=[0, 1], ids=["gateway 1", "gateway 2"])
async def ann(request: pytest.FixtureRequest, server: RunningServer) -> AsyncIterator[StockClient]:
    """A client of `/peer`."""
    client = await server.connect("/peer", "ann", gateway=request.param)
    yield client
    await client.close()


@pytest.fixture
async def ben(server: RunningServer) -> AsyncIterator[StockClient]:
    """Another one, who is to notice nothing."""
    client = await server.connect("/peer", "ben", gateway=1)
    yield client
    assert client.received == []
    assert (await client.emit("work"))["ok"]
    await client.close()


@pytest.fixture
def user() -> str:
    """Somebody whose lines nobody else's are mixed up with."""
    return fresh("user")


async def refusal(connecting: Any) -> dict[str, Any]:
    """The code and the data with which a connection is refused."""
    with pytest.raises(ConnectError) as refused:
        await connecting
    return refused.value.data


# -- middleware --------------------------------------------------------------------------------------------------------

INWARD = ["gateway a", "gateway b", "service a", "service b"]


async def test_packet_middleware_surrounds_controllers_in_the_order_configured(ann: StockClient):
    assert (await ann.emit("work"))["ok"]
    assert passed() == [*(f"+{name}" for name in INWARD), "work", *(f"-{name}" for name in reversed(INWARD))]


async def test_an_event_without_a_controller_releases_middleware_at_once(ann: StockClient):
    assert (await ann.emit("nobody's", 1))["error"]["code"] == "unknown_event"
    assert passed() == [*(f"+{name}" for name in INWARD), *(f"-{name}" for name in reversed(INWARD))]


async def test_events_that_middleware_answers_stand_beside_those_with_a_controller(ann: StockClient):
    assert await ann.emit("ping", 1) == ("pong", 1)
    assert passed() == ["+gateway a", "-gateway a"]
    assert (await ann.emit("work"))["ok"]


@pytest.mark.parametrize("name", INWARD)
async def test_packets_that_are_not_let_through_skip_the_controller_and_resume_what_is_outside(
    ann: StockClient, name: str
):
    assert (await ann.emit("work", [name, "before", "return"]))["error"]["code"] == "forbidden"
    reached = INWARD[: INWARD.index(name) + 1]
    assert passed() == [*(f"+{one}" for one in reached), *(f"-{one}" for one in reversed(reached))]


async def test_connection_middleware_surrounds_a_connections_life(server: RunningServer, user: str):
    ann = await server.connect("/peer", user, gateway=1)
    assert life(user) == [(f"+{name}",) for name in INWARD]
    await ann.disconnect()
    reason = "client namespace disconnect"
    await until(lambda: len(life(user)) == 10)
    assert passed() == []
    # Gateway and service do not wait for each other.
    out = [[line for line in life(user)[4:] if place in line[0]] for place in ("gateway", "service", "disconnect")]
    assert out == [
        [("-gateway b", reason), ("-gateway a", reason)],
        [("-service b", reason), ("-service a", reason)],
        [("disconnecting", reason, "guest card"), ("disconnect", reason, "guest card")],
    ]


@pytest.mark.parametrize("name", INWARD)
async def test_connections_that_are_not_let_through_are_refused_and_resume_what_is_outside(
    server: RunningServer, user: str, name: str
):
    refused = await refusal(server.connect("/peer", user, query={name: "return"}))
    assert refused["code"] == "forbidden"
    reached = INWARD[: INWARD.index(name) + 1]
    assert life(user) == [*((f"+{one}",) for one in reached), *((f"-{one}", "") for one in reversed(reached))]


# -- processes and namespaces ------------------------------------------------------------------------------------------


async def test_any_replica_serves_any_gateway(server: RunningServer):
    clients = [await server.connect("/peer", user, gateway=n) for n, user in enumerate(("ann", "ben"))]
    for client in clients:
        served = {(await client.emit("work"))["replica"] for _ in range(30)}
        assert len(served) == 2
        await client.close()


async def test_namespaces_have_controllers_and_middleware_of_their_own(server: RunningServer, ben: StockClient):
    guest = await server.connect("/typed")
    assert await guest.emit("work", {"item": "pear"}) == {"ok": True, "item": "pear", "count": 2}
    assert passed() == []
    assert (await guest.emit("session"))["error"]["code"] == "unknown_event"
    await server.emitter("/typed").emit("news")
    assert await guest.event("news") == []


async def test_typed_controllers_get_what_they_say_and_middleware_tells_before_and_after(server: RunningServer):
    guest = await server.connect("/typed", gateway=1)
    await guest.tell("work", {"item": "pear", "count": 2})
    await guest.event("after")
    assert guest.received == [
        ("before", ["work"]), ("res", [{"item": "pear", "count": 2}]), ("after", [{"item": "pear", "count": 3}]),
    ]  # fmt: skip
    assert (await guest.emit("work", {"count": 2}))["error"]["code"] == "invalid_payload"


async def test_who_is_asked_for_by_sid_is_that_connection_and_nobody_in_a_room_of_that_name(server: RunningServer):
    guest = await server.connect("/typed")
    emitter = server.emitter("/typed")
    await emitter.socket(guest.sid).join("lobby")
    for name in ("lobby", f"user:{(await emitter.socket(guest.sid).fetch()).user_id}"):
        with pytest.raises(Reject) as refused:
            await emitter.socket(name).fetch()
        assert refused.value.code is Code.NOT_FOUND


async def test_who_enters_a_room_named_like_a_sid_does_not_hear_what_is_for_that_connection_alone(
    server: RunningServer,
):
    guest, eve = await server.connect("/typed"), await server.connect("/typed", gateway=1)
    emitter = server.emitter("/typed")
    await emitter.socket(eve.sid).join(guest.sid)
    await emitter.socket(guest.sid).emit("secret")
    await emitter.emit("marker")
    assert await guest.event("secret") == []
    assert await eve.event("marker") == []
    assert [event.event for event in eve.received] == ["marker"]


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_data_that_is_set_at_connect_is_there_on_every_replica_and_ends_with_its_connection(
    server: RunningServer, user: str
):
    ann = await server.connect("/peer", user, auth={"card": "gold"})
    told = [await ann.emit("session") for _ in range(30)]
    assert len({one["replica"] for one in told}) == 2
    assert all(one["session"] == {"card": "gold", "stamp": ["gold", True]} for one in told)
    await ann.emit("plan", "never")
    assert (await ann.emit("session"))["session"]["crash at"] == "never"
    await ann.disconnect()
    await until(lambda: ("disconnect", "client namespace disconnect", "gold") in life(user))
    again = await server.connect("/peer", user, gateway=1)
    assert (await again.emit("session"))["session"] == {"card": "guest card", "stamp": ["guest card", True]}
    await again.close()


async def test_without_what_a_session_is_made_of_a_connection_is_refused(
    server: RunningServer, ben: StockClient, user: str
):
    with pytest.raises(ConnectError) as refused:
        await server.connect("/peer", user, auth={"card": "none"})
    assert refused.value.message == "auth failed!"
    assert (refused.value.data["code"], refused.value.data["data"]) == ("forbidden", {"missing": "card"})
    assert life(user) == [("+gateway a",), ("-gateway a", "")]


# -- failures ----------------------------------------------------------------------------------------------------------


def tracebacks(logged: list[Any]) -> list[tuple[str, str, str]]:
    """What was logged with a traceback of the crash: the line, the event it was about, and whose it was."""
    # What is about no connection may be of an earlier test, such as a request there that is answered late.
    errors = [line for line in logged if line["log_level"] == "error" and "sid" in line]
    assert not [line for line in errors if "a secret" not in line.get("exception", "")]
    return [(line["event"], line.get("event_name", ""), line.get("sid", "")) for line in logged if "exception" in line]


async def test_a_controller_that_crashes_tells_its_client_a_code_and_the_log_why(ann: StockClient, ben: StockClient):
    with capture_logs(processors=[format_exc_info]) as logged:
        failed = await ann.emit("trouble", "crash")
        await ann.tell("trouble", "crash")
        assert await ann.event("error") == [failed["error"]]
    assert (failed["error"]["code"], "secret" in str(failed)) == ("internal", False)
    assert tracebacks(logged) == [("controller failed", "trouble", ann.sid)] * 2
    assert (await ann.emit("trouble", "reject"))["error"]["data"] == {"n": 3}
    assert (await ann.emit("work"))["ok"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", INWARD)
async def test_packet_middleware_that_crashes_tells_its_client_a_code_and_the_log_why(
    ann: StockClient, ben: StockClient, name: str, when: str
):
    with capture_logs(processors=[format_exc_info]) as logged:
        failed = await ann.emit("work", [name, when, "crash"])
        await ann.tell("work", [name, when, "crash"])
        assert await ann.event("error") == [failed["error"]]
    assert (failed["error"]["code"], "secret" in str(failed)) == ("internal", False)
    by = "controller failed" if "service" in name else "packet middleware failed"
    assert tracebacks(logged) == [(by, "work", ann.sid)] * 2
    assert passed().count("work") == (2 if when == "after" else 0)
    rejected = (await ann.emit("work", [name, when, "reject"]))["error"]
    assert (rejected["code"], rejected["data"]) == ("limit_exceeded", {"n": 3})
    assert (await ann.emit("work"))["ok"]


@pytest.mark.parametrize("name", INWARD)
async def test_connection_middleware_that_crashes_refuses_with_a_code_and_the_log_says_why(
    server: RunningServer, ben: StockClient, user: str, name: str
):
    with capture_logs(processors=[format_exc_info]) as logged:
        refused = await refusal(server.connect("/peer", user, query={name: "crash"}))
    assert (refused["code"], "secret" in str(refused)) == ("internal", False)
    assert [line for line, _, _ in tracebacks(logged)] == ["connection middleware failed"]
    refused = await refusal(server.connect("/peer", user, query={name: "reject"}))
    assert (refused["code"], refused["data"]) == ("limit_exceeded", {"n": 3})
    assert "disconnect" not in [line[0] for line in life(user)]


@pytest.mark.parametrize("name", INWARD)
async def test_a_crash_after_a_connection_is_gone_is_logged_and_all_else_is_done(
    server: RunningServer, ben: StockClient, user: str, name: str
):
    ann = await server.connect("/peer", user, query={name: "crash after"})
    with capture_logs(processors=[format_exc_info]) as logged:
        sid = ann.sid
        await ann.disconnect()
        await until(lambda: len(life(user)) == 10 and [line for line in logged if "exception" in line])
    assert tracebacks(logged) == [("connection middleware failed", "", sid)]
    assert sorted(line[0] for line in life(user)[4:]) == ["-gateway a", "-gateway b", "-service a", "-service b",
                                                     "disconnect", "disconnecting"]  # fmt: skip


@pytest.mark.parametrize("event", ["disconnecting", "disconnect"])
async def test_a_crash_at_the_end_is_logged_and_the_end_goes_on(
    server: RunningServer, ben: StockClient, user: str, event: str
):
    ann = await server.connect("/peer", user)
    assert (await ann.emit("plan", event))["ok"]
    with capture_logs(processors=[format_exc_info]) as logged:
        sid = ann.sid
        await ann.disconnect()
        await until(lambda: len(life(user)) == 10)
        await until(lambda: [line for line in logged if "exception" in line])
    assert tracebacks(logged) == [("controller failed", event, sid)]
    assert [line[0] for line in life(user) if line[0].startswith("d")] == ["disconnecting", "disconnect"]


async def test_while_nats_is_away_events_are_refused_and_the_service_comes_back_with_it(own_nats: Nats):
    settings = {"nats_url": own_nats.url, "request_timeout": 0.5}
    async with running(typed_service, settings=settings, namespaces={"/typed": {"auth": "guest"}}) as server:
        guest = await server.connect("/typed")
        with capture_logs() as logged:
            await own_nats.stop()
            await until(lambda: any("connection lost" in line["event"] for line in logged))
            failed = (await guest.emit("work", {"item": "pear"}))["error"]
            assert (failed["code"], failed["retryable"]) == ("unavailable", True)
            await own_nats.start()

            async def works() -> bool:
                return (await guest.emit("work", {"item": "pear"}))["ok"]

            await until(works, "the service answers again")
        assert guest.connected
