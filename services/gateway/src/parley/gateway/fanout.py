"""Room subjects to local connections: subscribed while a room has a local member, in order, repaired from the log.

A `Feed` is one gateway's view of one room. Live events pass through its `RoomCursor`; when the cursor is behind (a
lost message, a reconnect, a service killed between commit and publish), what is missing is fetched from the service
before anything later is delivered. A connection that joins behind the cursor is caught up first and then spliced in.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import Delivery, Heads, HeadsOf, Item, Move, Replay, Replayed, decode
from parley.common.errors import Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.gateway.connections import Connection
from parley.gateway.feed import Feed
from parley.gateway.resume import splice

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

    def frame(self, namespace: str, event: str, payload: bytes) -> Any:
        """A packet for any number of connections."""
        ...

    def send(self, transport_id: str, packet: Any) -> None:
        """Queue a packet for one of them."""
        ...


class Fanout:
    """The feeds of all rooms that have a local member."""

    def __init__(self, bus: Bus, outlet: Outlet) -> None:
        self._bus = bus
        self._outlet = outlet
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._unverified: set[Feed] = set()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Listen to the beacon of heads, and check every room after a reconnect."""
        await self._bus.subscribe(subjects.HEADS, self._on_heads)
        self._bus.on_reconnect(lambda: self._verify_later(*self._feeds.values()))

    async def close(self) -> None:
        """Stop what still runs."""
        await self._tasks.close()

    # -- who is in which room --------------------------------------------------------------------------------------

    async def enter_user_room(self, connection: Connection) -> None:
        """Subscribe to the connection's user; when this returns, no later join or leave of the user is missed."""
        feed = self._open_feed(connection, subjects.user_room(connection.identity.user_id), head=0)
        feed.members.add(connection)
        await feed.ready.wait()

    def open(self, connection: Connection) -> None:
        """Begin to deliver what is addressed to the user."""
        feed = self._feeds[connection.namespace, subjects.user_room(connection.identity.user_id)]
        feed.live.add(connection)
        for move in connection.deferred:
            self._move(connection, move)
        connection.deferred.clear()

    def enter(self, connection: Connection, room: str, *, head: int, after: int | None = None) -> None:
        """Put a connection into a room: from now on, or with `after`, from the event that follows it.

        `head` is the room's head as last heard of, where the room's cursor starts when it is new here.
        """
        feed = self._open_feed(connection, room, head)
        start = feed.cursor.head if after is None else after
        if feed.join(connection, start):
            self._tasks.spawn(self._catch_up(feed, connection, start), name="catch up")

    def leave(self, connection: Connection, room: str, *, at: int = 0) -> None:
        """Take a connection out of a room, after the event `at` if that is yet to come."""
        feed = self._feeds.get((connection.namespace, room))
        if feed is not None and feed.leave(connection, at):
            self._gone(feed, connection)

    def leave_all(self, connection: Connection) -> None:
        """Take a connection out of every room it is in."""
        for room in list(connection.rooms):
            self.leave(connection, room)

    def _gone(self, feed: Feed, connection: Connection) -> None:
        connection.rooms.discard(feed.room)
        self._close_if_empty(feed)

    def _open_feed(self, connection: Connection, room: str, head: int) -> Feed:
        key = connection.namespace, room
        if (feed := self._feeds.get(key)) is None:
            feed = self._feeds[key] = Feed(connection.namespace, room, head)
            SUBSCRIPTIONS.inc()
            self._tasks.spawn(self._subscribe(feed), name="subscribe")
        connection.rooms.add(room)
        return feed

    def _close_if_empty(self, feed: Feed) -> None:
        if feed.members or feed.closed:
            return
        feed.closed = True
        del self._feeds[feed.namespace, feed.room]
        SUBSCRIPTIONS.dec()
        if feed.subscription is not None:
            self._tasks.spawn(feed.subscription.unsubscribe(), name="unsubscribe")

    async def _subscribe(self, feed: Feed) -> None:
        async def receive(message: Msg) -> None:
            if not feed.is_user_room:
                # Moves that came before this message are heeded first: each subscription has a queue of its own.
                await asyncio.sleep(0)
            delivery = decode(message.data, Delivery)
            self._deliver(feed, feed.cursor.accept(delivery.items))
            for move in delivery.moves:
                self._on_move(feed, move)
            self._repair_if_behind(feed)

        feed.subscription = await self._bus.subscribe(subjects.room(feed.namespace, feed.room), receive)
        if feed.closed:
            await feed.subscription.unsubscribe()
            return
        feed.ready.set()
        self._verify_later(feed)

    def _on_move(self, feed: Feed, move: Move) -> None:
        for connection in list(feed.members):
            if connection.opened:
                self._move(connection, move)
            else:
                connection.deferred.append(move)

    def _move(self, connection: Connection, move: Move) -> None:
        if move.sequence < connection.moved.get(move.room, 0):
            return
        connection.moved[move.room] = move.sequence
        if not move.joined:
            self.leave(connection, move.room, at=move.sequence)
        else:
            self.enter(connection, move.room, head=move.sequence - 1, after=move.sequence - 1)

    def notify(self, connection: Connection, event: str, data: dict[str, Any]) -> None:
        """Send one connection an event that is in no log."""
        packet = self._outlet.frame(connection.namespace, event, msgspec.json.encode(data))
        self._outlet.send(connection.transport_id, packet)

    # -- events to connections -------------------------------------------------------------------------------------

    def _deliver(self, feed: Feed, items: list[Item]) -> None:
        for item in items:
            feed.begin(item)
            if feed.live:
                packet = self._outlet.frame(feed.namespace, item.event, item.payload)
                for connection in feed.live:
                    if connection.sid != item.except_sid:
                        self._outlet.send(connection.transport_id, packet)
                DELIVERIES.inc(len(feed.live))
            for connection in feed.finish(item):
                self._gone(feed, connection)

    async def _catch_up(self, feed: Feed, connection: Connection, after: int) -> None:
        """Send a connection what it missed, then let it into the room in the same tick, without gap or double."""
        with feed.catching_up(connection) as mark:
            while not connection.ended:
                replayed = await self._replay(feed, after)
                if not feed.is_catching_up(connection, mark):
                    return
                if replayed is None:
                    await asyncio.sleep(RETRY)
                    continue
                due = feed.due(connection)
                whole = splice(after, replayed.items, feed.recent, due)
                # Without a splice this is one page of many; what the room has not delivered yet stays for later.
                found = whole if whole is not None else [item for item in replayed.items if item.sequence <= due]
                for item in found:
                    packet = self._outlet.frame(feed.namespace, item.event, item.payload)
                    self._outlet.send(connection.transport_id, packet)
                after += len(found)
                if whole is None:
                    await asyncio.sleep(0 if found else GRACE)
                    continue
                further = feed.caught_up(connection, after)
                if connection not in feed.members:
                    self._gone(feed, connection)
                if further is None:
                    return
                after = further

    # -- noticing and repairing ------------------------------------------------------------------------------------

    async def _on_heads(self, message: Msg) -> None:
        self._learn(decode(message.data, Heads))

    def _learn(self, heads: Heads) -> None:
        for head in heads.heads:
            if (feed := self._feeds.get((heads.namespace, head.room))) is not None:
                feed.cursor.learn(head.head)
                self._repair_if_behind(feed)

    def _repair_if_behind(self, feed: Feed) -> None:
        if feed.cursor.behind and not feed.repairing:
            feed.repairing = True
            self._tasks.spawn(self._repair(feed), name="repair")

    async def _repair(self, feed: Feed) -> None:
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

    async def _replay(self, feed: Feed, after: int) -> Replayed | None:
        request = Replay(feed.room, after, REPLAY_LIMIT)
        try:
            return await self._bus.request(subjects.replay(feed.namespace), request, Replayed)
        except Reject as rejection:
            log.warning("cannot read the log, trying again", room=feed.room, after=after, code=str(rejection.code))
            return None

    def _verify_later(self, *feeds: Feed) -> None:
        """Ask for the heads of rooms whose events may have been missed, many in one request."""
        fresh = [feed for feed in feeds if not feed.is_user_room]
        if fresh and not self._unverified:
            self._tasks.spawn(self._verify(), name="verify heads")
        self._unverified.update(fresh)

    async def _verify(self) -> None:
        while self._unverified:
            feeds = list(self._unverified)[:HEADS_PER_REQUEST]
            namespace = feeds[0].namespace
            asked = [feed for feed in feeds if feed.namespace == namespace and not feed.closed]
            try:
                if asked:
                    request = HeadsOf([feed.room for feed in asked])
                    self._learn(await self._bus.request(subjects.room_heads(namespace), request, Heads))
                self._unverified.difference_update(feed for feed in feeds if feed.namespace == namespace)
            except Reject as rejection:
                log.warning("cannot verify rooms, trying again", rooms=len(asked), code=str(rejection.code))
                await asyncio.sleep(RETRY)
