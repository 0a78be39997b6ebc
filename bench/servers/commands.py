"""One controller: as a bare NATS callback, on the framework, inside of two middlewares, and there as one that waits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import uvloop
from nats.aio.msg import Msg

from parley.common.nats import bus as buses
from parley.common.process import logs
from parley.common.wire import subjects
from parley.common.wire.commands import Ack, AckBatch, CommandBatch
from parley.framework import Context, Next, Router, Service, ServiceSettings


class Order(msgspec.Struct, frozen=True):
    """The argument of the event."""

    id: str
    text: str
    amount: int


class Placed(msgspec.Struct, frozen=True):
    """What its ack holds."""

    id: str
    total: int


class Accepted(msgspec.Struct, frozen=True):
    """The whole ack, for who writes it by hand."""

    ok: bool
    id: str
    total: int


async def place(_context: Context, order: Order) -> Placed:
    """The controller."""
    return Placed(order.id, order.amount * 2)


async def place_after_others(context: Context, order: Order) -> Placed:
    """The same, as one that waits: for a turn of the event loop."""
    await asyncio.sleep(0)
    return await place(context, order)


async def through(_context: Context, call_next: Next) -> None:
    """Middleware that does nothing."""
    await call_next()


@asynccontextmanager
async def bare(settings: ServiceSettings, namespace: str) -> AsyncGenerator[None]:
    """The least that understands a batch and answers it: no order, no context, no time limit, no errors."""
    commands, arguments = msgspec.msgpack.Decoder(CommandBatch), msgspec.json.Decoder(tuple[Order])
    results = msgspec.json.Encoder()
    async with buses.connect(settings, "commands") as bus:

        async def receive(message: Msg) -> None:
            batch = commands.decode(message.data)
            acks: list[Ack] = []
            for conversation in batch.connections:
                for command in conversation.commands:
                    (order,) = arguments.decode(command.args)
                    result = Accepted(True, order.id, order.amount * 2)
                    acks.append(Ack(command.tag, results.encode(result), True))
            await bus.publish(subjects.acks(batch.gateway, batch.namespace), AckBatch(acks).encode())

        await bus.subscribe(subjects.commands(namespace), receive, queue=bus.service)
        await bus.flush()
        yield


def framework(settings: ServiceSettings, kind: str, namespace: str) -> AbstractAsyncContextManager[object]:
    """A service."""
    router: Router[None] = Router(namespace)
    router.route("place", place_after_others if kind == "waiting" else place)
    if kind != "framework":
        router.use(through, through)
    return Service("commands", router).running(settings)


async def main(kind: str) -> None:
    """Serve the namespace that is named like the kind."""
    settings, namespace = ServiceSettings(), f"/{kind}"
    logs.configure(settings, "commands")
    serving = bare(settings, namespace) if kind == "bare" else framework(settings, kind, namespace)
    async with serving:
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
