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
        histories: Mapping[str, PacketHistory],
        rooms: RoomRegistry,
        joined: Callable[[LocalRoom, Connection], None],
        gone: Callable[[LocalRoom, Connection, int], None],
        question_count: Callable[[], int],
        asks_about: Callable[[Connection], bool],
    ) -> None:
        """`asks_about` asks the service about a connection that was admitted just now, and returns whether it did."""
        self._outlet = outlet
        self._histories = histories
        self._rooms = rooms
        self._joined = joined
        self._gone = gone
        self._question_count = question_count
        self._asks_about = asks_about

    def deliver(self, room: LocalRoom, events: list[RoomEvent]) -> None:
        """Send live members the next events, each once."""
        if not events or room.closed:
            return  # what a repair brings for a closed room would be remembered as sent later than it was
        if room.changes_nothing(events) and not (room.is_user_room and room.partly_live):
            # All receive the same bytes, so they are joined into one packet and encoded once.
            # Kept before it is sent: who is catching up takes it from there, and goes live behind it.
            if room.keeps_recent:
                room.keep_recent(events)
            if len(events) == 1:
                packet = self._packet(room, events[0])
            else:
                packet = Packet.joined([self._packet(room, event) for event in events])
            self._outlet.broadcast(room.live, packet)
            DELIVERIES.counts[()] += len(room.live) * len(events)
            return
        for event in events:
            if room.closed:
                return  # the last member left
            self._deliver_one(room, event)

    def _deliver_one(self, room: LocalRoom, event: RoomEvent) -> None:
        if event.sequence:
            room.keep_recent((event,))
            # In this order: who joins with the event gets it, and who leaves with it gets it as the last one.
            room.before_event(event, self._joining(room, event) if event.joined_user else ())
        receivers: Collection[Connection] = room.live
        if not event.sequence and room.is_user_room:
            # It has no place in the order, so who is still catching up gets it as well.
            receivers = room.let_in_members
        if event.except_sid:
            receivers = [connection for connection in receivers if connection.sid != event.except_sid]
        self._outlet.broadcast(receivers, self._packet(room, event), volatile=event.volatile)
        DELIVERIES.counts[()] += len(receivers)
        if event.sequence:
            leaving = self._concerned(room, event, event.left_user, joined=False) if event.left_user else ()
            # Found after the broadcast, since the event also goes to those who leave with it.
            for connection in room.after_event(event, leaving):
                self._gone(room, connection, event.sequence)

    def _joining(self, room: LocalRoom, event: RoomEvent) -> list[Connection]:
        """Return the connections that have to be live from this event on, and are not."""
        joining: list[Connection] = []
        behind = room.cursor.known > event.sequence
        for connection in self._concerned(room, event, event.joined_user, joined=True):
            if behind and connection not in room and self._asks_about(connection):
                continue  # before it was admitted, it may have left with an event that this room has not delivered yet
            if connection in room or (sent := memory.note_entered(connection, room.room)) < event.sequence:
                joining.append(connection)
            else:
                # It was sent this event in an earlier stay, and must not get it again.
                room.join(connection, event.sequence - 1, sent)
                self._joined(room, connection)
        return joining

    def _concerned(self, room: LocalRoom, event: RoomEvent, user_id: str, *, joined: bool) -> list[Connection]:
        """Return the connections of the user whom an event moves. Those being admitted are told when they are in."""
        concerned: list[Connection] = []
        for connection in self._rooms.of_user(room.namespace, user_id):
            if connection.attempting:
                connection.pending_changes.append(MembershipChange(room.room, joined, event.sequence))
            else:
                concerned.append(connection)
                connection.forget_ad_hoc(room.room)
                memory.note_change(connection, room.room, event.sequence, self._question_count())
        return concerned

    def send_one(self, room: LocalRoom, connection: Connection, event: RoomEvent) -> None:
        """Send one member an event that it missed."""
        self._outlet.send(connection, self._packet(room, event, connection.sid))
        DELIVERIES.counts[()] += 1

    def _packet(self, room: LocalRoom, event: RoomEvent, sid: str = "") -> Packet:
        """Make the packet of an event, for a room's members or for one of them.

        It has an offset if connections are recovered.
        """
        history = self._histories.get(room.namespace) if self._histories else None
        if history is None or event.volatile:
            return single_event_packet(room.namespace, event.event, event.payload, event.attachments)
        args = b"[" + event.payload + b"]"
        missed = None if event.sequence else UnloggedEvent(event.event, args, event.attachments)
        excepted = (event.except_sid,) if event.except_sid else ()
        offset = history.add((room.room,), sequence=event.sequence, sid=sid, except_rooms=excepted, missed=missed)
        args = with_offset(args, offset)
        return event_packet(room.namespace, event.event, args, event.attachments)
