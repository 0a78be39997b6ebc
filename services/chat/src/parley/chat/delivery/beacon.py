"""The beacon of room heads: gateways that are behind notice by it, and repair."""

from __future__ import annotations

import asyncio
import time

from parley.chat.log.database import DATABASE_ERRORS
from parley.chat.queries.queries import Queries
from parley.common.outage_log import OutageLog
from parley.framework import Reject, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "no beacon of heads")

BEACON_INTERVAL = 1.0
"""Seconds between two beacons; a lost last event is repaired after at most two of them."""
BEACON_WINDOW = 10.0
"""Each beacon names the rooms that changed since the last one and in so many seconds before it."""
FIRST_WINDOW = 600.0
"""At the start of the process: what was committed and not published while no beacon ran is named."""
BEACON_ROOMS = 50_000
"""Rooms that one beacon names, the latest first."""


async def run_beacon(rooms: RoomPublisher, queries: Queries) -> None:
    """Publish the heads that moved lately, for ever: gateways that are behind notice and repair."""
    told: float | None = None
    while True:
        now = time.monotonic()
        window = FIRST_WINDOW if told is None else now - told + BEACON_WINDOW
        try:
            if await rooms.announce_heads(await queries.heads_moved_since(window, BEACON_ROOMS)):
                told = now
        except (*DATABASE_ERRORS, Reject) as error:
            outages.note(error)
        except Exception:
            # Whatever it is: commands are served all the same.
            log.exception("no beacon of heads")
        await asyncio.sleep(BEACON_INTERVAL)
