"""Answers gateways from the log: who is in which rooms, how far each room is, and the events that somebody missed."""

from __future__ import annotations

from functools import partial

from parley.chat.delivery.announcer import Announcer
from parley.chat.log.database import Pool, reachable
from parley.chat.queries import history, members
from parley.chat.queries.rooms import heads
from parley.common.batch_loader import BatchLoader
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

    @property
    def incarnation(self) -> str:
        """Which history of the rooms this is; it changes when a backup is restored. Empty until it is known."""
        return self._announcer.incarnation

    def waits(self) -> float:
        """Return for how many seconds the oldest request has waited for the database."""
        return max(self._memberships.age(), self._replays.age())

    async def close(self) -> None:
        """Stop asking the database. Requests that still wait are refused with `unavailable`."""
        await self._memberships.close()
        await self._replays.close()

    async def memberships(self, identity: Identity) -> list[Membership]:
        """Return the rooms that a user is in."""
        with reachable():
            return await self._memberships.load(identity.user_id) or []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """Return a room's events after a sequence, as many as fit one message, and the room's head."""
        with reachable():
            return await self._replays.load(Replay(room, after, limit)) or Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """Return the heads of rooms, without rooms that do not exist."""
        with reachable():
            return await heads(self._pool, rooms)
