"""What a namespace's configuration does to its connections, on real gateways with stock clients."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.framework import Code, ConnectionContext, Context, Next, Reject, Router, Service
from parley.testing import ConnectError, running
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("one_nats")

router = Router("/place")
gate = asyncio.Event()
passed: list[str] = []


@router.on("handshake")
async def handshake(context: Context) -> dict[str, Any]:
    """What the service is told of how the connection came about."""
    shown = context.handshake
    return {"query": shown.query, "auth": shown.auth, "headers": shown.headers, "transport": shown.transport}


@router.on("wait", timeout=30)
async def wait(context: Context) -> None:
    """Take longer than gateways wait by default."""
    await gate.wait()


@router.on("number")
async def number(context: Context, value: int) -> dict[str, int]:
    """Say a number back."""
    return {"value": value}


@router.on("bytes", binary=True)
async def reverse(context: Context, data: bytes) -> None:
    """Answer with binary data."""
    context.ack(data[::-1], {"again": data})


@router.on("picture", binary=True)
async def picture(context: Context, *args: Any) -> dict[str, Any]:
    """Say binary data back in an ordinary ack, and to everybody."""
    await context.everybody.emit("pictures", *args)
    return {"pages": args, "data": b"\x89PNG"}


@router.on("count")
async def count(context: Context) -> dict[str, int]:
    """Count in the data."""
    context.data["count"] = context.data.get("count", 0) + 1
    return {"count": context.data["count"]}


service = Service("place", router)


async def outer(context: Context, call_next: Next) -> None:
    """Wait for the first event; see what became of each, and change one outcome."""
    passed.append(f"+{context.args}")
    context.data["outer"] = context.data.get("outer", 0) + 1
    if context.args == [1]:
        await gate.wait()  # the next ones must not overtake it meanwhile
    try:
        await call_next()
    except Reject as rejection:
        passed.append(f"!{rejection.code}")
        raise
    passed.append(f"-{context.result}")
    if context.result == {"value": 3}:
        context.result = {"value": 33}


async def framed(context: Context, call_next: Next) -> None:
    """Add to the result what the service made of it."""
    await call_next()
    if isinstance(context.result, dict):
        context.result = {**context.result, "frame": b"gold"}  # pyright: ignore[reportUnknownMemberType]


async def echoing(context: Context, call_next: Next) -> None:
    """Emit what came inside of something else."""
    await context.emit("echo", {"args": context.args})
    await call_next()


async def inner(context: Context, call_next: Next) -> None:
    """Replace, answer, refuse or swallow."""
    match context.args:
        case [2]:
            context.args = [22]
        case [4]:
            context.ack("answered here", b"\x04")
            return
        case [5]:
            raise Reject(Code.FORBIDDEN, "Not five.", data={"five": 5})
        case [6]:
            return
        case [7]:
            raise ZeroDivisionError
        case _:
            pass
    await call_next()


async def with_card(connection: ConnectionContext, call_next: Next) -> None:
    """Refuse who shows no card; greet the others, and see them off."""
    card = connection.handshake.auth.get("card")
    if card == "":
        return
    if card is None:
        raise Reject(Code.FORBIDDEN, "No card.", data={"needed": "card"})
    connection.data["card"] = card
    await connection.join("guests")
    await connection.emit("greeting", "welcome", b"\x01")
    passed.append("in")
    await call_next()
    passed.append(f"out {connection.reason} {connection.data}")


async def test_services_see_no_token_and_only_the_headers_that_are_asked_for():
    options = {"/place": {"headers": ["x-shown"]}}
    async with running(service, namespaces=options) as server:
        ann = await server.connect(
            "/place", user="ann", auth={"lang": "en", "cursors": {"r": 1}, "pid": "p", "offset": "o"},
            query={"room": "demo", "token": "secret"}, headers={"x-shown": "yes", "x-hidden": "no", "cookie": "c"},
        )  # fmt: skip
        assert await ann.emit("handshake") == {
            "ok": True, "query": {"room": "demo"}, "auth": {"lang": "en"}, "headers": {"x-shown": "yes"},
            "transport": "websocket",
        }  # fmt: skip


async def test_who_says_too_much_at_connect_is_refused():
    async with running(service) as server:
        with pytest.raises(ConnectError) as refused:
            await server.connect("/place", user="ann", auth={"more": "x" * 5000})
        assert refused.value.data["code"] == "payload_too_large"


async def test_a_namespace_may_give_its_controllers_more_time():
    gate.clear()
    options = {"/place": {"timeout": 20}}
    async with running(service, namespaces=options, settings={"gateway_command_timeout": 0.3}) as server:
        ann = await server.connect("/place", user="ann")
        waiting = asyncio.create_task(ann.emit("wait"))
        done, _ = await asyncio.wait({waiting}, timeout=1)
        assert not done
        gate.set()
        assert await waiting == {"ok": True}


async def test_a_namespace_may_have_a_rate_of_its_own():
    async with running(service, namespaces={"/place": {"events_per_second": 0.2}}) as server:
        ann, ben = await server.connect("/place", user="ann"), await server.connect("/place", user="ben")
        acks = [await ann.emit("number", 1) for _ in range(3)]
        assert [ack.get("ok") for ack in acks] == [True, True, False]
        assert acks[2]["error"]["code"] == "rate_limited"
        assert (await ben.emit("number", 1))["ok"]


async def test_controllers_answer_with_binary_data():
    async with running(service) as server:
        ann = await server.connect("/place", user="ann")
        assert await ann.emit("bytes", b"\x01\x02") == (b"\x02\x01", {"again": b"\x01\x02"})


async def test_what_controllers_return_holds_binary_data_also_when_the_gateways_middleware_adds_to_it():
    async with running(service, gateways=1) as server:
        ann = await server.connect("/place", user="ann")
        assert await ann.emit("picture", b"1", {"x": b"2"}) == {
            "ok": True, "pages": [b"1", {"x": b"2"}], "data": b"\x89PNG",
        }  # fmt: skip
    options = {"/place": {"packet_middleware": [f"{__name__}:framed"]}}
    async with running(service, namespaces=options) as server:
        ann = await server.connect("/place", user="ann")
        assert await ann.emit("picture", b"1") == {"ok": True, "pages": [b"1"], "data": b"\x89PNG", "frame": b"gold"}


@pytest.mark.parametrize("middleware", [[], ["log"], [f"{__name__}:echoing"]], ids=["service", "log", "echoing"])
async def test_what_clients_nest_too_deeply_is_an_invalid_payload(middleware: list[str]):
    async with running(service, namespaces={"/place": {"packet_middleware": middleware}}) as server:
        ann = await server.connect("/place", user="ann")
        for depth in (99, 150, 250):
            deep: Any = 1
            for _ in range(depth):
                deep = [deep]
            assert (await ann.emit("picture", deep))["error"]["code"] == "invalid_payload"
        assert (await ann.emit("picture", [[1]]))["ok"]


async def test_data_is_kept_with_the_connection():
    async with running(service, gateways=2) as server:
        ann, ben = await server.connect("/place", user="ann"), await server.connect("/place", user="ben", gateway=1)
        assert [(await ann.emit("count"))["count"] for _ in range(3)] == [1, 2, 3]
        assert await asyncio.gather(*(ben.emit("count") for _ in range(3))) == [
            {"ok": True, "count": n} for n in (1, 2, 3)
        ]


async def test_packet_middleware_of_the_gateway_replaces_answers_stops_and_keeps_the_order():
    passed.clear()
    options = {"/place": {"packet_middleware": [f"{__name__}:outer", f"{__name__}:inner"]}}
    async with running(service, namespaces=options) as server:
        ann, ben = await server.connect("/place", user="ann"), await server.connect("/place", user="ben")
        gate.clear()
        emitting = asyncio.gather(*(ann.emit("number", value) for value in range(1, 8)))
        await until(lambda: "+[1]" in passed, "the first one is held")
        await ben.emit("number", 8)  # by now all of hers have arrived
        gate.set()
        acks = await emitting
        assert acks[:4] == [
            {"ok": True, "value": 1}, {"ok": True, "value": 22}, {"ok": True, "value": 33}, ("answered here", b"\x04"),
        ]  # fmt: skip
        assert [ack["error"]["code"] for ack in acks[4:]] == ["forbidden", "forbidden", "internal"]
        assert acks[4]["error"]["data"] == {"five": 5}
        assert [line for line in passed if line.startswith("+")] == [f"+[{n}]" for n in (1, 8, 2, 3, 4, 5, 6, 7)]
        assert "-{'value': 22}" in passed
        assert "!forbidden" in passed
        passed.clear()
        unknown = await ann.emit("no such event", 1)
        assert unknown["error"]["code"] == "unknown_event"
        assert passed == ["+[1]", "!unknown_event"]
        await ann.tell("number", 5)
        assert (await ann.event("error"))[0]["data"] == {"five": 5}


async def test_connection_middleware_of_the_gateway_lets_in_refuses_and_sees_off():
    passed.clear()
    options = {"/place": {"connection_middleware": ["log", f"{__name__}:with_card"]}}
    async with running(service, namespaces=options) as server:
        with pytest.raises(ConnectError) as refused:
            await server.connect("/place", user="ann")
        assert refused.value.data["data"] == {"needed": "card"}
        with pytest.raises(ConnectError) as refused:
            await server.connect("/place", user="ann", auth={"card": ""})
        assert refused.value.data["code"] == "forbidden"
        assert passed == []
        ann = await server.connect("/place", user="ann", auth={"card": "A1"})
        assert await ann.event("greeting") == ["welcome", b"\x01"]
        assert [c.sid for c in await server.emitter("/place").to("guests").fetch_connections()] == [ann.sid]
        await ann.emit("count")
        await ann.disconnect()
        await until(lambda: len(passed) == 2)
        assert passed[0] == "in"
        assert passed[1].startswith("out ")
        assert passed[1].endswith("{'card': 'A1', 'count': 1}")


async def test_who_is_not_let_in_leaves_no_trace():
    async with running(service, namespaces={"/place": {"connection_middleware": ["websocket_only"]}}) as server:
        with pytest.raises(ConnectError) as refused:
            await server.connect("/place", user="ann", transports=["polling"])
        assert refused.value.data["code"] == "forbidden"
        ann = await server.connect("/place", user="ann")
        assert [c.sid for c in await server.emitter("/place").fetch_connections()] == [ann.sid]


async def hold(context: Context, call_next: Next) -> None:
    """Keep every event of a client that has gone meanwhile."""
    await gate.wait()
    await call_next()


leaving = Router("/leaving")
told: list[str] = []


@leaving.on("last")
async def last(context: Context, word: str) -> None:
    """What somebody says."""
    told.append(word)


@leaving.on("disconnect")
async def gone(context: Context, reason: str) -> None:
    """That they have gone."""
    told.append(reason)


async def test_a_disconnect_comes_after_what_the_middleware_still_held():
    gate.clear()
    told.clear()
    options = {"/leaving": {"packet_middleware": [f"{__name__}:hold"]}}
    async with running(Service("leaving", leaving), namespaces=options) as server:
        ann = await server.connect("/leaving", user="ann")
        for word in ("one", "two"):
            await ann.tell("last", word)
        await ann.disconnect()
        emitter = server.emitter("/leaving")

        async def empty() -> bool:
            return not await emitter.fetch_connections()

        await until(empty, "nobody is connected")
        gate.set()
        await until(lambda: len(told) == 3)
        assert told[:2] == ["one", "two"]


async def test_services_hear_of_the_end_of_who_was_there_when_a_gateway_stops():
    told.clear()
    async with running(Service("leaving", leaving)) as server:
        clients = [await server.connect("/leaving", user=f"user{number}") for number in range(20)]
        for client in clients:
            assert await client.emit("last", "word") == {"ok": True}
        told.clear()
    assert len(told) == len(clients)
