"""What presence costs two gateways with 50,000 users: while nobody looks, and in rooms that 100 users look at.

Only presence runs: connections without sockets, in rooms of two gateways in this process, on a real NATS. So the
figures are what presence adds to gateways, and nothing of what connections cost by themselves.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.common.wire.operations import LookResult, Selection, SetPresence
from parley.common.wire.rooms import GetRoomHeads, RoomHeads
from parley.engineio.packets import Packet
from parley.engineio.session import Session
from parley.framework.remote.emitter import Emitter
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.presence.room_presence import RoomPresence
from parley.gateway.rooms.fanout import Fanout

Row = dict[str, Any]

NAMESPACE = "/bench"
USERS = 50_000
OTHER_ROOMS = 500
"""Rooms in which everybody else is, at whom nobody looks."""
LOOKED_AT = (1_000, 5_000)
"""Users in the rooms that are looked at."""
LOOKERS = 100
CHANGES = 1_000
LEASE = 10.0


def presence(seconds: float) -> Iterator[Row]:
    """The share of a core while nobody looks, then what looking costs; an answer, and a change that all are told."""
    yield from uvloop.run(_measure(seconds))


async def _measure(seconds: float) -> list[Row]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(embedded.nats(Path(directory)))
        service = await stack.enter_async_context(_connected(url, "bench", "bench"))
        await service.respond(subjects.room_heads(NAMESPACE), GetRoomHeads, _no_heads, queue="service")
        here, there = [await stack.enter_async_context(_gateway(url, name)) for name in ("here", "there")]
        people = await _fill(here, there)
        rows = [await _nobody_looks(seconds)]
        return [*rows, *[await _looking(here, there, people, size) for size in LOOKED_AT]]


class _Counted:
    """The sockets of a gateway: how often anybody was told of anything."""

    def __init__(self) -> None:
        self.told = 0

    def send(self, connection: Connection, packet: Packet) -> None:
        """Nothing else is sent here."""
        raise AssertionError(connection, packet)

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Count it."""
        del packet, volatile
        self.told += len(connections)

    def congested(self, connection: Connection) -> bool:
        """Everybody reads at once."""
        del connection
        return False


class _Gateway:
    """The parts of a gateway that presence works with."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.sockets = _Counted()
        self.connections = ConnectionRegistry()
        self.fanout = Fanout(bus, self.sockets, {}, [NAMESPACE])
        self.emitter = Emitter(bus, NAMESPACE)
        self.presence = RoomPresence(bus, self.connections, self.fanout, self.sockets, self.emitter.registry, LEASE)

    def enter(self, user_id: str, *rooms: str) -> Connection:
        """A user comes into rooms."""
        sid, nobody = f"sid of {user_id}", cast("Session", None)
        connection = Connection(sid, nobody, NAMESPACE, Identity(user_id, user_id), 0.0)
        connection.state = ConnectionState.OPEN
        self.connections.add(connection)
        for room in rooms:
            self.fanout.enter(connection, room)
        return connection

    async def look(self, connection: Connection, room: str) -> LookResult:
        """A user looks at a room."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        inbox = subjects.inbox("bench", subjects.GATEWAY_ANSWERS)
        listener = self.bus.listen(inbox, answer.set_result)
        self.presence.look(connection, room, inbox)
        try:
            return decode(await answer, LookResult)
        finally:
            listener.close()


def _connected(url: str, name: str, service: str = "gateway") -> AbstractAsyncContextManager[Bus]:
    return connect(ServiceSettings(nats_url=url, instance=name, log_level="error"), service)


async def _no_heads(_request: GetRoomHeads) -> RoomHeads:
    """Say that no room has a log."""
    return RoomHeads(NAMESPACE, [])


@asynccontextmanager
async def _gateway(url: str, name: str) -> AsyncGenerator[_Gateway]:
    async with _connected(url, name) as bus:
        gateway = _Gateway(bus)
        await gateway.fanout.start()
        await gateway.emitter.start()
        gateway.presence.start()
        yield gateway
        await gateway.presence.close()
        await gateway.fanout.close()


async def _fill(*gateways: _Gateway) -> dict[int, list[Connection]]:
    """Everybody comes, to one gateway or the other; the first ones into a room of each size that is looked at."""
    people: dict[int, list[Connection]] = {size: [] for size in LOOKED_AT}
    for number in range(USERS):
        sizes = [size for size in LOOKED_AT if number < size]
        rooms = [f"room {number % OTHER_ROOMS}", *map(_room_of, sizes)]
        connection = gateways[number % len(gateways)].enter(f"user {number}", *rooms)
        for size in sizes:
            people[size].append(connection)
        if number % 500 == 0:
            await asyncio.sleep(0)
    # The registry of gateways warms up, and rooms that are new ask for their heads.
    await asyncio.sleep(5)
    return people


def _room_of(size: int) -> str:
    return f"room of {size}"


async def _nobody_looks(seconds: float) -> Row:
    begun, used = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - used) / (time.monotonic() - begun)
    return {
        "users": USERS,
        "load": "nobody looks",
        "core_percent": round(share * 100, 2),
        "problems": [] if share < 0.01 else ["more than 1 % of a core"],
    }


async def _looking(here: _Gateway, there: _Gateway, people: dict[int, list[Connection]], size: int) -> Row:
    room, members = _room_of(size), people[size]
    lookers = [connection for connection in members if connection in here.connections.in_namespace(NAMESPACE)][:LOOKERS]
    begun = time.perf_counter()
    answer = await here.look(lookers[0], room)
    first_ms = (time.perf_counter() - begun) * 1000
    begun, used = time.perf_counter(), time.process_time()
    for looker in lookers[1:]:
        await here.look(looker, room)
    next_ms = (time.perf_counter() - begun) * 1000 / (len(lookers) - 1)
    problems = [] if answer.count == size else [f"{answer.count} of {size} are there"]
    told, used = here.sockets.told, time.process_time()
    # On the two gateways in turn. Of the users of `here` the first 500 are shown, and the others counted.
    for number in range(CHANGES):
        wanted = SetPresence(Selection(NAMESPACE), "", idle=number < CHANGES / 2)
        gateway = (here, there)[number % 2]
        gateway.presence.set((members[number % (CHANGES // 2)],), wanted)
        if number % 10 == 0:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    changes_cpu = time.process_time() - used
    if here.sockets.told == told:
        problems.append("nobody was told")
    for looker in lookers:
        here.presence.stop_looking(looker, room)
    return {
        "users": USERS,
        "load": f"{LOOKERS} look at a room of {size:,}",
        "first_ms": round(first_ms, 1),
        "next_ms": round(next_ms, 2),
        "cpu_us_per_change": round(changes_cpu / CHANGES * 1e6),
        "told": here.sockets.told - told,
        "problems": problems,
    }
