"""The log of rooms as gateways ask for it: who is where, how far each room is, and what somebody missed."""

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
"""Users whose rooms one query asks for."""


class ChatLog:
    """The framework's `RoomLog`, on Postgres."""

    def __init__(self, pool: Pool, announcer: Announcer) -> None:
        self._pool = pool
        self._announcer = announcer
        self._memberships = BatchLoader(partial(members.rooms_of, pool), MAX_USERS)
        self._replays = BatchLoader(partial(history.replay, pool), history.MAX_REPLAYS)

    @property
    def incarnation(self) -> str:
        """Which history of the rooms this is: another one after a backup was restored. Empty until it is known."""
        return self._announcer.incarnation

    def waits(self) -> float:
        """Seconds for which the oldest question has been waiting for the database."""
        return max(self._memberships.age(), self._replays.age())

    async def close(self) -> None:
        """Stop asking the database; who still waits for it is told `unavailable`."""
        await self._memberships.close()
        await self._replays.close()

    async def memberships(self, identity: Identity) -> list[Membership]:
        """The rooms a user is in."""
        with reachable():
            return await self._memberships.load(identity.user_id) or []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """A room's events after a sequence, as many as fit one message; and its head."""
        with reachable():
            return await self._replays.load(Replay(room, after, limit)) or Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """The heads of rooms; one that does not exist is left out."""
        with reachable():
            return await heads(self._pool, rooms)
