"""A service on Parley's framework that keeps nothing: what it is sent, it publishes to the room.

It also answers in place of auth and of a log, so that gateway and NATS can be measured without Postgres.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
from pydantic import Field

from parley.common import bus, logs, subjects
from parley.common.envelope import (
    Authenticate,
    Delivery,
    Heads,
    HeadsOf,
    Identity,
    Item,
    Membership,
    Open,
    Opened,
    Replay,
    Replayed,
)
from parley.common.router import Context, Router
from parley.common.service import Service
from parley.common.settings import ServiceSettings

NAMESPACE = "/echo"
ROOM = "room"


class Settings(ServiceSettings):
    """Nothing but what every service has."""

    port: int = Field(default=0, description="not used: this service has no HTTP side")


class Echo:
    """One room, with everybody in it."""

    def __init__(self, connection: bus.Bus) -> None:
        self._bus = connection
        self._guests = itertools.count()
        self._head = 0

    async def message(self, context: Context, text: str) -> None:
        """Publish a text to the room, numbered as an event of a log would be."""
        self._head += 1
        item = Item(context.event, msgspec.json.encode(text), self._head)
        await self._bus.publish(subjects.room(NAMESPACE, ROOM), Delivery([item]).encode())

    async def authenticate(self, _request: Authenticate) -> Identity:
        name = f"guest:{next(self._guests)}"
        return Identity(name, name)

    async def open(self, _request: Open) -> Opened:
        return Opened([Membership(ROOM, self._head, 0)])

    async def heads(self, _request: HeadsOf) -> Heads:
        return Heads(NAMESPACE, [])

    async def replay(self, _request: Replay) -> Replayed:
        return Replayed([], self._head)


async def main() -> None:
    settings = Settings()
    logs.configure(settings, "echo")
    async with bus.connect(settings, "echo") as connection:
        echo = Echo(connection)
        router = Router(NAMESPACE)
        router.on("msg", str, echo.message, pipelined=True)
        answers: list[tuple[str, Any, Any]] = [
            (subjects.AUTHENTICATE, Authenticate, echo.authenticate),
            (subjects.opening(NAMESPACE), Open, echo.open),
            (subjects.room_heads(NAMESPACE), HeadsOf, echo.heads),
            (subjects.replay(NAMESPACE), Replay, echo.replay),
        ]
        for subject, kind, answer in answers:
            await connection.respond(subject, kind, answer, queue="echo")
        await Service(connection, router).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
