"""Services behind a gateway for tests of connections' lives, and what a client speaks with them by hand."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from parley.common.wire import subjects
from parley.common.wire.operations import Kick, Selection
from parley.framework import ConnectionContext, Context, Next, Router, Service
from parley.testing import RunningServer, running
from parley.testing.tokens import token_for
from tests.support.bus import fresh
from tests.support.clients.raw_socket import RawSocket

handled: list[tuple[str, Any]] = []
"""What the service was sent."""
ended: list[tuple[str, str, str]] = []
"""What it was told of connections' ends: the user, the namespace and the reason."""
gate = asyncio.Event()
"""Whoever joins `/slow` waits for it at the door."""
gate.set()
at_the_door: list[ConnectionContext] = []

a, b, slow, guests = Router[None]("/a"), Router[None]("/b"), Router[None]("/slow"), Router[None]("/guests")


async def hi(context: Context[None], n: int) -> dict[str, Any]:
    """Say a number back."""
    handled.append((context.namespace, n))
    return {"n": n, "sid": context.sid}


async def data(context: Context[None], value: Any) -> None:
    """Take anything."""
    handled.append(("data", value))


async def gone(context: Context[None], reason: str) -> None:
    """Hear why a connection ended."""
    ended.append((context.identity.user_id, context.namespace, reason))


for router in (a, b, slow, guests):
    router.on("hi")(hi)
    router.on("data", binary=True)(data)
    router.on("disconnect")(gone)


async def door(connection: ConnectionContext, call_next: Next) -> None:
    """Let in who waits when the gate is open; note who has gone."""
    at_the_door.append(connection)
    await gate.wait()
    try:
        await call_next()
    finally:
        ended.append((connection.identity.user_id, "the door", connection.reason))


slow.use_connection(door)

service = Service("life", a, b, slow, guests)
NAMESPACES: dict[str, dict[str, Any]] = {
    "/gone": {"service": "gone"},
    "/guests": {"auth": "guest", "recovery": 60},
    "/b": {"recovery": 60},
}


class Hand(RawSocket):
    """A client by hand, of a user, in any namespaces."""

    user = ""

    async def connect(self, namespace: str, **auth: Any) -> None:
        """Ask for a namespace, without waiting."""
        await self.send(f"40{namespace},{json.dumps({'token': token_for(self.user), **auth})}")

    async def joined(self, namespace: str, **auth: Any) -> dict[str, Any]:
        """Ask for a namespace and be let in; what the server says of it."""
        await self.connect(namespace, **auth)
        return self.admitted(await self.text(), namespace)

    @staticmethod
    def admitted(text: str, namespace: str) -> dict[str, Any]:
        """The payload of CONNECT."""
        assert text.startswith(f"40{namespace},{{"), text
        return json.loads(text.removeprefix(f"40{namespace},"))

    async def acked(self, namespace: str, n: int) -> dict[str, Any]:
        """Emit with an ack, and the next packet is that."""
        await self.send(f'42{namespace},{n}["hi",{n}]')
        return ack(await self.text(), namespace, n)


def ack(text: str, namespace: str, ack_id: int) -> dict[str, Any]:
    """The argument of an ack."""
    assert text.startswith(f"43{namespace},{ack_id}["), text
    return json.loads(text.removeprefix(f"43{namespace},{ack_id}"))[0]


def refusal(text: str, namespace: str) -> str:
    """The code of a CONNECT_ERROR."""
    assert text.startswith(f"44{namespace},"), text
    return json.loads(text.removeprefix(f"44{namespace},"))["data"]["code"]


def error_code(text: str) -> str:
    """The code in an ack or in an event `error`."""
    arguments = json.loads(re.sub(r"^4[23]/\w+,\d*", "", text))
    return arguments[-1]["code"] if arguments[0] == "error" else arguments[0]["error"]["code"]


def forget() -> None:
    """Begin anew: nothing was handled, nobody has gone, and nobody waits at the door."""
    handled.clear()
    ended.clear()
    at_the_door.clear()
    gate.set()


@asynccontextmanager
async def hand(server: RunningServer, user: str = "", gateway: int = 0) -> AsyncGenerator[Hand]:
    """A transport of a user of its own, or of this one."""
    async with Hand.open(server.urls[gateway]) as socket:
        assert isinstance(socket, Hand)
        socket.user = user or fresh("user")
        await socket.handshake()
        yield socket


@asynccontextmanager
async def hands(server: RunningServer, count: int, user: str = "") -> AsyncGenerator[list[Hand]]:
    """Several transports."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(hand(server, user)) for _ in range(count)]


async def kick(server: RunningServer, user: str, code: str = "kicked") -> None:
    """Have every gateway end a user's connections."""
    operation = Kick(Selection("", user_id=user), "", code, "bye")
    await server._bus.publish(subjects.GATEWAYS, operation.encode())


@asynccontextmanager
async def served(nats_url: str = "", **settings: Any) -> AsyncGenerator[RunningServer]:
    """A gateway with the services behind it."""
    namespaces = settings.pop("namespaces", NAMESPACES)
    async with running(service, namespaces=namespaces, settings={"nats_url": nats_url, **settings}) as server:
        yield server
