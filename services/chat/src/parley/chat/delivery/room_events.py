"""The log of rooms as gateways ask for it: who is where, how far each room is, and what somebody missed."""

from __future__ import annotations

from parley.chat.log.database import reachable
from parley.chat.queries.queries import MAX_PAGE_BYTES, Queries
from parley.common.batch_loader import BatchLoader
from parley.framework import Identity, Membership, Replayed, RoomHead
from parley.framework.rooms import split_events

MAX_REPLAY = 500
MAX_USERS = 200
"""Users whose rooms one query asks for."""


class ChatLog:
    """The framework's `RoomLog`, on Postgres."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._rooms = BatchLoader(queries.rooms_of, MAX_USERS)

    def waits(self) -> float:
        """Seconds for which the oldest question for a user's rooms has been waiting for the database."""
        return self._rooms.age()

    async def close(self) -> None:
        """Stop asking the database; who still waits for it is told `unavailable`."""
        await self._rooms.close()

    async def memberships(self, identity: Identity) -> list[Membership]:
        """The rooms a user is in."""
        with reachable():
            return await self._rooms.load(identity.user_id) or []

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        """A room's events after a sequence, as many as fit one message; and its head."""
        with reachable():
            # The head is read first: events committed meanwhile make the answer longer, never a gap in it.
            heads = await self._queries.heads([room])
            head = heads[0].head if heads else 0
            if after >= head:
                return Replayed([], head)
            events = await self._queries.read(room, after, min(limit, MAX_REPLAY))
        items = next(split_events([event.item() for event in events], MAX_PAGE_BYTES)) if events else []
        return Replayed(items, max(head, events[-1].sequence if events else 0))

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """The heads of rooms; one that does not exist is left out."""
        with reachable():
            return await self._queries.heads(rooms)
