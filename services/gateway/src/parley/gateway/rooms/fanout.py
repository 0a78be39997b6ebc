"""Room subjects to local connections: subscribed while a room has a local member, in order, repaired from the log.

A `LocalRoom` is one gateway's view of one room. Live events pass through its `RoomCursor`; when the cursor is behind (a
lost message, a reconnect, a service killed between commit and publish), what is missing is fetched from the service
before anything later is delivered. A connection that joins behind the cursor is caught up first and then spliced in.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter, Gauge

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.common.wire.codec import decode
from parley.common.wire.rooms import (
    Delivery,
    GetRoomHeads,
    Membership,
    MembershipChange,
    Replay,
    Replayed,
    RoomEvent,
    RoomHeads,
    UnloggedEvent,
)
from parley.gateway.connections.connection import Connection
from parley.gateway.engineio.packets import Packet
from parley.gateway.recovery.packet_history import PacketHistory, with_offset
from parley.gateway.rooms.cursor import UNKNOWN, splice
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.socketio.packets import event_packet

log = get_logger(__name__)

SUBSCRIPTIONS = Gauge("parley_gateway_room_subscriptions", "Rooms with a local member")
DELIVERIES = Counter("parley_gateway_deliveries_total", "Events written to connections")
REPAIRS = Counter("parley_gateway_repairs_total", "Times a room was repaired from the log")

GRACE = 0.05
"""Seconds a missing event may take before the log is asked: replicas overtake each other all the time."""
RETRY = 0.5
REPLAY_LIMIT = 500
HEADS_PER_REQUEST = 500


class Outlet(Protocol):
    """Where deliveries go."""

    def send(self, connection: Connection, packet: Packet) -> None:
        """Send one connection a packet."""
        ...

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Send many connections the same packet."""
        ...

    def congested(self, connection: Connection) -> bool:
        """Whether the client reads slower than it is sent to."""
        ...


