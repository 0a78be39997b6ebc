"""One gateway's rooms in a world without a network: a log, a broker that loses and overtakes, and clients."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import (
    Announcement,
    Delivery,
    GetRoomHeads,
    Membership,
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
from parley.gateway.socketio import packets

NAMESPACE, ROOM = "/chat", "r1"
ANN = Identity("u_ann", "ann")


BEN = Identity("u_ben", "ben")


@dataclass
class Log:
    """The room's committed events, and who was a member after each."""

    events: list[RoomEvent] = field(default_factory=list[RoomEvent])
    stays: list[list[int]] = field(default_factory=list[list[int]])
    """Ann's: the first event and, when she has left, the last."""
    told: bool = True
    """Whether events say who joins and leaves."""

    @property
    def head(self) -> int:
        return len(self.events)

    @property
    def ann_is_in(self) -> bool:
        return bool(self.stays) and len(self.stays[-1]) == 1

    def commit(self, kind: str = "message.sent", *, joins: str = "", leaves: str = "") -> int:
        payload = json.dumps({"sequence": self.head + 1}).encode()
        joins, leaves = (joins, leaves) if self.told else ("", "")
        self.events.append(RoomEvent(kind, payload, self.head + 1, joined_user=joins, left_user=leaves))
        return self.head

    def move_ann(self) -> MembershipChange:
        """She joins, or leaves if she is in."""
        if self.ann_is_in:
            sequence = self.commit("member.left", leaves=ANN.user_id)
            self.stays[-1].append(sequence)
        else:
            sequence = self.commit("member.joined", joins=ANN.user_id)
            self.stays.append([sequence])
        return MembershipChange(ROOM, self.ann_is_in, sequence)

    def memberships(self) -> list[Membership]:
        return [Membership(ROOM, self.head, self.stays[-1][0])] if self.ann_is_in else []


class Broker:
    """NATS and the service in this process: what is published is heard at once, answers are of when they were asked."""

    instance = "gateway"

    def __init__(self, log: Log) -> None:
        self.log = log
        self.asked = 0
        self._listeners: defaultdict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    def listen(self, subject: str, callback: Callable[[bytes], None]) -> Any:
        self._listeners[subject].append(callback)
        broker = self

        class Listening:
            def close(self) -> None:
                broker._listeners[subject].remove(callback)

        return Listening()

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        pass

    async def request(self, _subject: str, request: Any, _kind: Any, **_options: Any) -> Any:
        self.asked += 1
        events, head = self.log.events, self.log.head
        if isinstance(request, GetRoomHeads):
            answer: Any = RoomHeads(NAMESPACE, [RoomHead(room, head) for room in request.rooms if room == ROOM])
        else:
            assert isinstance(request, Replay)
            answer = Replayed(events[request.after : request.after + min(request.limit, 3)], head)
        for _ in range(3):
            await asyncio.sleep(0)
        return answer

    def publish(self, subject: str, data: bytes) -> None:
        for callback in list(self._listeners[subject]):
            callback(data)

    def deliver(self, sequence: int) -> None:
        """Publish one event of the room."""
        self.publish(subjects.room(NAMESPACE, ROOM), Delivery([self.log.events[sequence - 1]]).encode())

    def hint(self, change: MembershipChange) -> None:
        """Publish a change in Ann's own room."""
        self.publish(subjects.room(NAMESPACE, subjects.user_room(ANN.user_id)), Delivery([], [change]).encode())

    def announce(self, change: MembershipChange) -> None:
        """Announce a change of Ann's from the log."""
        announcement = Announcement(NAMESPACE, "log", "", "1", changes=[(ANN.user_id, change)])
        self.publish(subjects.announcements(NAMESPACE), announcement.encode())

    def beacon(self, head: int) -> None:
        self.publish(subjects.advanced_heads(NAMESPACE), RoomHeads(NAMESPACE, [RoomHead(ROOM, head)]).encode())


class Sockets:
    """What was sent to each connection."""

    def __init__(self) -> None:
        self.written: defaultdict[Connection, list[int | str]] = defaultdict(list)

    def send(self, connection: Connection, packet: Packet) -> None:
        for part in packet.parts:
            text = part.data[1:].decode()
            event, args = packets.read_event(text, packets.read_head(text).start)
            sequence = json.loads(args)[0]["sequence"]
            self.written[connection].append(sequence if event != "reset" else f"reset {sequence}")

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        for connection in connections:
            self.send(connection, packet)

    def congested(self, connection: Connection) -> bool:
        return False


class World:
    """A gateway, its broker and a log."""

    def __init__(self, *, told: bool = True) -> None:
        self.log = Log(told=told)
        self.broker = Broker(self.log)
        self.sockets = Sockets()
        self.fanout = Fanout(cast("Bus", self.broker), self.sockets, {}, [NAMESPACE])
        self.changes: list[MembershipChange] = []

    async def start(self) -> None:
        await self.fanout.start()

    def connect(self, identity: Identity, *, long_ago: bool = True) -> Connection:
        """A connection that was admitted in no room yet, longer ago than any hint is late or just now."""
        connection = Connection(f"sid-{identity.name}", cast("Session", None), NAMESPACE, identity, 0.0)
        self.fanout.enter_user_room(connection)
        self.open(connection)
        if long_ago:
            connection.opened_at = float("-inf")
        return connection

    def open(self, connection: Connection) -> None:
        """CONNECT was sent, with the rooms of the moment."""
        connection.state = ConnectionState.OPEN
        if connection.identity == ANN:
            for membership in self.log.memberships():
                connection.last_change[membership.room] = membership.joined
                self.fanout.enter(connection, membership.room, head=membership.head)
        self.fanout.start_user_room(connection)

    def move(self) -> MembershipChange:
        self.changes.append(change := self.log.move_ann())
        return change

    async def settle(self) -> None:
        """Until nothing is under way."""
        async with asyncio.timeout(5):
            while len(self.fanout._tasks):
                await asyncio.sleep(0)

    def received(self, connection: Connection) -> list[int]:
        return [entry for entry in self.sockets.written[connection] if isinstance(entry, int)]
