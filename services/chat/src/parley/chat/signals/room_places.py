"""Whether users are members of rooms, looked up for many at once: who types asks for it every other second."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from parley.chat.log.database import Pool, reachable
from parley.chat.queries.visibility import EXISTING, key_of, no_such_room
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code, Reject

AT_ONCE = 500
"""Places that one query looks up."""

_PLACES = f"""
SELECT asked.room_id, asked.user_id, found.kind, found.archived, found.state
FROM unnest($1::bigint[], $2::text[]) AS asked(room_id, user_id)
CROSS JOIN LATERAL (
  SELECT r.kind, r.archived, (
    SELECT m.state FROM chat.members m WHERE m.room_id = r.room_id AND m.user_id = asked.user_id LIMIT 1
  ) AS state
  FROM chat.rooms r WHERE r.room_id = asked.room_id AND {EXISTING} LIMIT 1
) found
"""


class RoomPlace(NamedTuple):
    """What a room that exists is to a user."""

    kind: str
    archived: bool
    state: str | None
    """`joined`, `invited`, or None."""


async def places(pool: Pool, asked: list[tuple[int, str]]) -> dict[tuple[int, str], RoomPlace]:
    """Return what rooms are to users, each pair of a room's key and a user. Rooms that do not exist are left out."""
    rows = await pool.fetch(_PLACES, [room for room, _ in asked], [user_id for _, user_id in asked])
    return {(room, user_id): RoomPlace(kind, archived, state) for room, user_id, kind, archived, state in rows}


class RoomPlaces:
    """Looks up places. Those that are asked for while a query runs are looked up by the next one."""

    def __init__(self, pool: Pool) -> None:
        self._loader = BatchLoader(partial(places, pool), AT_ONCE)

    async def close(self) -> None:
        """Stop looking up."""
        await self._loader.close()

    async def of_member(self, room: str, user_id: str) -> RoomPlace:
        """Return a member's place. Raises `Reject`: `not_a_member`, or `not_found` where the room is not visible."""
        with reachable():
            place = await self._loader.load((key_of(room), user_id))
        if place is None or (place.state is None and place.kind != "public"):
            raise no_such_room()
        if place.state != "joined":
            raise Reject(Code.NOT_A_MEMBER)
        return place
