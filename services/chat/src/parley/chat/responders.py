"""What chat answers to gateways and to the admin API over NATS, and the beacon of room heads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from parley.chat import commands
from parley.chat.database import UNAVAILABLE, Pool, unavailable
from parley.chat.publisher import NAMESPACE, cut
from parley.chat.queries import MAX_PAGE_BYTES, Queries
from parley.chat.writer import Writer
from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import (
    ArchiveRoom,
    Heads,
    HeadsOf,
    ListRooms,
    Open,
    Opened,
    Replay,
    Replayed,
    RoomInfo,
    RoomList,
    Wire,
)
from parley.common.gathering import Gathering
from parley.common.logs import get_logger

log = get_logger(__name__)

MAX_REPLAY = 500
MAX_USERS = 200
"""Users whose rooms one query asks for."""
BEACON_INTERVAL = 1.0
"""Seconds between two beacons; a lost last event is repaired after at most two of them."""
BEACON_WINDOW = 10.0
"""A beacon names the rooms that changed in so many seconds; longer deafness is repaired on reconnect."""
BEACON_ROOMS = 5_000

RequestT = TypeVar("RequestT", bound=Wire)


class Responders:
    """Answers the requests that are not commands."""

    def __init__(self, bus: Bus, pool: Pool, queries: Queries, writer: Writer) -> None:
        self._bus = bus
        self._pool = pool
        self._queries = queries
        self._writer = writer
        self._rooms = Gathering(queries.rooms_of, MAX_USERS)

    async def close(self) -> None:
        """Stop asking the database; who still waits for it is told `unavailable`."""
        await self._rooms.close()

    async def start(self) -> None:
        """Begin to answer."""
        await self._respond(subjects.opening(NAMESPACE), Open, self._open)
        await self._respond(subjects.replay(NAMESPACE), Replay, self._replay)
        await self._respond(subjects.room_heads(NAMESPACE), HeadsOf, self._heads)
        await self._respond(subjects.ARCHIVE_ROOM, ArchiveRoom, self._archive)
        await self._respond(subjects.LIST_ROOMS, ListRooms, self._list)

    async def run_beacon(self) -> None:
        """Publish the heads that moved lately, for ever: gateways that are behind notice and repair."""
        while True:
            try:
                heads = await self._queries.heads_moved_since(BEACON_WINDOW, BEACON_ROOMS)
                if heads and self._bus.connected:
                    await self._bus.publish(subjects.HEADS, Heads(NAMESPACE, heads).encode())
            except UNAVAILABLE as error:
                log.warning("no beacon of heads", error=str(error) or type(error).__name__)
            await asyncio.sleep(BEACON_INTERVAL)

    async def _respond(
        self, subject: str, kind: type[RequestT], handler: Callable[[RequestT], Awaitable[Wire | None]]
    ) -> None:
        async def answer(request: RequestT) -> Wire | None:
            try:
                return await handler(request)
            except UNAVAILABLE as error:
                raise unavailable() from error

        await self._bus.respond(subject, kind, answer, queue=self._bus.service)

    async def _open(self, request: Open) -> Opened:
        return Opened(await self._rooms.of(request.identity.user_id) or [])

    async def _replay(self, request: Replay) -> Replayed:
        # The head is read first: events committed meanwhile make the answer longer, never a gap in it.
        heads = await self._queries.heads([request.room])
        head = heads[0].head if heads else 0
        if request.after >= head:
            return Replayed([], head)
        events = await self._queries.read(request.room, request.after, min(request.limit, MAX_REPLAY))
        items = [event.item() for event in events]
        return Replayed(cut(items, MAX_PAGE_BYTES)[0] if items else [], max(head, events[-1].sequence if events else 0))

    async def _heads(self, request: HeadsOf) -> Heads:
        return Heads(NAMESPACE, await self._queries.heads(request.rooms))

    async def _archive(self, request: ArchiveRoom) -> None:
        command = commands.ArchiveRoom(request.id, request.room, request.reason[:500])
        await self._writer.submit(command, request.admin, correlation=request.id)

    async def _list(self, request: ListRooms) -> RoomList:
        limit = max(1, min(request.limit, 500))
        rows = await self._pool.fetch(
            """SELECT id, name, kind, archived, head, member_count, created_by, created_at FROM chat.rooms
               WHERE ($1 = '' OR id = $1 OR strpos(lower(name), lower($1)) > 0)
                 AND ($2 = '' OR (created_at, id) < (SELECT created_at, id FROM chat.rooms WHERE id = $2))
               ORDER BY created_at DESC, id DESC LIMIT $3""",
            request.search, request.before, limit + 1,
        )  # fmt: skip
        return RoomList([RoomInfo(*row.values()) for row in rows[:limit]], len(rows) > limit)
