"""Presence of a gateway on a real NATS, with a way there that may lose messages, and sockets that note what is sent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.common.wire.operations import LookResult, Selection, SetPresence
from parley.engineio.packets import Packet
from parley.framework.remote.emitter import Emitter
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.presence.room_presence import RoomPresence
from parley.gateway.rooms.fanout import Fanout
from tests.support.bus import running_bus
from tests.support.gateway.rooms import another
from tests.support.waiting import until


class LossyWay:
    """The bus as presence uses it: what it says, and what of that is lost."""

    def __init__(self, bus: Bus) -> None:
        self.said: list[str] = []
        self.loses: Callable[[str], bool] = lambda _subject: False
        self._bus = bus

    @property
    def connected(self) -> bool:
        """Whether there is a way."""
        return self._bus.connected

    def send(self, subject: str, data: bytes) -> None:
        """Say something, or lose it."""
        self.said.append(subject)
        if not self.loses(subject):
            self._bus.send(subject, data)

    def lose_next(self, beginning: str) -> None:
        """Lose the next message on such a subject."""

        def loses(subject: str) -> bool:
            if subject.startswith(beginning):
                self.loses = lambda _subject: False
                return True
            return False

        self.loses = loses


class NotedSockets:
    """The sockets of a gateway: each change that a connection was told of, and who reads too slowly."""

    def __init__(self) -> None:
        self.told: defaultdict[Connection, list[dict[str, Any]]] = defaultdict(list)
        self.slow: set[Connection] = set()

    def send(self, connection: Connection, packet: Packet) -> None:
        """Nothing of presence is sent so."""
        raise AssertionError(packet)

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Note a change for each of them."""
        assert volatile
        event, change = json.loads(packet.parts[0].data[1:].decode().partition(",")[2])
        assert event == "presence"
        for connection in connections:
            assert connection not in self.slow
            self.told[connection].append(change)

    def congested(self, connection: Connection) -> bool:
        """Whether it reads too slowly."""
        return connection in self.slow


class PresentGateway:
    """Presence with a fanout and connections, and no more of a gateway."""

    def __init__(self, bus: Bus, namespace: str, lease: float) -> None:
        self.bus = bus
        self.namespace = namespace
        self.sockets = NotedSockets()
        self.connections = ConnectionRegistry()
        self.fanout = Fanout(bus, self.sockets, {}, [namespace])
        self.emitter = Emitter(bus, namespace)
        self.presence = RoomPresence(bus, self.connections, self.fanout, self.sockets, self.emitter.registry, lease)
        self.way = LossyWay(bus)

    async def start(self) -> None:
        """Listen, and know which gateways live."""
        await self.fanout.start()
        await self.emitter.start()
        self.presence.start()
        self.presence._bus = cast("Bus", self.way)
        await until(lambda: self.emitter.registry.warmed_up, "it knows the gateways")

    def enter(self, user_id: str, room: str) -> Connection:
        """A connection of a user comes into a room."""
        connection = another(self.namespace, Identity(user_id, user_id))
        connection.state = ConnectionState.OPEN
        self.connections.add(connection)
        self.fanout.enter(connection, room)
        return connection

    def end(self, connection: Connection) -> None:
        """A connection ends."""
        connection.state = ConnectionState.ENDED
        self.connections.remove(connection)
        self.fanout.leave_all(connection)
        self.presence.ended(connection)

    def choose(self, connection: Connection, choice: str) -> None:
        """A user chooses what to be shown as."""
        self.presence.set([connection], SetPresence(Selection(self.namespace), "", choice, 1))

    async def look(self, connection: Connection, room: str) -> LookResult:
        """A connection looks at a room."""
        results: list[bytes] = []
        inbox = subjects.inbox("test", subjects.GATEWAY_ANSWERS)
        listener = self.bus.listen(inbox, results.append)
        self.presence.look(connection, room, inbox)
        await until(lambda: results, "the answer")
        listener.close()
        return decode(results[0], LookResult)


@asynccontextmanager
async def present_gateway(nats_url: str, namespace: str, lease: float) -> AsyncGenerator[PresentGateway]:
    """A gateway's presence until the block ends."""
    async with running_bus(nats_url, "gateway") as bus:
        gateway = PresentGateway(bus, namespace, lease)
        await gateway.start()
        yield gateway
        await gateway.presence.close()
        await gateway.fanout.close()
