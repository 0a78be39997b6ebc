"""Room events to connections: who is in which room here, and the way of what is published there.

`Admission` and `Operations` put connections into rooms and take them out; NATS calls `_receive` for each message. Live
events pass through a room's cursor and go to its live members (`delivery`). When the cursor is behind (a lost message,
a reconnect, a service killed between commit and publish), what is missing is read from the log before anything later is
delivered (`repair`). A member that lacks more than the others catches up by itself (`catch_up`).

Who is a member follows from the rooms' own events, which cannot be lost or overtake each other. What is published in a
user's own room is only a hint to look at a room from some event on. A service's answer about memberships is a third
witness. Neither undoes what was heard of later.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from prometheus_client import Counter
from typing_extensions import override

from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.rooms import (
    MAX_BEHIND,
    Announcement,
    Delivery,
    Membership,
    MembershipChange,
    RoomEvent,
    RoomHeads,
    UndecodedDeliveries,
    UnloggedEvent,
)
from parley.gateway.connections.connection import Connection
from parley.gateway.recovery.packet_history import PacketHistory, with_offset
from parley.gateway.recovery.recovery import Parking
from parley.gateway.rooms import memory
from parley.gateway.rooms.announcement_log import AnnouncementLog, Notices
from parley.gateway.rooms.catch_up import CatchUp
from parley.gateway.rooms.cursor import UNKNOWN
from parley.gateway.rooms.delivery import Outlet, RoomDelivery
from parley.gateway.rooms.gathering import Gathering
from parley.gateway.rooms.heads import RoomHeadReader
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.log_reader import LogReader
from parley.gateway.rooms.member_state import Registered
from parley.gateway.rooms.membership_hints import MembershipHints
from parley.gateway.rooms.repair import Repair
from parley.gateway.rooms.room_registry import Awaited, RoomRegistry
from parley.gateway.socketio.packets import event_packet

log = get_logger(__name__)

RESETS = Counter("parley_gateway_room_resets_total", "Rooms whose log was found restored to an earlier state")
MISSED = Counter("parley_gateway_announcements_missed_total", "Announcements missed, so that all rooms were compared")


class Fanout(Parking):
    """All rooms that have a member here, and the parts that deal with them."""

    def __init__(
        self, bus: Bus, outlet: Outlet, histories: Mapping[str, PacketHistory], namespaces: Iterable[str]
    ) -> None:
        self._bus = bus
        self._namespaces = namespaces
        self._outlet = outlet
        self._histories = histories
        self._tasks = Tasks()
        self._question_count = 0
        self._awaited = Awaited()
        self._rooms = RoomRegistry(bus, self._receive, self._closed)
        self.hints = MembershipHints(self._rooms, self._apply_hint)
        self._log = LogReader(bus)
        self._catch_up = CatchUp(self._log, outlet.congested, self._send_missed, self._gone, self._tasks)
        self._delivery = RoomDelivery(
            outlet, histories, self._rooms, self._catch_up.start, self._gone, lambda: self._question_count,
            self.hints.asks_about,
        )  # fmt: skip
        self._repair = Repair(self._log, self._delivery.deliver, self._tasks)
        self._gathering = Gathering(self._gathered)
        self._heads = RoomHeadReader(
            bus, self._rooms, self._tasks, self.head_known, self.log_restored, self.remove_absent
        )
        self._announcements = AnnouncementLog()
        self._notices = Notices()
        # What the gateway puts here once it has the parts that need to know.
        self.on_missed: Callable[[], object] = lambda: None
        """Called when an announcement was missed: memberships may have changed that nobody here heard of."""
        self.on_restored: Callable[[str], object] = lambda _namespace: None
        """Called with a namespace whose log was restored."""

    async def start(self) -> None:
        """Listen to announcements and to what goes to several rooms, and check every room after a reconnect."""
        for namespace in self._namespaces:
            self._bus.listen(subjects.rooms(namespace), partial(self._receive_all, namespace))
            self._bus.listen(subjects.advanced_heads(namespace), partial(self._receive_heads, namespace))
            self._bus.listen(subjects.announcements(namespace), partial(self._receive_announcement, namespace))
        self._bus.on_reconnect(self.verify_all)

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()

    # -- connections come and go -----------------------------------------------------------------------------------

    def enter_user_room(self, connection: Connection) -> None:
        """Subscribe to the user's own room *before* asking the service for memberships, so that no hint is lost."""
        name = subjects.user_room(connection.identity.user_id)
        room = self._rooms.get(connection.namespace, name) or self._rooms.open(connection.namespace, name, UNKNOWN)
        connection.rooms.add(name)
        room.register(connection)

    @asynccontextmanager
    async def held_open(self, namespace: str, heads: Mapping[str, int | None]) -> AsyncGenerator[bool]:
        """Keep rooms open before somebody enters them, so that nothing published after CONNECT is missed.

        `heads` are their heads as last heard of. Inside of the block NATS has the subscriptions; the block is given
        whether that took any waiting. Raises `Reject` if NATS does not answer.
        """
        rooms = [self._room_for(namespace, name, UNKNOWN if head is None else head) for name, head in heads.items()]
        # Counted, since several admissions may hold the same room open; the last one lets go of it.
        for room in rooms:
            room.awaited += 1
        try:
            yield await self._rooms.make_known(rooms)
        finally:
            for room in rooms:
                room.awaited -= 1
                self._rooms.close_if_empty(room)

    def start_user_room(self, connection: Connection) -> None:
        """Begin to deliver what is addressed to the user, and apply what was heard of before it was let in."""
        own = self._rooms.users_room(connection)
        # If its service logs what happens there, it has a place in it already.
        if isinstance(own.state(connection), Registered):
            own.let_in(connection)
        connection.opened_at = time.monotonic()
        for change in connection.pending_changes:
            self.hints.take_for(connection, change)
        connection.pending_changes.clear()

    def enter(
        self,
        connection: Connection,
        room: str,
        *,
        head: int | None = None,
        after: int | None = None,
        joined: int = 0,
    ) -> None:
        """Put a connection into a room: from now on, or after the event `after`.

        `head` is the room's head as last heard of, where the room's cursor starts if the room is new here. Without it
        nothing is replayed: the room may have no sequence at all, or starts with the first one that is heard of.
        `joined` is the event with which its user became a member; the user may have left and come back after `after`.
        """
        self._enter(connection, room, head, after, hinted=False)
        # The replay from `after` on may show a leave. That is not the end of the stay if a later join is known already.
        if (
            after is not None
            and after < joined - 1
            and (local := self._rooms.get(connection.namespace, room)) is not None
        ):
            local.join(connection, joined - 1)

    def _enter(self, connection: Connection, room: str, head: int | None, after: int | None, *, hinted: bool) -> None:
        sent = memory.note_entered(connection, room)
        local = self._room_for(connection.namespace, room, UNKNOWN if head is None else max(head, sent))
        if head is not None:
            local.cursor.start(head)
        if (here := local.cursor.head) == UNKNOWN:
            after = here
        elif after is None:
            # This gateway may be behind. What it has still to deliver from before now is not for this connection.
            after = max(here, head or 0, sent)
        if not hinted and after > here:
            # The connection has, or must not have, what this gateway has still to deliver before that.
            sent = after
            connection.ahead = {**(connection.ahead or {}), room: after}
        self._join(local, connection, after, sent)

    def leave(self, connection: Connection, room: str, *, at: int = 0) -> None:
        """Take a connection out of a room, after the event `at` if that is still to come."""
        local = self._rooms.get(connection.namespace, room)
        if local is None or connection not in local:
            return
        if at:
            # A hint of a leave may be the first thing that is heard of the room's sequence here.
            local.cursor.start(at - 1)
        # Read before the state changes: afterwards the connection has no place in the room, and it may come back.
        place = local.delivered_up_to(connection)
        if local.leave(connection, at):
            self._gone(local, connection, place)
        else:
            self.head_known(local, at)

    def leave_all(self, connection: Connection) -> None:
        """Take a connection out of every room it is in, for ever."""
        self._awaited.discard(connection)
        for name in connection.rooms:
            if (room := self._rooms.get(connection.namespace, name)) is not None:
                room.remove(connection)
                self._rooms.close_if_empty(room)
        connection.rooms.clear()

    @override
    def park(self, connection: Connection) -> dict[str, int]:
        heads: dict[str, int] = {}
        for name in list(connection.rooms):
            if (room := self._rooms.get(connection.namespace, name)) is None:
                continue
            # A room with a log is read again when the client is back. The events of one without a log are remembered by
            # the packet history as long as somebody here hears them, so the connection stays registered there; and so
            # it does in its user's own room, in which some events are logged and others are not.
            if room.has_log:
                heads[name] = room.delivered_up_to(connection)
            if room.has_log and not room.is_user_room:
                room.remove(connection)
                connection.rooms.discard(name)
                self._rooms.close_if_empty(room)
            else:
                room.register(connection)
        self._awaited.add(connection, heads.keys() - connection.rooms)
        return heads

    def is_awaited(self, namespace: str, name: str) -> bool:
        """Return whether a parked connection has this sid, or does not hear this room meanwhile."""
        return (namespace, name) in self._awaited

    def members(self, namespace: str, room: str) -> Collection[Connection]:
        """Return everybody here who is in a room, whether they receive its events yet or not."""
        local = self._rooms.get(namespace, room)
        return () if local is None else local.members

    def watch(self, namespace: str, room: str, watcher: Callable[[Connection], object] | None) -> None:
        """Call `watcher` with every connection that may have come into a room here or gone; None ends it."""
        self._rooms.watch(namespace, room, watcher)

    def send_event(self, connection: Connection, event: str, data: dict[str, Any]) -> None:
        """Send one connection an event that is in no log."""
        args = b"[" + msgspec.json.encode(data) + b"]"
        self._outlet.send(connection, event_packet(connection.namespace, event, args))

    def send_unlogged(self, connection: Connection, unlogged: UnloggedEvent) -> None:
        """Send one connection an event that is in no log, with an offset by which it may be recovered."""
        args, namespace = unlogged.args, connection.namespace
        if (history := self._histories.get(namespace)) is not None:
            args = with_offset(args, history.add(None, sid=connection.sid, missed=unlogged))
        self._outlet.send(connection, event_packet(namespace, unlogged.event, args, unlogged.attachments))

    # -- memberships -----------------------------------------------------------------------------------------------

    def count_question(self) -> int:
        """Return the count of questions about memberships, with another one.

        Take it *before* asking a service for memberships, and give it to `apply_memberships` with the answer.
        """
        self._question_count += 1
        return self._question_count

    def apply_memberships(
        self, connections: Iterable[Connection], memberships: Collection[Membership], asked_at: int
    ) -> None:
        """Bring connections of one user in line with what the service said, unless something later was heard of.

        A room that is not named is left at the event by which the user left it. The answer does not say which event
        that was, so the room's head is asked for, and the connection leaves there at the latest.
        """
        named = {membership.room for membership in memberships}
        for connection in connections:
            if not connection.is_open:
                continue
            for membership in memberships:
                connection.forget_ad_hoc(membership.room)
                if memory.is_news(connection, membership, asked_at):
                    self._apply(connection, membership)
            own = subjects.user_room(connection.identity.user_id)
            for name in connection.rooms - named - {own} - (connection.joined_ad_hoc or set[str]()):
                room = self._rooms.get(connection.namespace, name)
                if room is not None and not memory.heard_since(connection, name, asked_at):
                    self._heads.doubt(room, connection, asked_at)

    def _apply(self, connection: Connection, membership: Membership) -> None:
        name, head, joined = membership.room, membership.head, membership.joined
        connection.last_change[name] = joined
        room = self._rooms.get(connection.namespace, name)
        if room is not None and connection in room:
            # It is in the room already, but the join that the service names may be a later one.
            room.join(connection, joined - 1)
            self.head_known(room, head)
            return
        # What it was sent beyond the head was of a log that does not exist any more.
        sent = memory.note_entered(connection, name)
        after = max(sent if sent <= head else 0, joined - 1)
        if head - after > MAX_BEHIND:
            self.send_event(connection, "reset", {"room": name, "sequence": head})
            after = head
        local = self._room_for(connection.namespace, name, head)
        local.cursor.start(head)
        self._join(local, connection, after)
        self.head_known(local, head)

    def _apply_hint(self, connection: Connection, change: MembershipChange) -> None:
        """Apply a hint in the user's own room: the user came into a room, or left it, with this event."""
        if connection.end_reason or memory.is_old(connection, change):
            return
        memory.note_change(connection, change.room, change.sequence, self._question_count)
        connection.forget_ad_hoc(change.room)
        if not change.joined:
            self.leave(connection, change.room, at=change.sequence)
            return
        self._enter(connection, change.room, change.sequence - 1, change.sequence - 1, hinted=True)
        if (room := self._rooms.get(connection.namespace, change.room)) is not None:
            self.head_known(room, change.sequence)

    # -- rooms -----------------------------------------------------------------------------------------------------

    def _room_for(self, namespace: str, name: str, head: int) -> LocalRoom:
        if (room := self._rooms.get(namespace, name)) is None:
            if head != UNKNOWN and (history := self._histories.get(namespace)) is not None:
                # The head may be older than what was delivered here before the room was closed, and that must not be
                # sent again under later offsets.
                head = max(head, history.delivered(name))
            room = self._rooms.open(namespace, name, head)
            self._heads.verify(namespace, (room,))
        return room

    def _join(self, room: LocalRoom, connection: Connection, after: int, sent: int = 0) -> None:
        if room.join(connection, after, sent):
            self._catch_up.start(room, connection)

    def _gone(self, room: LocalRoom, connection: Connection, delivered: int) -> None:
        memory.note_left(connection, room.room, delivered)
        self._rooms.close_if_empty(room)

    def _closed(self, room: LocalRoom) -> None:
        self._gathering.forget(room)
        self._heads.forget(room)
        self._log.forget(room)

    def _receive_all(self, namespace: str, data: bytes) -> None:
        """Take what was published to several rooms at once, most of which may have no member here."""
        for name, delivery in decode(data, UndecodedDeliveries).rooms:
            if (room := self._rooms.get(namespace, name)) is not None:
                try:
                    self._receive(room, delivery)
                except Exception:
                    # One room that fails must not cost the others their events.
                    log.exception("delivery not handled", namespace=namespace, room=name)

    def _receive(self, room: LocalRoom, data: bytes | msgspec.Raw) -> None:
        delivery = decode(data, Delivery)
        events = delivery.events
        if room.is_user_room:
            events = [event for event in events if self._is_news(room, event)]
        else:
            events = self._gathering.take(room, events)
        # Events before changes: an event that moves its user does so in its place, and the hint then finds it done.
        self._delivery.deliver(room, room.cursor.accept(events))
        for change in delivery.membership_changes:
            self.hints.take(room, change)
        self._repair.soon(room)

    def _gathered(self, room: LocalRoom, events: list[RoomEvent]) -> None:
        """Deliver events that have waited for others of the room."""
        if events and not room.closed:
            self._delivery.deliver(room, room.cursor.accept(events))
            self._repair.soon(room)

    def _is_news(self, room: LocalRoom, event: RoomEvent) -> bool:
        return not event.notice or self._notices.take(room.namespace, room.room, event.notice)

    def _send_missed(self, room: LocalRoom, connection: Connection, event: RoomEvent) -> None:
        # As when it is delivered live: no older answer about memberships may undo it.
        if connection.identity.user_id in (event.joined_user, event.left_user):
            memory.note_change(connection, room.room, event.sequence, self._question_count)
        self._delivery.send_one(room, connection, event)

    # -- heads -----------------------------------------------------------------------------------------------------

    def _receive_heads(self, namespace: str, data: bytes) -> None:
        # Whose rooms they are is said by the subject, which the broker has checked, and not by the message.
        self._heads.take_announced(namespace, decode(data, RoomHeads).heads)

    def _receive_announcement(self, namespace: str, data: bytes) -> None:
        announcement = decode(data, Announcement)
        if announcement.namespace != namespace:
            log.warning("an announcement of another namespace's log", namespace=namespace)
            return
        heard = self._announcements.hear(announcement)
        if heard.restored:
            log.warning("the log was restored, its rooms begin anew", namespace=namespace, log=announcement.incarnation)
            self._heads.begin_anew(namespace)
            self.on_restored(namespace)
        elif heard.missed:
            self._heads.verify_all(namespace)
        if heard.missed:
            MISSED.inc()
            self.on_missed()
        for user_id, change in announcement.changes:
            if (room := self._rooms.get(namespace, subjects.user_room(user_id))) is not None:
                self.hints.take_announced(room, change)
        for user_id, notice in announcement.notices:
            room = self._rooms.get(namespace, subjects.user_room(user_id))
            if room is not None and self._is_news(room, notice):
                self._delivery.deliver(room, [notice])
        self._heads.take_announced(namespace, announcement.heads)

    def verify_all(self) -> None:
        """Ask for the heads of all rooms, because events may have been missed."""
        self._heads.verify_all()

    def head_known(self, room: LocalRoom, head: int) -> None:
        """Note that a room has events up to this one, and repair it if it lacks any."""
        self._gathered(room, self._gathering.flush(room))
        room.cursor.raise_known(head)
        self._repair.soon(room)

    def log_restored(self, room: LocalRoom, head: int) -> None:
        """Begin a room anew whose log ends before what was delivered here, and tell its members to reload it."""
        RESETS.inc()
        self._log.forget(room)
        self._gathering.forget(room)
        for connection in room.reset(head):
            memory.start_over(connection, room.room, head)
            self.send_event(connection, "reset", {"room": room.room, "sequence": head})

    def remove_absent(self, room: LocalRoom, connection: Connection, head: int | None, asked_at: int) -> None:
        """Let a member go that its service did not name, unless something was heard of since the service was asked.

        `head` is the room's head afterwards; None for a room that has none.
        """
        if memory.heard_since(connection, room.room, asked_at) or not room.stays(connection, head or 0):
            return
        # The join that brought it here is outdated from now on: no late hint of it may bring it back, a later join may.
        connection.last_change[room.room] = connection.last_change.get(room.room, 0) + 1
        place = room.delivered_up_to(connection)
        if room.leave(connection, head or 0, supposed=True):
            self._gone(room, connection, place)