class Fanout:
    """The feeds of all rooms that have a local member."""

    def __init__(self, bus: Bus, outlet: Outlet, offsets: Mapping[str, PacketHistory]) -> None:
        self._bus = bus
        self._outlet = outlet
        self._offsets = offsets
        self._feeds: defaultdict[str, dict[str, LocalRoom]] = defaultdict(dict)
        """Per namespace, by room."""
        self._unverified: dict[str, set[LocalRoom]] = {}
        """Per namespace, rooms whose head is to be asked for."""
        self._heard = 0
        self._heard_at: dict[Connection, dict[str, int]] = {}
        """When a move was heard of, by connection and room."""
        self._tasks = Tasks()

    async def start(self) -> None:
        """Listen to the beacon of heads, and check every room after a reconnect."""
        self._bus.listen(subjects.HEADS, lambda data: self._learn(decode(data, RoomHeads)))
        self._bus.on_reconnect(self.verify_all)

    async def close(self) -> None:
        """Stop what still runs."""
        await self._tasks.close()

    # -- who is in which room --------------------------------------------------------------------------------------

    def enter_user_room(self, connection: Connection) -> None:
        """Subscribe to the connection's user: no join or leave is missed that follows what is asked after this."""
        feed = self._open_feed(connection, subjects.user_room(connection.identity.user_id), head=0)
        feed.register(connection)

    def open(self, connection: Connection) -> None:
        """Begin to deliver what is addressed to the user."""
        feed = self._feeds[connection.namespace][subjects.user_room(connection.identity.user_id)]
        feed.let_in(connection)
        for move in connection.deferred:
            self._move(connection, move)
        connection.deferred.clear()

    def enter(self, connection: Connection, room: str, *, head: int | None = None, after: int | None = None) -> None:
        """Put a connection into a room: from now on, or with `after`, from the event that follows it.

        `head` is the room's head as last heard of, where the room's cursor starts when it is new here. Without it
        nothing is replayed: the room may have no sequence at all, and starts with the first one that is heard of.
        """
        feed = self._open_feed(connection, room, UNKNOWN if head is None else head)
        if head is not None:
            feed.cursor.start(head)
        start = feed.cursor.head if after is None or feed.cursor.head == UNKNOWN else after
        if feed.join(connection, start):
            self._tasks.spawn(self._catch_up(feed, connection, start), name="catch up")

    def leave(self, connection: Connection, room: str, *, at: int = 0) -> None:
        """Take a connection out of a room, after the event `at` if that is yet to come."""
        feed = self._feeds[connection.namespace].get(room)
        if feed is None:
            return
        if at:
            feed.cursor.start(at - 1)
        if feed.leave(connection, at):
            self._gone(feed, connection)

    def mark(self) -> int:
        """The place of what is heard now, to be taken before a service is asked for memberships."""
        return self._heard

    def apply_memberships(
        self, connections: Iterable[Connection], memberships: Collection[Membership], *, asked: int
    ) -> None:
        """A service says which rooms the user of these is in. What was heard after `asked` is newer, and stays."""
        rooms = {membership.room for membership in memberships}
        for connection in connections:
            newer = {room for room, heard in self._heard_at.get(connection, {}).items() if heard > asked}
            for membership in memberships:
                room, joined = membership.room, membership.joined
                connection.forget_ad_hoc(room)
                if room in connection.rooms or room in newer or joined < connection.moved.get(room, 0):
                    continue
                connection.moved[room] = joined
                self.enter(connection, room, head=membership.head, after=joined - 1)
            own = {subjects.user_room(connection.identity.user_id), *(connection.joined_ad_hoc or ())}
            for room in connection.rooms - rooms - newer - own:
                self.leave(connection, room)

    def leave_all(self, connection: Connection) -> None:
        """Take a connection out of every room it is in."""
        self._heard_at.pop(connection, None)
        for room in list(connection.rooms):
            self.leave(connection, room)

    def park(self, connection: Connection) -> dict[str, int] | None:
        """See `recovery.Parking`."""
        heads: dict[str, int] = {}
        feeds = [self._feeds[connection.namespace][room] for room in connection.rooms]
        sent = [feed.sent_to(connection) for feed in feeds]
        for feed, sequence in zip(feeds, sent, strict=True):
            if None not in sent and not feed.has_log:
                feed.live.discard(connection)
                feed.register(connection)
            else:
                heads[feed.room] = sequence or 0
                self.leave(connection, feed.room)
        return None if None in sent else heads

    def members(self, namespace: str, room: str) -> Collection[Connection]:
        """Everybody here who is in a room, whether they receive its events yet or not."""
        feed = self._feeds.get(namespace, {}).get(room)
        return () if feed is None else feed.members

    def _gone(self, feed: LocalRoom, connection: Connection) -> None:
        connection.rooms.discard(feed.room)
        self._close_if_empty(feed)

    def _open_feed(self, connection: Connection, room: str, head: int) -> LocalRoom:
        feeds = self._feeds[connection.namespace]
        if (feed := feeds.get(room)) is None:
            feed = feeds[room] = LocalRoom(connection.namespace, room, head, self._receive)
            feed.listener = self._bus.listen(subjects.room(connection.namespace, room), feed)
            SUBSCRIPTIONS.inc()
            if not feed.is_user_room:
                self._verify_later(connection.namespace, (feed,))
        connection.rooms.add(room)
        return feed

    def _close_if_empty(self, feed: LocalRoom) -> None:
        if feed.closed or not feed.empty:
            return
        feed.closed = True
        del self._feeds[feed.namespace][feed.room]
        self._unverified.get(feed.namespace, set()).discard(feed)
        SUBSCRIPTIONS.dec()
        if feed.listener is not None:
            feed.listener.close()
            feed.listener = None

    def _receive(self, feed: LocalRoom, data: bytes) -> None:
        delivery = decode(data, Delivery)
        self._deliver(feed, feed.cursor.accept(delivery.items))
        for move in delivery.moves:
            self._on_move(feed, move)
        self._repair_if_behind(feed)

    def _on_move(self, feed: LocalRoom, move: MembershipChange) -> None:
        for connection in feed.members:
            if connection.opened:
                self._move(connection, move)
            else:
                connection.deferred.append(move)

    def _move(self, connection: Connection, move: MembershipChange) -> None:
        if connection.ended or move.sequence < connection.moved.get(move.room, 0):
            return
        connection.moved[move.room] = move.sequence
        self._heard += 1
        self._heard_at.setdefault(connection, {})[move.room] = self._heard
        connection.forget_ad_hoc(move.room)
        if not move.joined:
            self.leave(connection, move.room, at=move.sequence)
        else:
            self.enter(connection, move.room, head=move.sequence - 1, after=move.sequence - 1)

    def send_event(self, connection: Connection, event: str, data: dict[str, Any]) -> None:
        """Send one connection an event that is in no log."""
        args = b"[" + msgspec.json.encode(data) + b"]"
        self._outlet.send(connection, event_packet(connection.namespace, event, args))

    def send_unlogged(self, connection: Connection, missed: UnloggedEvent) -> None:
        """Send a recovered connection an event that is in no log."""
        args, namespace = missed.args, connection.namespace
        if (offsets := self._offsets.get(namespace)) is not None:
            args = with_offset(args, offsets.add(None, sid=connection.sid, missed=missed))
        self._outlet.send(connection, event_packet(namespace, missed.event, args, missed.attachments))

    # -- events to connections -------------------------------------------------------------------------------------

    def _deliver(self, feed: LocalRoom, items: list[RoomEvent]) -> None:
        if len(items) > 1 and feed.settled and not any(item.except_sid or item.volatile for item in items):
            # Everybody gets the same: one piece instead of many.
            packet = Packet.joined([self._packet(feed, item) for item in items])
            self._outlet.broadcast(feed.live, packet)
            DELIVERIES.inc(len(feed.live) * len(items))
            return
        for item in items:
            feed.begin(item)
            receivers: Collection[Connection] = feed.live
            if item.except_sid:
                receivers = [connection for connection in feed.live if connection.sid != item.except_sid]
            self._outlet.broadcast(receivers, self._packet(feed, item), volatile=item.volatile)
            DELIVERIES.inc(len(receivers))
            for connection in feed.finish(item):
                self._gone(feed, connection)

    def _packet(self, feed: LocalRoom, item: RoomEvent, sid: str = "") -> Packet:
        """An event for a room's members, or for one of them; with its offset where connections are recovered."""
        args = b"[" + item.payload + b"]"
        offsets = self._offsets.get(feed.namespace)
        if offsets is not None and not item.volatile:
            missed = None if item.sequence else UnloggedEvent(item.event, args, item.attachments)
            excepted = (item.except_sid,) if item.except_sid else ()
            offset = offsets.add((feed.room,), sequence=item.sequence, sid=sid, except_rooms=excepted, missed=missed)
            args = with_offset(args, offset)
        return event_packet(feed.namespace, item.event, args, item.attachments)

    async def _catch_up(self, feed: LocalRoom, connection: Connection, after: int) -> None:
        """Send a connection what it missed, then let it into the room in the same tick, without gap or double."""
        with feed.catching_up(connection, after) as mark:
            while not connection.ended:
                if self._outlet.congested(connection):
                    await asyncio.sleep(GRACE)
                    continue
                replayed = await self._replay(feed, mark.sequence)
                if not feed.is_catching_up(connection, mark):
                    return
                if replayed is None:
                    await asyncio.sleep(RETRY)
                    continue
                due = feed.due(connection)
                whole = splice(mark.sequence, replayed.items, feed.recent, due)
                # Without a splice this is one page of many; what the room has not delivered yet stays for later.
                found = whole if whole is not None else [item for item in replayed.items if item.sequence <= due]
                for item in found:
                    self._outlet.send(connection, self._packet(feed, item, connection.sid))
                mark.sequence += len(found)
                if whole is None:
                    await asyncio.sleep(0 if found else GRACE)
                    continue
                further = feed.caught_up(connection, mark.sequence)
                if connection not in feed:
                    self._gone(feed, connection)
                if further is None:
                    return
                mark.sequence = further

    # -- noticing and repairing ------------------------------------------------------------------------------------

    def _learn(self, heads: RoomHeads) -> None:
        feeds = self._feeds.get(heads.namespace, {})
        for head in heads.heads:
            if (feed := feeds.get(head.room)) is not None:
                feed.cursor.learn(head.head)
                self._repair_if_behind(feed)

    def _repair_if_behind(self, feed: LocalRoom) -> None:
        if feed.cursor.behind and not feed.repairing:
            feed.repairing = True
            self._tasks.spawn(self._repair(feed), name="repair")

    async def _repair(self, feed: LocalRoom) -> None:
        try:
            await asyncio.sleep(GRACE)
            while feed.cursor.behind and not feed.closed:
                REPAIRS.inc()
                replayed = await self._replay(feed, feed.cursor.head)
                if replayed is None:
                    await asyncio.sleep(RETRY)
                    continue
                if not replayed.items:
                    feed.cursor.give_up_on(replayed.head)
                self._deliver(feed, feed.cursor.accept(replayed.items))
        finally:
            feed.repairing = False

    async def _replay(self, feed: LocalRoom, after: int) -> Replayed | None:
        request = Replay(feed.room, after, REPLAY_LIMIT)
        try:
            return await self._bus.request(subjects.replay(feed.namespace), request, Replayed)
        except Reject as rejection:
            log.warning("cannot read the log, trying again", room=feed.room, after=after, code=str(rejection.code))
            return None

    def verify_all(self) -> None:
        """Ask for the heads of all rooms: events may have been missed."""
        for namespace, feeds in self._feeds.items():
            self._verify_later(namespace, feeds.values())

    def _verify_later(self, namespace: str, feeds: Iterable[LocalRoom]) -> None:
        """Ask for the heads of rooms whose events may have been missed, many in one request."""
        if namespace not in self._unverified:
            self._unverified[namespace] = set()
            self._tasks.spawn(self._verify(namespace), name="verify heads")
        self._unverified[namespace].update(feeds)

    async def _verify(self, namespace: str) -> None:
        waiting, failing = self._unverified[namespace], False
        try:
            while waiting:
                taken = [waiting.pop() for _ in range(min(len(waiting), HEADS_PER_REQUEST))]
                asked = [feed for feed in taken if not feed.is_user_room]
                if not asked:
                    continue
                try:
                    request = GetRoomHeads([feed.room for feed in asked])
                    self._learn(await self._bus.request(subjects.room_heads(namespace), request, RoomHeads))
                    failing = False
                except Reject as rejection:
                    if not failing:
                        log.warning("cannot verify rooms, trying again", namespace=namespace, code=str(rejection.code))
                    failing = True
                    waiting.update(feed for feed in asked if not feed.closed)
                    await asyncio.sleep(RETRY)
        finally:
            del self._unverified[namespace]
