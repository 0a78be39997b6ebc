"""A fanout on a real NATS: `Gateway` with its sockets, and the `Log` it is fed from.

`Log` stands in for the service's process: a list per room, answers about it, and deliveries that may be left out.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import (
    Delivery,
    GetRoomHeads,
    MembershipChange,
    Replay,
    Replayed,
    RoomEvent,
    RoomHead,
    RoomHeads,
)
from parley.engineio.packets import Packet
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.packets import EventPacket
from tests.support.bus import fresh, running_bus
from tests.support.clients.socketio_packets import parse
from tests.support.waiting import until

ROOM = "general"


class Log:
    """The rooms of one namespace."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self.bus = bus
        self.namespace = namespace
        self.replays = 0
        self.verified = 0
        """Questions for heads."""
        self.away = False
        """Whether its database is: every question is refused, to be asked again."""
        self.broken = ""
        """A room over which its heads fail, whatever else is asked for."""
        self.gate = asyncio.Event()
        """Replays wait for it."""
        self.gate.set()
        self.held = 0
        """Replays that wait for it now."""
        self._rooms: defaultdict[str, list[RoomEvent]] = defaultdict(list)

    async def start(self) -> None:
        """Begin to answer."""
        await self.bus.respond(subjects.replay(self.namespace), Replay, self._replay, queue="log")
        await self.bus.respond(subjects.room_heads(self.namespace), GetRoomHeads, self._heads, queue="log")
        await self.bus.flush()

    def head(self, room: str = ROOM) -> int:
        """The sequence of the room's last event."""
        return len(self._rooms[room])

    def append(
        self,
        count: int = 1,
        room: str = ROOM,
        *,
        size: int = 0,
        joins: str = "",
        leaves: str = "",
        may_wait: bool = False,
    ) -> int:
        """Log events that nobody is told of, and return the new head. They may be large, name who moves, or wait."""
        for _ in range(count):
            sequence = self.head(room) + 1
            payload = json.dumps(
                {"sequence": sequence, "text": "x" * size} if size else {"sequence": sequence}
            ).encode()
            self._rooms[room].append(
                RoomEvent("message.sent", payload, sequence, joined_user=joins, left_user=leaves, may_wait=may_wait)
            )
        return self.head(room)

    async def publish(self, *sequences: int, room: str = ROOM) -> None:
        """Publish logged events, all in one message."""
        await self.deliver(room, *(self._rooms[room][sequence - 1] for sequence in sequences))

    async def deliver(self, room: str, *items: RoomEvent, moves: list[MembershipChange] | None = None) -> None:
        """Publish anything on a room's subject."""
        await self.bus.publish(subjects.room(self.namespace, room), Delivery(list(items), moves or []).encode())

    async def move(self, connection: Connection, *moves: MembershipChange) -> None:
        """Tell a user's connections that the user came into rooms or left them."""
        await self.deliver(subjects.user_room(connection.identity.user_id), moves=list(moves))

    async def beacon(self, *rooms: str) -> None:
        """Publish the heads of rooms."""
        heads = [RoomHead(room, self.head(room)) for room in rooms]
        await self.bus.publish(subjects.advanced_heads(self.namespace), RoomHeads(self.namespace, heads).encode())

    async def _replay(self, request: Replay) -> Replayed:
        self.replays += 1
        self._refuse_while_away()
        events = self._rooms[request.room][request.after : request.after + request.limit]
        head = self.head(request.room)
        self.held += 1
        await self.gate.wait()
        self.held -= 1
        return Replayed(events, head)

    async def _heads(self, request: GetRoomHeads) -> RoomHeads:
        self.verified += 1
        self._refuse_while_away()
        if self.broken in request.rooms:
            raise Reject(Code.INTERNAL)
        return RoomHeads(self.namespace, [RoomHead(room, head) for room in request.rooms if (head := self.head(room))])

    def _refuse_while_away(self) -> None:
        if self.away:
            raise Reject(Code.UNAVAILABLE)


