"""A service on Parley's framework that keeps nothing: what it is sent, it publishes to the room.

It also answers in place of auth and of a log, so that gateway and NATS can be measured without Postgres.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import uvloop

from parley.common.process import logs
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, CheckWelcome, UnwelcomeUsers
from parley.framework import (
    Context,
    Identity,
    Membership,
    Replayed,
    RoomEvent,
    RoomHead,
    RoomLog,
    Router,
    Runtime,
    Service,
    ServiceSettings,
)

NAMESPACE = "/echo"
ROOM = "room"


class Echo:
    """One room, with everybody in it."""

    incarnation = ""

    def __init__(self, runtime: Runtime) -> None:
        self._rooms = runtime.rooms(NAMESPACE)
        self._guests = itertools.count()
        self._head = 0

    async def say(self, event: str, text: str) -> None:
        """Publish a text to the room, numbered as an event of a log would be."""
        self._head += 1
        await self._rooms.publish(ROOM, [RoomEvent(event, msgspec.json.encode(text), self._head)])

    async def authenticate(self, _request: Authenticate) -> Identity:
        name = f"guest:{next(self._guests)}"
        return Identity(name, name)

    async def check_welcome(self, _question: CheckWelcome) -> UnwelcomeUsers:
        return UnwelcomeUsers()

    async def memberships(self, identity: Identity) -> list[Membership]:  # noqa: ARG002 - everybody's are the same
        return [Membership(ROOM, self._head, 0)]

    async def replay(self, room: str, after: int, limit: int) -> Replayed:  # noqa: ARG002 - nothing is kept
        return Replayed([], self._head)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:  # noqa: ARG002 - nothing is missed
        return []


def log(echo: Echo) -> RoomLog:
    return echo


router: Router[Echo] = Router(NAMESPACE, room_log=log)


@router.on("msg", pipelined=True)
async def message(context: Context[Echo], text: str) -> None:
    await context.state.say(context.event, text)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncGenerator[Echo]:
    echo = Echo(runtime)
    await runtime.bus.respond(subjects.AUTHENTICATE, Authenticate, echo.authenticate, queue=runtime.bus.service)
    await runtime.bus.respond(subjects.WELCOME, CheckWelcome, echo.check_welcome, queue=runtime.bus.service)
    yield echo


service = Service("echo", router, lifespan=lifespan)


async def main() -> None:
    """Run without a HTTP side: the port in the environment is the gateway's."""
    settings = ServiceSettings()
    logs.configure(settings, service.name)
    async with service.running(settings):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
