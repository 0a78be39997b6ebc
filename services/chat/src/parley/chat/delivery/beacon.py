"""The beacon of room heads: gateways that are behind notice by it, and repair."""

from __future__ import annotations

import asyncio

from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.chat.queries import tail
from parley.common.outage_log import OutageLog
from parley.framework import Reject, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "no beacon of heads")

BEACON_INTERVAL = 1.0
"""Seconds between two beacons; a lost last event is repaired after at most two of them."""
BEACON_WINDOW = 600.0
"""Seconds that a beacon looks back at most. The first of a process does: nobody may have told what was committed."""
BEACON_ROOMS = 50_000
"""Rooms that one beacon names, the latest first."""


class Beacon:
    """Tells gateways how far the rooms are that have moved, and remembers up to where in the log it has told them."""

    def __init__(self, rooms: RoomPublisher, pool: Pool) -> None:
        self._rooms = rooms
        self._pool = pool
        self._position = 0
        self.incarnation = ""
        """Of the log, as of the last beacon."""

    async def run(self) -> None:
        """Publish a beacon each second, for ever."""
        while True:
            try:
                await self.tell()
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)
            except Exception:
                # Whatever it is: commands are served all the same.
                log.exception("no beacon of heads")
            await asyncio.sleep(BEACON_INTERVAL)

    async def tell(self) -> None:
        """Publish what has moved since it was last told. What could not be told is told the next time."""
        found = await tail.since(self._pool, self._position, BEACON_WINDOW, BEACON_ROOMS)
        if self.incarnation and found.log != self.incarnation:
            # Another history: its transactions have other numbers, and none of its rooms has been told of.
            self._position, self.incarnation = 0, found.log
            return
        self.incarnation = found.log
        if await self._rooms.announce_heads(found.heads):
            self._position = found.position
