"""Sends one connection what it missed in its rooms, as fast as it reads, until it can be live in them.

A client that was away for a while has missed something in very many rooms. One worker per connection deals with them, a
few at a time, page by page. It asks for a page only while the client takes what it is sent, and never has more than a
little written that the client has not taken. So a slow client takes long, but it arrives.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from parley.common.process.tasks import Tasks
from parley.common.wire.rooms import RoomEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.cursor import following
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.log_reader import LogReader

GRACE = 0.05
"""Seconds until the log is asked again for events that the room has delivered and the log did not have yet."""
RETRY = 0.5
AT_ONCE = 2
"""Rooms in which one connection catches up at the same time: while one page is on its way, another one is being sent.
"""
UNTAKEN_BYTES = 64 * 1024
"""Bytes that are sent before the client is looked at again."""
LOOK_AGAIN = 0.005
MAX_LOOK_AGAIN = 0.1
"""Seconds between two looks at a client that does not take what it was sent."""


class CatchUp:
    """Lets connections catch up. `send` sends one connection one event of a room; `gone` is told who left meanwhile.

    `congested` says whether a client reads more slowly than it is sent to.
    """

    def __init__(
        self,
        log: LogReader,
        congested: Callable[[Connection], bool],
        send: Callable[[LocalRoom, Connection, RoomEvent], None],
        gone: Callable[[LocalRoom, Connection, int], None],
        tasks: Tasks,
    ) -> None:
        self._log = log
        self._congested = congested
        self._send = send
        self._gone = gone
        self._tasks = tasks
        self._rooms: dict[Connection, OrderedDict[LocalRoom, None]] = {}
        """By connection, the rooms in which it has to catch up and that no worker has in hand."""

    def start(self, room: LocalRoom, connection: Connection) -> None:
        """Let a member catch up from where it is."""
        if (rooms := self._rooms.get(connection)) is None:
            rooms = self._rooms[connection] = OrderedDict()
            self._tasks.spawn(self._work(connection, rooms), name="catch up")
        # A worker that is under way finds it here; a room in hand is simply looked at once more.
        rooms[room] = None

    async def _work(self, connection: Connection, rooms: OrderedDict[LocalRoom, None]) -> None:
        try:
            while rooms and not connection.end_reason:
                await asyncio.gather(*(self._take_turns(connection, rooms) for _ in range(min(AT_ONCE, len(rooms)))))
        finally:
            del self._rooms[connection]

    async def _take_turns(self, connection: Connection, rooms: OrderedDict[LocalRoom, None]) -> None:
        """Send one page of the room that waits longest, then of the next."""
        while rooms and not connection.end_reason:
            # Page by page in turn, so that a room with a long history does not hold up the others.
            room, _ = rooms.popitem(last=False)
            await self._taken(connection)
            if (state := room.catching_up(connection)) is None:
                continue
            replayed = await self._log.for_member(room, state.after)
            if replayed is None:
                await asyncio.sleep(RETRY)
            elif not await self._send_page(connection, room, replayed.events):
                await asyncio.sleep(GRACE)
            # Behind the other rooms. In the meantime it may have left, or have become live.
            if room.catching_up(connection) is not None:
                rooms[room] = None

    async def _send_page(self, connection: Connection, room: LocalRoom, page: list[RoomEvent]) -> bool:
        """Send what follows from a page, and from what the room delivered lately. Returns whether that was anything.

        The member is live in the very turn of the loop in which it is sent the last event that the room has delivered.
        So there is no gap and no duplicate.
        """
        moved = False
        while (state := room.catching_up(connection)) is not None:
            events = following(state.after, page, room.recent, room.cursor.head)
            if not events:
                break
            moved, size = True, 0
            for event in events:
                # What it was sent in an earlier stay is not sent again; only the change of membership counts.
                if event.sequence > state.sent:
                    self._send(room, connection, event)
                    size += len(event.payload) + sum(map(len, event.attachments))
                if room.sent(connection, event):
                    self._gone(room, connection, max(event.sequence, state.sent))
                reached = room.catching_up(connection)
                if size >= UNTAKEN_BYTES or reached is None or reached.after != event.sequence:
                    break
            if size >= UNTAKEN_BYTES:
                await self._taken(connection)
        return moved

    async def _taken(self, connection: Connection) -> None:
        """Wait until the client has taken nearly everything that it was sent."""
        await asyncio.sleep(0)  # what was sent is written at the end of this tick
        pause = LOOK_AGAIN
        while self._congested(connection) and not connection.end_reason:
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_LOOK_AGAIN)
