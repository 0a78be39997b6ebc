"""Announces to gateways what is in the log, whoever committed it and whatever became of its publication.

One process does it: the leader (`log.leadership`). It reads what was committed beyond the position that Postgres keeps,
tells the gateways which rooms have events up to which sequence and whom they concern, and stores the new position. A
lost announcement is noticed by the next one, which names it. So whatever is committed is announced in the end: after
all chats were stopped, after a commit whose outcome its writer never learnt, after a lost message. `run` is one task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from parley.chat.delivery.announcements import announce
from parley.chat.delivery.hints import FOR_USERS, NAMESPACE
from parley.chat.log.database import DATABASE_ERRORS
from parley.chat.log.leadership import STANDBY_SECONDS, Leadership
from parley.chat.log.position import Position
from parley.chat.log.tail import ANNOUNCEMENTS, LAG, LogState, Tail
from parley.common.process.outage_log import OutageLog
from parley.common.wire.rooms import Announcement
from parley.framework import Bus, Reject, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot announce what is in the log")

INTERVAL = 0.5
"""Seconds between two looks at the log, and from a look until it is announced.

By then the published events have usually arrived, so that no gateway has to fetch them."""
HEARTBEAT = 1.0
"""Seconds after which it is announced that nothing happened."""
SUMMARY_SECONDS = 2.0
"""Seconds between two summaries of the end of the log (`Tail.summarize`)."""

_LOAD = "SELECT position, batch FROM chat.consumers WHERE name = $1"
_STATE = "SELECT incarnation::text, mended FROM chat.log"
# By the name of the last announcement, since another process may have taken over and gone on from the same place.
_SAVE = """UPDATE chat.consumers SET position = $2, batch = $4, read_up_to = clock_timestamp()
           WHERE name = $1 AND batch = $3 RETURNING true"""


class Announcer:
    """Announces while this process leads.

    It calls `projections_corrected` when what writers know of rooms may be out of date.
    """

    def __init__(self, rooms: RoomPublisher, bus: Bus, url: str, projections_corrected: Callable[[], None]) -> None:
        self._rooms = rooms
        self._bus = bus
        self._leadership = Leadership(url, ANNOUNCEMENTS)
        self._tail = Tail()
        self._on_corrected = projections_corrected
        self._state: LogState | None = None
        self._position: Position | None = None
        """None until it is read from Postgres."""
        self._last = ""
        self._told_at = 0.0
        self._summarized_at = 0.0

    @property
    def incarnation(self) -> str:
        """Which history of the rooms this is. Empty until the first look at the log."""
        return "" if self._state is None else self._state.incarnation

    @property
    def leading(self) -> bool:
        """Whether this process is the one that announces."""
        return self._leadership.leading

    async def run(self) -> None:
        """Announce for ever."""
        try:
            while True:
                pause = INTERVAL
                try:
                    pause = await self.step()
                except (*DATABASE_ERRORS, Reject) as error:
                    outages.note(error)
                    self._step_down()
                except Exception:
                    # Whatever it was, commands are still served, and the next step begins anew.
                    log.exception("cannot announce what is in the log")
                    self._step_down()
                await asyncio.sleep(pause)
        finally:
            self._step_down()

    async def step(self) -> float:
        """Announce what there is, or stand by. Returns the seconds to wait. Raises what Postgres and the bus raise."""
        if not self._bus.hearing:
            # This process is cut off from NATS; another one may not be.
            self._step_down()
            return INTERVAL
        # Asked before each look: a leader that was cut off from Postgres may have a successor by now.
        if not await self._leadership.lead():
            connection = await self._leadership.connection()
            self._heed(LogState(*await connection.fetchrow(_STATE)))
            self._position = None
            return STANDBY_SECONDS
        connection = await self._leadership.connection()
        if self._position is None:
            position, self._last = await connection.fetchrow(_LOAD, ANNOUNCEMENTS)
            self._position = Position.decode(position)
        page = await self._tail.heads(connection, self._position, FOR_USERS)
        if self._heed(page.log):
            self._position = None  # the restored log has a position of its own
            return 0.0
        LAG.labels(ANNOUNCEMENTS).set(page.age)
        if page.heads:
            await asyncio.sleep(INTERVAL)
            # The page was read before this pause, so what is announced now was committed half a second ago or earlier.
            # Told first, stored then: whoever dies in between is followed by one who tells it again, which does no
            # harm.
            told = announce(page.heads, page.named, page.log.incarnation, self._last, _new_name)
            await self._tell(told.messages)
            await self._save(page.position, told.last)
        else:
            # Not stored: nothing lies between the two, and a successor reads over it in no time.
            self._position = page.position
            if time.monotonic() - self._told_at >= HEARTBEAT:
                await self._tell([Announcement(NAMESPACE, page.log.incarnation, self._last)])
            await self._summarize()
        return 0.0 if page.more or page.heads else INTERVAL

    async def _tell(self, announcements: list[Announcement]) -> None:
        await self._rooms.announce(announcements)
        self._told_at = time.monotonic()

    async def _save(self, position: Position, last: str) -> None:
        connection = await self._leadership.connection()
        if not self.leading or not await connection.fetchval(_SAVE, ANNOUNCEMENTS, position.encode(), self._last, last):
            # Another one leads. What it has stored counts, so the position is read anew.
            self._position = None
            return
        self._position, self._last = position, last
        await self._summarize()

    async def _summarize(self) -> None:
        if (now := time.monotonic()) - self._summarized_at < SUMMARY_SECONDS:
            return
        self._summarized_at = now
        connection = await self._leadership.connection()
        try:
            await self._tail.summarize(connection)
        except DATABASE_ERRORS as error:
            # Autovacuum is at work on the table, and makes the summaries itself.
            log.debug("no summaries of the log's end", error=str(error))

    def _heed(self, state: LogState) -> bool:
        """Remember which log it is. Returns whether it is another one than before."""
        before, self._state = self._state, state
        if before is not None and before != state:
            self._on_corrected()
        return before is not None and before.incarnation != state.incarnation

    def _step_down(self) -> None:
        self._position = None
        self._leadership.step_down()
        with suppress(KeyError):
            LAG.remove(ANNOUNCEMENTS)


def _new_name() -> str:
    return uuid4().hex[:16]
