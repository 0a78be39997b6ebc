"""Delivers a room's events to its live members in order, and applies the joins and leaves that the events carry.

An event may name a user who joins with it, or leaves after it. Reading the room in order thereby moves that user's
connections at exactly the right place, whether the event came live or was repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from parley.common.nats.tally import Tally
from parley.common.wire.rooms import MembershipChange, RoomEvent, UnloggedEvent
from parley.engineio.packets import Packet
from parley.gateway.connections.connection import Connection
from parley.gateway.recovery.packet_history import PacketHistory, with_offset
from parley.gateway.rooms import memory
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.room_registry import RoomRegistry
from parley.gateway.socketio.packets import event_packet, single_event_packet

DELIVERIES = Tally("parley_gateway_deliveries_total", "Events written to connections")


class Outlet(Protocol):
    """Where deliveries go: the Socket.IO server, or what a test records."""

    def send(self, connection: Connection, packet: Packet) -> None:
        """Send a packet to one connection."""
        ...

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Send the same packet to many connections."""
        ...

    def congested(self, connection: Connection) -> bool:
        """Return whether the client reads more slowly than it is sent to."""
        ...


class RoomDelivery:
    """Writes events to members. `joined` is told of those who lack earlier events, `gone` of those who have left."""

    def __init__(
        self,
        outlet: Outlet,
        offsets: Mapping[str, PacketHistory],
        rooms: RoomRegistry,
        joined: Callable[[LocalRoom, Connection], None],
        gone: Callable[[LocalRoom, Connection, int], None],
        mark: Callable[[], int],
        doubts: Callable[[Connection], bool],
    ) -> None:
        """`doubts` asks the service about a connection that was admitted just now, and returns whether it did."""
        self._outlet = outlet
        self._offsets = offsets
        self._rooms = rooms
        self._joined = joined
        self._gone = gone
        self._mark = mark
        self._doubts = doubts

    def deliver(self, room: LocalRoom, items: list[RoomEvent]) -> None:
        """Send live members the next events, each once."""
        if not items or room.closed:
            return  # what a repair brings for a closed room would be remembered as sent later than it was
        if room.changes_nothing(items) and not (room.is_user_room and room.partly_live):
            # All receive the same bytes, so they are joined into one packet and encoded once.
            if room.keeps_recent:
                room.keep_recent(items)
            if len(items) == 1:
                packet = self._packet(room, items[0])
            else:
                packet = Packet.joined([self._packet(room, item) for item in items])
            self._outlet.broadcast(room.live, packet)
            DELIVERIES.counts[()] += len(room.live) * len(items)
            return
        for item in items:
            if room.closed:
                return  # the last member left
            self._deliver_one(room, item)

    def _deliver_one(self, room: LocalRoom, item: RoomEvent) -> None:
        if item.sequence:
            room.keep_recent((item,))
            room.before_event(item, self._joining(room, item) if item.joins else ())
        receivers: Collection[Connection] = room.live
        if not item.sequence and room.is_user_room:
            # It has no place in the order, so who is still catching up gets it as well.
            receivers = room.let_in_members
        if item.except_sid:
            receivers = [connection for connection in receivers if connection.sid != item.except_sid]
        self._outlet.broadcast(receivers, self._packet(room, item), volatile=item.volatile)
        DELIVERIES.counts[()] += len(receivers)
        if item.sequence:
            leaving = self._concerned(room, item, item.leaves, joined=False) if item.leaves else ()
            for connection in room.after_event(item, leaving):
                self._gone(room, connection, item.sequence)

    def _joining(self, room: LocalRoom, item: RoomEvent) -> list[Connection]:
        """Return the connections that have to be live from this event on, and are not."""
        joining: list[Connection] = []
        behind = room.cursor.known > item.sequence
        for connection in self._concerned(room, item, item.joins, joined=True):
            if behind and connection not in room and self._doubts(connection):
                continue  # before it was admitted, it may have left with an event that this room has not delivered yet
            if connection in room or (sent := memory.enter(connection, room.room)) < item.sequence:
                joining.append(connection)
            else:
                # It was sent this event in an earlier stay, and must not get it again.
                room.join(connection, item.sequence - 1, sent)
                self._joined(room, connection)
        return joining

    def _concerned(self, room: LocalRoom, item: RoomEvent, user_id: str, *, joined: bool) -> list[Connection]:
        """Return the connections of the user whom an event moves. Those being admitted are told when they are in."""
        concerned: list[Connection] = []
        for connection in self._rooms.of_user(room.namespace, user_id):
            if not connection.opened:
                connection.pending_changes.append(MembershipChange(room.room, joined, item.sequence))
            else:
                concerned.append(connection)
                connection.forget_ad_hoc(room.room)
                memory.heed(connection, room.room, item.sequence, self._mark())
        return concerned

    def send_one(self, room: LocalRoom, connection: Connection, item: RoomEvent) -> None:
        """Send one member an event that it missed."""
        self._outlet.send(connection, self._packet(room, item, connection.sid))
        DELIVERIES.counts[()] += 1

    def _packet(self, room: LocalRoom, item: RoomEvent, sid: str = "") -> Packet:
        """Make the packet of an event, for a room's members or for one of them.

        It has an offset if connections are recovered.
        """
        offsets = self._offsets.get(room.namespace) if self._offsets else None
        if offsets is None or item.volatile:
            return single_event_packet(room.namespace, item.event, item.payload, item.attachments)
        args = b"[" + item.payload + b"]"
        missed = None if item.sequence else UnloggedEvent(item.event, args, item.attachments)
        excepted = (item.except_sid,) if item.except_sid else ()
        offset = offsets.add((room.room,), sequence=item.sequence, sid=sid, except_rooms=excepted, missed=missed)
        args = with_offset(args, offset)
        return event_packet(room.namespace, item.event, args, item.attachments)
