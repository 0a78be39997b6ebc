"""A service in a few lines, which the test runs on the stack's bus: it passes binary data on, and moves connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from parley.common.wire.identifiers import uuid7
from parley.framework import Context, Emitter, RoomEvent, Router, Runtime, Service, ServiceSettings

NAMESPACES = ("/tiny", "/brief")


class Share(msgspec.Struct):
    """Binary data for a room's members."""

    room: str
    data: bytes
    more: list[bytes] = []


class Shared(msgspec.Struct):
    """How much was passed on."""

    bytes: int


class Enter(msgspec.Struct):
    """A room to be in."""

    room: str


class TinyService:
    """What the service behind `NAMESPACES` works with, for its controllers and for the test."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.emitters: dict[str, Emitter] = {namespace: runtime.emitter(namespace) for namespace in NAMESPACES}
        self.shared: list[Share] = []

    async def share(self, namespace: str, share: Share) -> None:
        """Tell a room's members."""
        self.shared.append(share)
        contents = {"data": share.data, "more": share.more}
        await self._runtime.rooms(namespace).emit(share.room, "shared", contents)

    async def publish(self, namespace: str, room: str, *items: RoomEvent) -> None:
        """Send events that are in no log to a room's members."""
        await self._runtime.rooms(namespace).publish(room, items)

    @classmethod
    @asynccontextmanager
    async def lifespan(cls, runtime: Runtime) -> AsyncGenerator[TinyService]:
        """Begin to learn at once which gateways live."""
        tiny = cls(runtime)
        await tiny.emitters["/tiny"].start()
        yield tiny

    @classmethod
    @asynccontextmanager
    async def running(cls, nats_url: str) -> AsyncGenerator[TinyService]:
        """Serve until the block ends."""
        async with service.running(ServiceSettings(nats_url=nats_url, instance=f"tiny-{uuid7().hex}")) as running:
            yield running.state


async def share(context: Context[TinyService], payload: Share) -> Shared:
    """Pass binary data on to a room's members."""
    await context.state.share(context.namespace, payload)
    return Shared(len(payload.data) + sum(map(len, payload.more)))


async def enter(context: Context[TinyService], payload: Enter) -> None:
    """Put the connection into a room."""
    await context.join(payload.room)


def router(namespace: str) -> Router[TinyService]:
    """The commands of a namespace."""
    table: Router[TinyService] = Router(namespace)
    table.route("share", share, binary=True)
    table.route("enter", enter)
    return table


service = Service("tiny", *map(router, NAMESPACES), lifespan=TinyService.lifespan)
