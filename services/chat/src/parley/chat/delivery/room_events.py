"""Answers gateways from the log: who is in which rooms, how far each room is, and the events that somebody missed."""

from __future__ import annotations

import asyncio
from functools import partial

from parley.chat.delivery.announcer import Announcer
from parley.chat.log.database import Pool, reachable
from parley.chat.notifications import inbox
from parley.chat.queries import history, members
from parley.chat.queries.rooms import heads
from parley.common.batch_loader import BatchLoader
from parley.common.wire import subjects
from parley.common.wire.rooms import Replay
from parley.framework import Identity, Membership, Replayed, RoomHead

MAX_USERS = 200
"""Users whose rooms one query looks up."""


class ChatLog:
    """The framework's `RoomLog`, on Postgres.

    Requests that come while a query runs are answered together by the next one.
    """

    def __init__(self, pool: Pool, announcer: Announcer) -> None:
        self._pool = pool
        self._announcer = announcer
        self._memberships = BatchLoader(partial(members.rooms_of, pool), MAX_USERS)
        self._replays = BatchLoader(partial(history.replay, pool), history.MAX_REPLAYS)
        self._inboxes = BatchLoader(partial(inbox.heads, pool), MAX_USERS)
        self._inbox_replays = BatchLoader(partial(inbox.replay, pool), history.MAX_REPLAYS)

    @property
    def incarnation(self) -> str:
        """Which history of the rooms this is; it changes when a backup is restored. Empty until it is known."""
        return self._announcer.incarnation

    def waits(self) -> float:
        """Return for how many seconds the oldest request has waited for the database."""
        return max(loader.age() for loader in (self._memberships, self._replays, self._inboxes, self._inbox_replays))

    async def close(self) -> None:
        """Stop asking the database. Requests that still wait are refused with `unavailable`."""
        for loader in (self._memberships, self._replays, self._inboxes, self._inbox_replays):
            await loader.close()

    async def memberships(self, identity: Identity) -> list[Membership]:
        """Return the rooms that a user is in, their own with what they were told among them."""
        with reachable():
            rooms, told = await asyncio.gather(
                self._memberships.load(identity.user_id), self._inboxes.load(identity.user_id)
            )
        return [*(rooms or []), Membership(subjects.user_room(identity.user_id), told or 0, 0)]

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """Return a room's events after a sequence, as many as fit one message, and the room's head."""
        asked = Replay(room, after, limit)
        with reachable():
            if inbox.owner(room) is not None:
                return await self._inbox_replays.load(asked) or Replayed([], 0)
            return await self._replays.load(asked) or Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """Return the heads of rooms, without rooms that do not exist."""
        own = [room for room in rooms if inbox.owner(room) is not None]
        with reachable():
            found = await heads(self._pool, rooms)
            return [*found, *await inbox.room_heads(self._pool, own)] if own else found
