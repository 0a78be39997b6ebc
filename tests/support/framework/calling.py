"""Services that run, and a gateway's side that calls them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from parley.common.nats.bus import Bus
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import AckBatch, Command, CommandBatch, ConnectionCommands
from parley.common.wire.identity import Identity
from parley.framework import Code, Reject, Router, Running, Runtime, Service
from tests.support.bus import fresh
from tests.support.waiting import until

ANN = Identity("u_ann", "Ann", ("admin",), 12.5)


class Say(msgspec.Struct):
    text: str


class Book:
    """What controllers did, in order, and gates that hold them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def hold(self, text: str) -> asyncio.Event:
        """Let the command with this text end only when the returned event is set."""
        return self.gates.setdefault(text, asyncio.Event())


@asynccontextmanager
async def running_service(
    nats_url: str, *routers: Router[Any], state: Any = None, name: str = "talk"
) -> AsyncGenerator[Running[Any]]:
    """A replica of a service, on a connection of its own."""

    @asynccontextmanager
    async def lifespan(_runtime: Runtime) -> AsyncGenerator[Any]:
        yield state

    service = Service(name, *routers, lifespan=lifespan)
    async with service.running(ServiceSettings(nats_url=nats_url, instance=fresh("i"))) as running:
        yield running


class Caller:
    """The gateway's side: publishes batches and keeps the ack messages that come back."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self.bus = bus
        self.namespace = namespace
        self.gateway = fresh("gateway")
        self.messages: list[AckBatch] = []
        self.sizes: list[int] = []
        self._tags = itertools.count(1)

    async def start(self) -> None:
        """Begin to receive acks."""

        async def receive(message: Msg) -> None:
            self.messages.append(decode(message.data, AckBatch))
            self.sizes.append(len(message.data))

        await self.bus.subscribe(subjects.acks(self.gateway, self.namespace), receive)
        await self.bus.flush()

    def conversation(self, *commands: tuple[str, Any]) -> ConnectionCommands:
        """One connection's events, each with its single argument."""
        return ConnectionCommands(
            fresh("sid"),
            ANN,
            [
                Command(n := next(self._tags), event, json.dumps([argument]).encode(), f"c-{n}")
                for event, argument in commands
            ],
        )

    def says(self, *texts: str, event: str = "say") -> ConnectionCommands:
        """One connection that says these."""
        return self.conversation(*((event, {"text": text}) for text in texts))

    async def send(self, *conversations: ConnectionCommands) -> None:
        """Publish them as one batch."""
        batch = CommandBatch(self.gateway, self.namespace, list(conversations))
        await self.bus.publish(subjects.commands(self.namespace), batch.encode())

    @property
    def acks(self) -> dict[int, dict[str, Any]]:
        """Every ack by its tag; a tag acked twice is a mistake."""
        acks = [ack for message in self.messages for ack in message.acks]
        assert len({ack.tag for ack in acks}) == len(acks), "acked twice"
        bodies = {ack.tag: json.loads(ack.payload) for ack in acks}
        assert all(bodies[ack.tag]["ok"] is ack.ok for ack in acks)
        return bodies

    async def acked(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many acks and return them by tag."""
        await until(lambda: len(self.acks) >= count)
        return [body for _, body in sorted(self.acks.items())]

    async def deserted(self) -> None:
        """Wait until the broker knows nobody who takes the namespace's commands."""
        async with asyncio.timeout(10):
            while await self._refused() is not Code.UNAVAILABLE:
                pass

    async def _refused(self) -> Code:
        # Whoever takes commands does not understand a request, and is silent.
        with pytest.raises(Reject) as caught:
            await self.bus.call(subjects.commands(self.namespace), CommandBatch("", "", []), timeout=0.05)
        return caught.value.code
