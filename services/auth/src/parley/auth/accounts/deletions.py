"""Accounts that were deleted: what their users and their bots wrote is erased by chat, which is asked until it has.

| state | what happens | state after |
|---|---|---|
| - | an account is deleted | requested |
| requested | chat takes the erasure on | erasing |
| requested, erasing | chat cannot be asked, or lacks a ledger | the same; it is asked again, ever less often |
| erasing | chat has erased | completed, or requested again once, where a gateway may have missed the deletion |

The row stays: it holds the id of the user alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.programs import bots
from parley.auth.database import Database
from parley.auth.tables import deletions, users
from parley.common.process.logs import get_logger
from parley.common.wire import subjects
from parley.common.wire.admin import EraseUser, ErasureInfo, GetErasure
from parley.framework import Bus, Reject

log = get_logger(__name__)

LOOK_SECONDS = 5.0
"""Seconds after which it is looked for what others began."""
POLL_SECONDS = 1.0
LONGEST_PAUSE = 300
ONCE_MORE = timedelta(minutes=10)
"""When chat is asked once more where a gateway may have missed a deletion: by then it has asked who is welcome."""

# Whoever takes one on has it until its next time comes, and nobody waits for an answer with a row locked.
_TAKE = text(
    """
    UPDATE auth.deletions SET attempts = attempts + 1,
        next_at = clock_timestamp() + make_interval(secs => least(:longest, power(2, least(attempts, 10))))
    WHERE user_id IN (
        SELECT user_id FROM auth.deletions WHERE completed_at IS NULL AND next_at <= clock_timestamp()
        ORDER BY next_at LIMIT 20 FOR UPDATE SKIP LOCKED
    ) RETURNING user_id, erasure, once_more
    """
)


class Deletions:
    """Deletes accounts, and has chat erase what their users wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()

    async def begin(self, connection: AsyncConnection, user_id: str) -> list[str]:
        """Delete an account in a transaction, with all that hangs on it; chat is asked after the commit.

        Returns the ids of the user and of the bots that are gone now.
        """
        gone = [user_id, *await bots.owned_by(connection, [user_id])]
        # Written first: the deletion of the user takes everything else of them along, and this row has to be there
        # after it.
        new = [{"user_id": each, "next_at": func.clock_timestamp()} for each in gone]
        await connection.execute(insert(deletions).values(new).on_conflict_do_nothing())
        await connection.execute(delete(users).where(users.c.id == user_id))
        return gone

    def soon(self) -> None:
        """One was committed: do not wait until it is looked for."""
        self._news.set()

    async def repeat(self, users: Collection[str]) -> None:
        """A gateway may have missed a deletion: once it must have heard of it, ask chat a second time."""
        async with self._database.transaction() as connection:
            await connection.execute(update(deletions).where(deletions.c.user_id.in_(users)).values(once_more=True))

    async def run(self, bus: Bus) -> None:
        """Ask chat, for ever: at once when one was committed here, and now and then for what other processes began."""
        while True:
            busy = False
            try:
                busy = await self.step(bus)
            except Reject:
                pass  # the database says so itself
            except Exception:
                log.exception("deleted accounts cannot be dealt with")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), POLL_SECONDS if busy else LOOK_SECONDS)
            # Behind the wait: what was committed during a step is seen by the next one at once.
            self._news.clear()

    async def step(self, bus: Bus) -> bool:
        """Ask chat about those whose time has come. Whether any is under way. Raises `Reject` in an outage."""
        # In one statement with the time of the next attempt, so that no other replica takes them as well.
        async with self._database.transaction() as connection:
            taken = (await connection.execute(_TAKE, {"longest": LONGEST_PAUSE})).all()
        for row in taken:
            await self._ask(bus, row)
        return bool(taken)

    async def _ask(self, bus: Bus, row: Row[Any]) -> None:
        user_id: str = row.user_id
        try:
            if row.erasure is None:
                info = await bus.request(subjects.ERASE_USER, EraseUser(user_id), ErasureInfo)
            else:
                info = await bus.request(subjects.GET_ERASURE, GetErasure(user_id), ErasureInfo, repeat=True)
        except Reject as rejection:
            log.warning(
                "what a deleted user wrote is not erased yet", user=user_id, code=str(rejection.code),
                message=rejection.message,
            )  # fmt: skip
            return
        now = func.clock_timestamp()
        if info.state != "completed":
            changes: dict[str, Any] = {"erasure": info.id, "next_at": now + timedelta(seconds=POLL_SECONDS)}
            if row.erasure is None:
                # It answers, so from here on it is asked each second, and not ever less often.
                changes["attempts"] = 0
        elif row.once_more:
            changes = {"erasure": None, "attempts": 0, "once_more": False, "next_at": now + ONCE_MORE}
        else:
            changes = {"erasure": info.id, "completed_at": now}
            log.info("what a deleted user wrote is erased", user=user_id, events=info.events)
        async with self._database.transaction() as connection:
            await connection.execute(update(deletions).where(deletions.c.user_id == user_id).values(**changes))