class Sockets:
    """The gateway's sockets: what was sent to each connection, in order."""

    def __init__(self) -> None:
        self.written: defaultdict[Connection, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)

    def send(self, connection: Connection, packet: Packet) -> None:
        """Note a packet, or several that were joined."""
        for part in packet.parts:
            event = parse(part.data[1:].decode()).content
            assert isinstance(event, EventPacket)
            data, *_offset = json.loads(event.args)
            self.written[connection].append((event.namespace, event.event, data))

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Note a packet for each of many."""
        assert not volatile
        for connection in connections:
            self.send(connection, packet)

    def congested(self, connection: Connection) -> bool:
        """Everybody reads at once."""
        return False

    def sequences(self, connection: Connection) -> list[int]:
        """The sequences one connection received, in order."""
        return [data["sequence"] for _, event, data in self.written[connection] if event == "message.sent"]


def another(namespace: str, identity: Identity | None = None) -> Connection:
    """A connection, of a user of its own or of this one. Its session is nobody's concern here."""
    sid, session = fresh("sid"), cast("Session", None)
    return Connection(sid, session, namespace, identity or Identity(f"u_{sid}", sid), 0.0)


class Gateway:
    """A fanout with its sockets."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self.bus = bus
        self.sockets = Sockets()
        self.fanout = Fanout(bus, self.sockets, {}, [namespace])
        self._namespace = namespace

    async def connect(self, *, opened: bool = True) -> Connection:
        """A connection of a user of its own, in no room but the user's."""
        connection = another(self._namespace)
        self.fanout.enter_user_room(connection)
        if opened:
            self.open(connection)
        await self.bus.flush()
        return connection

    def open(self, connection: Connection) -> None:
        """CONNECT was sent, and longer ago than any hint is late."""
        connection.state = ConnectionState.OPEN
        pending = connection.pending_changes.copy()
        connection.pending_changes.clear()
        self.fanout.start_user_room(connection)
        connection.opened_at = float("-inf")
        for change in pending:
            self.fanout.hints.take_for(connection, change)

    async def member(self, room: str = ROOM, *, head: int | None, after: int | None = None) -> Connection:
        """A connection that entered a room."""
        connection = await self.connect()
        self.fanout.enter(connection, room, head=head, after=after)
        await self.settled()
        return connection

    async def member_unsettled(self, room: str = ROOM, *, head: int | None) -> Connection:
        """A connection that entered a room whose head is still being asked for."""
        connection = await self.connect()
        self.fanout.enter(connection, room, head=head)
        await self.bus.flush()
        return connection

    async def catching_up(self, log: Log, after: int = 0) -> tuple[Connection, Connection]:
        """A member of a room with five events, and one who was there up to `after` and is being caught up.

        The log answers once its gate is open.
        """
        log.append(5)
        here = await self.member(head=5)
        log.gate.clear()
        late = await self.connect()
        self.fanout.enter(late, ROOM, head=5, after=after)
        await until(lambda: log.replays == 1, "the log is asked for what it missed")
        return here, late

    async def settled(self) -> None:
        """Wait until what is on its way from and to the broker has arrived and nothing is being looked up."""
        await until(lambda: not background("verify heads"))
        await self.bus.flush()

    async def receives(self, connection: Connection, sequences: list[int], seconds: float = 5) -> None:
        """Wait until a connection received exactly these."""
        with suppress(AssertionError):
            await until(lambda: len(self.sockets.sequences(connection)) >= len(sequences), seconds=seconds)
        assert self.sockets.sequences(connection) == sequences


def background(*names: str) -> bool:
    """Whether a background task of one of these names is running."""
    return any(task.get_name() in names for task in asyncio.all_tasks())


@asynccontextmanager
async def running_gateway(bus: Bus, namespace: str) -> AsyncGenerator[Gateway]:
    gateway = Gateway(bus, namespace)
    await gateway.fanout.start()
    yield gateway
    await gateway.fanout.close()


@asynccontextmanager
async def running_log(url: str, namespace: str) -> AsyncGenerator[Log]:
    async with running_bus(url, "service") as bus:
        log = Log(bus, namespace)
        await log.start()
        yield log


async def subscribed(log: Log, room: str = ROOM) -> bool:
    """Whether the broker knows anybody who listens to a room."""
    with pytest.raises(Reject) as caught:
        await log.bus.call(subjects.room(log.namespace, room), Delivery([]), timeout=0.05)
    return caught.value.code is Code.TIMEOUT
