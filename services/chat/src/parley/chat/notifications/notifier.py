"""Notifies users of events of the log, as a consumer of it: at least once each, and each user of an event once.

    1. Events come in batches, again until this returns (`consumers/`). Their notifications are appended in one
       transaction; those that are there are left as they are, since an event notifies a user once.
    2. What is there is published in the users' own rooms, whether this attempt appended it or one before. Who has it
       drops it by its sequence.
    3. The heads of these rooms are said once more a moment later, so that a lost last one is noticed.

A process that dies between any of these steps leaves the batch to another, which does the same. Only `@here` would be
another thing the second time, since others are there by then. So the transaction that appends whom a message calls also
stores that it has called (`inbox_store.call`), and whoever meets the message again leaves it at that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import msgspec

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.amending import MessageDeleted
from parley.chat.log.database import DATABASE_ERRORS, Pool, reachable
from parley.chat.log.tail import WantedEvents
from parley.chat.notifications import inbox, inbox_store
from parley.chat.notifications.inbox import NotificationsRead, ReadNotifications
from parley.chat.notifications.inbox_store import InboxEntry
from parley.chat.notifications.rules import (
    CALL_SECONDS,
    EVERYBODY,
    Due,
    calls_present,
    due,
    due_to_present,
    earlier_messages,
    mentioned,
)
from parley.chat.reading.read_store import MovedCursor
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.framework import Code, Delivery, Identity, LogEvent, Reject, RoomEvent, RoomHead, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot delete old notifications")

NAME = "chat.notifications"
"""The name under which chat knows how far this is."""
WANTED = WantedEvents(
    f"""(type <> {MessageSent.NUMBER} OR noted OR room_id IN (
    SELECT direct.room_id FROM (SELECT DISTINCT room_id FROM page) q CROSS JOIN LATERAL (
      SELECT r.room_id FROM chat.rooms r WHERE r.room_id = q.room_id AND r.kind = 'direct' LIMIT 1
    ) direct
  ))""",
    noted="""e.data::text LIKE '%"mention%' OR e.data::text LIKE '%"reply_to"%'""",
)
"""Of messages, those that can concern anybody more than others. Most do not, and are not even read."""
_ERASING = frozenset({EventsErased.TYPE, MessageDeleted.TYPE})
KEEP_DAYS = 90
TIDY_SECONDS = 600.0
HEADS_SECONDS = 1.0
"""Seconds after which heads are said again."""
MAX_HEADS = 50_000
"""Users whose heads wait to be said again. Of further ones gateways learn with the next question about them."""


Online = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[str]]]]
"""Asks the gateways who of rooms is online, and returns those known of in the second that they have to answer."""


class Notifier:
    """Appends notifications, tells them, and marks them as read. `run` is one task."""

    def __init__(self, pool: Pool, rooms: RoomPublisher, push_after: float, online: Online) -> None:
        self._pool = pool
        self._rooms = rooms
        self._push_after = push_after
        self._online = online
        self._moved: dict[str, int] = {}

    async def consume(self, events: list[LogEvent]) -> None:
        """Deal with a batch of events. Raises what Postgres raises, and then comes again."""
        called = {event.event_id: event for event in events if calls_present(event)}
        # Before a connection is taken, since gateways may need a second.
        online = await self._who_is_called([*called.values()]) if called else {}
        async with self._pool.acquire() as connection:
            gone = await inbox_store.forget(connection, list(_erased(events)))
            kept = [event for event in events if event.type not in _ERASING]
            keys = [key for event in kept if (key := room_key(event.room)) is not None]
            facts = await inbox_store.facts(connection, dict.fromkeys(keys), earlier_messages(kept))
            dues = [
                one
                for event in kept
                for one in due(event, direct=room_key(event.room) in facts.direct, authors=facts.authors)
            ]
            await inbox_store.mention(
                connection,
                [
                    (room_key(event.room), user, event.sequence, event.actor_id, event.at)
                    for event in kept
                    for user in mentioned(event)
                    if user != EVERYBODY or event.event_id not in called
                ],
            )
            for part in _parts([one for one in dues if one.event.event_id not in called] if called else dues):
                async with connection.transaction(isolation="read_committed"):
                    await inbox_store.append(connection, part, self._push_after)
            for event in called.values():
                also = [one for one in dues if one.event.event_id == event.event_id]
                await self._call(connection, event, also, due_to_present(event, online.get(event.event_id, ())))
                dues.append(Due(EVERYBODY, "mention", event))  # whoever was called, now or before
            # Read back, and not remembered: an attempt before this one may have appended them and died before it told.
            told = await inbox_store.appended(connection, dues)
            read = await _told_all_read(connection, gone)
        await self._tell(told)
        await self._rooms.publish_all([(room, Delivery([room_event])) for room, room_event in read])

    async def _who_is_called(self, events: list[LogEvent]) -> dict[str, Sequence[str]]:
        """Return who is online in the room of each of these messages, by its id; nobody for one that is too old."""
        now = datetime.now(UTC)
        recent = [event for event in events if (now - event.at).total_seconds() < CALL_SECONDS]
        if not recent:
            return {}
        online = await self._online(list(dict.fromkeys(event.room for event in recent)))
        return {event.event_id: online.get(event.room, ()) for event in recent}

    async def _call(self, connection: Any, event: LogEvent, also: list[Due], present: list[Due]) -> None:
        """Append what is due of a message that calls who is there: those who are there now, unless it has called."""
        async with connection.transaction(isolation="read_committed"):
            first = await inbox_store.call(connection, event)
            await inbox_store.append(connection, [*also, *(present if first else ())], self._push_after)

    async def read(self, identity: Identity, said: ReadNotifications) -> NotificationsRead:
        """Mark notifications of a user as read, on all of their devices. Raises `Reject`."""
        if (said.sequences is None) == (said.up_to is None):
            raise Reject(Code.INVALID_PAYLOAD, "notification.read takes sequences or up_to.")
        user_id = identity.user_id
        with reachable():
            async with self._pool.acquire() as connection:
                async with connection.transaction(isolation="read_committed"):
                    read = await inbox_store.read(connection, user_id, said.sequences, said.up_to or 0)
                unread = (await inbox_store.unread(connection, [user_id]))[user_id]
        change = NotificationsRead(unread, read if said.sequences is not None else [], said.up_to)
        if read:
            room, room_event = _told_read(user_id, change)
            try:
                await self._rooms.publish(room, [room_event])
            except Exception as error:
                # Whoever lists notifications is told the same.
                log.warning("nobody was told what was read", exc_info=error)
        return change

    async def cursors_moved(self, connection: Any, moved: list[MovedCursor]) -> list[tuple[str, RoomEvent]]:
        """Mark as read what is about messages that users have read, in the transaction that moves their cursors.

        Returns what they are told. Raises what Postgres raises.
        """
        read = await inbox_store.read_in_rooms(connection, {one.key: one.place.sequence for one in moved})
        return await _told_all_read(connection, read)

    async def run(self) -> None:
        """Say heads again, and delete what is too old, for ever."""
        loop = asyncio.get_running_loop()
        tidy_at = loop.time() + TIDY_SECONDS
        while True:
            await asyncio.sleep(HEADS_SECONDS)
            try:
                # Taken before it is waited for: what moves meanwhile is said with the next ones.
                heads, self._moved = self._moved, {}
                if heads and not await self._rooms.announce_heads(
                    [RoomHead(subjects.user_room(user_id), head) for user_id, head in heads.items()]
                ):
                    self._note(heads.items())
                if loop.time() >= tidy_at:
                    tidy_at = loop.time() + TIDY_SECONDS
                    await self._tidy()
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)

    async def _tidy(self) -> None:
        """Delete what is too old, a little at a time."""
        more = True
        while more:
            async with self._pool.acquire() as connection:
                more = await inbox_store.forget_old(connection, KEEP_DAYS)
            await asyncio.sleep(0.05)

    async def _tell(self, told: list[InboxEntry]) -> None:
        for start in range(0, len(told), 1000):
            room_events = await inbox.room_events(self._pool, told[start : start + 1000])
            await self._rooms.publish_all(
                [(subjects.user_room(user_id), Delivery(theirs)) for user_id, theirs in room_events.items()]
            )
            self._note((user_id, theirs[-1].sequence) for user_id, theirs in room_events.items())

    def _note(self, heads: Iterable[tuple[str, int]]) -> None:
        for user_id, head in heads:
            if user_id in self._moved or len(self._moved) < MAX_HEADS:
                self._moved[user_id] = max(head, self._moved.get(user_id, 0))


async def _told_all_read(connection: Any, read: list[InboxEntry]) -> list[tuple[str, RoomEvent]]:
    """Return what users are told of notifications that they need not read any more."""
    if not read:
        return []
    unread = await inbox_store.unread(connection, {one.user_id for one in read})
    return [
        _told_read(user_id, NotificationsRead(unread[user_id], [one.sequence for one in theirs]))
        for user_id, theirs in groupby(sorted(read), key=lambda one: one.user_id)
    ]


def _told_read(user_id: str, change: NotificationsRead) -> tuple[str, RoomEvent]:
    return subjects.user_room(user_id), RoomEvent("notification.read", msgspec.json.encode(change), volatile=True)


def _erased(events: list[LogEvent]) -> Iterable[tuple[int, int, int]]:
    for event in events:
        if event.type not in _ERASING or (key := room_key(event.room)) is None:
            continue
        # A deletion may be erased itself; it still says of which message it was.
        message = event.data.get("message")
        for first, last in event.data.get("ranges", [] if message is None else [(message, message)]):
            yield key, first, last


def _parts(dues: list[Due]) -> Iterable[list[Due]]:
    """Cut what is due into transactions. Each that is for everybody in a room has one of its own."""
    together = [one for one in dues if one.user_id != EVERYBODY]
    alone = {one.event.event_id for one in dues if one.user_id == EVERYBODY}
    # All that one event leads to stays together, so that its first cause is the one that counts.
    yield [one for one in together if one.event.event_id not in alone]
    for event_id in dict.fromkeys(one.event.event_id for one in dues if one.event.event_id in alone):
        yield [one for one in dues if one.event.event_id == event_id]
