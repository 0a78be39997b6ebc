"""A service that does a bit of everything a service may do, and notes what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from parley.framework import (
    Code,
    ConnectionContext,
    Context,
    Next,
    Presence,
    PresenceChoice,
    Reject,
    Router,
    Runtime,
    Service,
    on,
)
from tests.support.waiting import until

NAMESPACE = "/lab"


class Notes:
    """What the service saw, in order."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    async def has(self, line: Any) -> None:
        """Wait until it saw this."""
        await until(lambda: line in self.lines)


class Item(msgspec.Struct):
    name: str
    count: int = 1


router: Router[Notes] = Router(NAMESPACE)


@router.on("roll")
async def roll(context: Context[Notes], sides: int) -> dict[str, Any]:
    return {"sides": sides, "by": context.identity.user_id, "roles": context.identity.roles}


@router.on("echo", binary=True)
async def echo(context: Context[Notes], *args: Any) -> None:
    context.ack(*args)


@router.on("enter")
async def enter(context: Context[Notes], room: str) -> None:
    await context.join(room)


@router.on("exit")
async def leave(context: Context[Notes], room: str) -> None:
    await context.leave(room)


@router.on("say")
async def say(context: Context[Notes], rooms: list[str], text: str) -> None:
    await context.to(*rooms).emit("said", context.identity.user_id, text)


@router.on("whisper")
async def whisper(context: Context[Notes], user: str, data: Any) -> None:
    await context.everybody.to_user(user).emit("whispered", data)


@router.on("shout")
async def shout(context: Context[Notes], without: str) -> None:
    await context.emit("heard", "me")
    await context.broadcast.emit("heard", "others")
    await context.everybody.emit("heard", "all")
    await context.except_(without).emit("heard", "others without")
    await context.everybody.volatile.except_(without).emit("heard", "volatile")


@router.on("ask")
async def ask(context: Context[Notes], question: str) -> dict[str, Any]:
    return {"answer": await context.socket.emit_with_ack("question", question, timeout=0.3)}


@router.on("look")
async def look(context: Context[Notes], sid: str) -> dict[str, Any]:
    found = await context.everybody.socket(sid).fetch()
    return {"user": found.user_id, "name": found.name, "rooms": found.rooms, "namespace": found.namespace}


@router.on("who")
async def who(context: Context[Notes], room: str) -> Presence:
    return await context.presence(room)


@router.on("enough")
async def enough(context: Context[Notes], room: str) -> None:
    await context.stop_presence(room)


@router.on("be")
async def be(context: Context[Notes], choice: PresenceChoice) -> None:
    await context.set_presence(choice)


@router.on("idle")
async def idle(context: Context[Notes], idle: bool) -> None:
    await context.set_idle(idle)


@router.on("remember")
async def remember(context: Context[Notes], value: Any) -> dict[str, Any]:
    context.data["count"] = context.data.get("count", 0) + 1
    context.data["value"] = value
    return dict(context.data)


@router.on("shake")
async def shake(context: Context[Notes]) -> dict[str, Any]:
    handshake = context.handshake
    return {"query": handshake.query.get("colour"), "auth": handshake.auth, "language": handshake.headers["language"]}


@router.on("dismiss")
async def dismiss(context: Context[Notes], sid: str) -> None:
    await context.everybody.socket(sid).disconnect()
    context.state.lines.append("dismissed")


@router.on("quit")
async def leave_for_good(context: Context[Notes]) -> dict[str, str]:
    await context.disconnect()
    return {"bye": "bye"}


@router.on("fail")
async def fail(context: Context[Notes]) -> None:
    raise RuntimeError("a secret")


@router.on("refuse")
async def refuse(context: Context[Notes]) -> None:
    raise Reject(Code.LIMIT_EXCEEDED, "enough", data={"limit": 3})


@router.on("slow", timeout=0.05)
async def slow(context: Context[Notes]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        context.state.lines.append("cancelled")


class Basket:
    def __init__(self, context: Context[Notes]) -> None:
        self.context = context

    @on("basket.add")
    async def add(self, item: Item) -> dict[str, Any]:
        self.context.data.setdefault("basket", []).append(item.name)
        return {"items": self.context.data["basket"], "count": item.count}


router.controllers(Basket)


@router.on("connect")
async def connected(context: Context[Notes], recovered: bool) -> None:
    context.state.lines.append(("connect", context.identity.user_id, recovered))
    await context.join("lobby")
    await context.emit("welcome", sorted(context.data))
    if context.handshake.query.get("as") == "unlucky":
        raise Reject(Code.NOT_FOUND, "no luck")


@router.on("disconnecting")
async def disconnecting(context: Context[Notes], reason: str, rooms: list[str]) -> None:
    context.state.lines.append(("disconnecting", context.identity.user_id, reason, rooms))


@router.on("disconnect")
async def disconnected(context: Context[Notes], reason: str, rooms: list[str]) -> None:
    context.state.lines.append(("disconnect", context.identity.user_id, dict(context.data)))
    await context.everybody.emit("left", context.identity.user_id)


@router.on("error")
async def failed(context: Context[Notes], failure: dict[str, Any]) -> None:
    context.state.lines.append(("error", failure["event"], failure["code"]))


async def packets(context: Context[Notes], call_next: Next) -> None:
    """Stop, answer, swallow or replace events of some names."""
    match context.event:
        case "stopped":
            raise Reject(Code.FORBIDDEN, "stopped", data={"by": "middleware"})
        case "cached":
            context.result = {"cached": True}
        case "swallowed":
            pass
        case "replaced":
            context.event, context.args = "roll", [int(context.args[0]) + 1]
            await call_next()
            context.result = {**context.result, "after": True}
        case _:
            await call_next()


async def outer(connection: ConnectionContext, call_next: Next) -> None:
    """See who comes and goes."""
    notes.lines.append(("outer in", connection.identity.user_id))
    await call_next()
    notes.lines.append(("outer out", connection.identity.user_id, connection.reason))


async def inner(connection: ConnectionContext, call_next: Next) -> None:
    """Refuse some, and give the others something on their way."""
    match connection.handshake.query.get("as"):
        case "stranger":
            raise Reject(Code.FORBIDDEN, "not you", data={"ask": "ann"})
        case "ghost":
            return
        case "broken":
            raise RuntimeError("a secret")
        case _:
            pass
    connection.data["since"] = 1
    await connection.join("admitted")
    await connection.emit("greeting", connection.identity.name)
    await call_next()
    notes.lines.append(("inner out", connection.identity.user_id, connection.reason))


router.use(packets)
router.use_connection(outer, inner)
notes = Notes()
"""What the service of this process saw; a test clears it."""


@asynccontextmanager
async def keeping_notes(_runtime: Runtime) -> AsyncGenerator[Notes]:
    yield notes


service = Service("lab", router, lifespan=keeping_notes)
