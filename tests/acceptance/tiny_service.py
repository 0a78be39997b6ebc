"""A service in a few lines, which the test runs on the stack's bus: it passes binary data on, and moves connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from parley.common import subjects
from parley.common.attachments import detach
from parley.common.bus import Bus, connect
from parley.common.emitter import Emitter
from parley.common.envelope import Delivery, Heads, HeadsOf, Item, Open, Opened, Replay, Replayed
from parley.common.identifiers import uuid7
from parley.common.router import Context, Router
from parley.common.service import Service
from parley.common.settings import ServiceSettings

NAMESPACES = ("/tiny", "/brief")


class Share(msgspec.Struct):
    """Binary data for a room's members."""

    room: str
    data: bytes
    more: list[bytes] = []


class Enter(msgspec.Struct):
    """A room to be in."""

    room: str


class TinyService:
    """Serves `NAMESPACES` as the service `tiny`."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.emitters = {namespace: Emitter(bus, namespace) for namespace in NAMESPACES}
        self.shared: list[Share] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, nats_url: str) -> AsyncGenerator[TinyService]:
        """Serve until the block ends."""
        settings = ServiceSettings(nats_url=nats_url, instance=f"tiny-{uuid7().hex}")
        async with connect(settings, "tiny") as bus, AsyncExitStack() as closing:
            tiny = cls(bus)
            routers = [tiny.router(namespace) for namespace in NAMESPACES]
            service = Service(bus, *routers)
            closing.push_async_callback(service.close)
            for namespace, emitter in tiny.emitters.items():
                await emitter.start()
                await bus.respond(subjects.opening(namespace), Open, tiny.open, queue="tiny")
                await bus.respond(subjects.replay(namespace), Replay, tiny.replay, queue="tiny")
                await bus.respond(subjects.room_heads(namespace), HeadsOf, tiny.heads, queue="tiny")
            await service.start()
            await bus.flush()
            yield tiny

    def router(self, namespace: str) -> Router:
        """The commands of a namespace."""
        router = Router(namespace)
        router.on("share", Share, self.share, binary=True)
        router.on("enter", Enter, self.enter)
        return router

    async def share(self, context: Context, payload: Share) -> dict[str, int]:
        """Pass binary data on to a room's members."""
        self.shared.append(payload)
        args, attachments = detach(({"data": payload.data, "more": payload.more},))
        await self.publish(context.namespace, payload.room, Item("shared", args[1:-1], attachments=attachments))
        return {"bytes": len(payload.data) + sum(map(len, payload.more))}

    async def enter(self, context: Context, payload: Enter) -> None:
        """Put the connection into a room."""
        await self.emitters[context.namespace].to(context.sid).join(payload.room)

    async def publish(self, namespace: str, room: str, *items: Item) -> None:
        """Send events that are in no log to a room's members."""
        await self.bus.publish(subjects.room(namespace, room), Delivery(list(items)).encode())

    async def open(self, _request: Open) -> Opened:
        """Everybody is welcome."""
        return Opened([])

    async def replay(self, _request: Replay) -> Replayed:
        """There is no log."""
        return Replayed([], 0)

    async def heads(self, _request: HeadsOf) -> Heads:
        """No room has a head."""
        return Heads(NAMESPACES[0], [])
