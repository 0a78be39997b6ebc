"""Sends scheduled messages when their time comes, each by an ordinary command under its stored id.

Any process may do it; a message is held by one at a time. Whether its user is still welcome, by the login that
scheduled it, is asked of auth then, and whether they may write in the room is decided with the command, as if they had
sent it at that moment. `run` is one task.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.chat.log.writer import Writer
from parley.chat.unsent import scheduled_messages as store
from parley.chat.unsent.scheduled_messages import ScheduledOutcome
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, UnwelcomeUsers
from parley.framework import Bus, Code, Delivery, Identity, Reject, RoomEvent, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot send scheduled messages")

INTERVAL = 0.5
"""Seconds between two looks for messages whose time has come."""
AT_ONCE = 50
TIDY_SECONDS = 3600.0
_LOGIN_ENDED = "The login that scheduled this message has ended; schedule it again to send it."


class Scheduler:
    """Sends what is due."""

    def __init__(self, pool: Pool, writer: Writer, bus: Bus, rooms: RoomPublisher) -> None:
        self._pool = pool
        self._writer = writer
        self._bus = bus
        self._rooms = rooms

    async def run(self) -> None:
        """Send what is due, for ever."""
        tidy_at = time.monotonic() + TIDY_SECONDS
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                # Until nothing is due: at a full hour there may be more than one portion.
                while rows := await store.hold(self._pool, AT_ONCE):
                    await asyncio.gather(*(self._send(row) for row in rows))
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + TIDY_SECONDS
                    await store.forget_old(self._pool)
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)

    async def _send(self, row: Any) -> None:
        user_id, command_id = row["user_id"], row["id"]
        command = msgspec.json.decode(row["message"], type=SendMessage)
        try:
            identity = await self._identity(row)
            # The correlation names it in the logs of all services.
            await self._writer.submit(command, identity, f"scheduled-{command_id}")
        except Reject as rejection:
            # For as long as that, whatever may go away by itself is tried again; who waits longer is told.
            late = datetime.now(UTC) - row["due_at"] > store.GIVE_UP
            if rejection.retryable and not late:
                await store.again(self._pool, user_id, command_id)
                return
            code = str(rejection.code)
            await store.failed(self._pool, user_id, command_id, code, rejection.message)
            await self._tell(user_id, ScheduledOutcome(command_id, command.room, "failed", code, rejection.message))
        else:
            # After the commit. If this process dies before it, another one sends the same id and gets the first result.
            await store.done(self._pool, user_id, command_id)
            await self._tell(user_id, ScheduledOutcome(command_id, command.room, "sent"))

    async def _identity(self, row: Any) -> Identity:
        """Return who the user is now.

        Raises `Reject` if they are not welcome any more or may read only, or if they were kicked or the login by which
        they scheduled it has ended since.
        """
        # As if they had been connected from then on, by that login.
        user_id, name = row["user_id"], row["name"]
        held = HeldUser(user_id, row["issued_at"], row["age"], row["login"], kicks=row["kicks"], later=True)
        answer = await self._bus.request(subjects.WELCOME, CheckWelcome([held]), UnwelcomeUsers, repeat=True)
        for refused in answer.users:
            ended = refused.code == Code.REVOKED_TOKEN
            raise Reject(Code(refused.code), _LOGIN_ENDED if ended else refused.message)
        for changed in answer.changed:
            if changed.suspended:
                raise Reject(Code.SUSPENDED)
            name = changed.name or name
        return Identity(user_id, name)

    async def _tell(self, user_id: str, outcome: ScheduledOutcome) -> None:
        room_event = RoomEvent("scheduled", msgspec.json.encode(outcome), volatile=True)
        try:
            await self._rooms.publish_all([(subjects.user_room(user_id), Delivery([room_event]))])
        except Exception as error:
            # Whoever lists what is scheduled is told the same.
            log.warning("nobody was told of a scheduled message", exc_info=error)
