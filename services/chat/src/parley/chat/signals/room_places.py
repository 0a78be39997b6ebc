"""Whether users are members of rooms, looked up for many at once: who types asks for it every other second."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from parley.chat.domain.permissions import Permission, Rule, allows, permissions_in, read_rules
from parley.chat.log.database import Pool, reachable
from parley.chat.queries.visibility import EXISTING, key_of, no_such_room, require_joined
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code

AT_ONCE = 500
"""Places that one query looks up."""

_PLACES = f"""
SELECT asked.room_id, asked.user_id, found.kind, found.archived, found.rules, m.state, m.role, own.allow, own.deny,
  coalesce(own.muted_until > clock_timestamp(), false) AND m.role <> 'owner' AS muted,
  CASE WHEN found.kind = 'direct' THEN (
    SELECT count(*) = 2 AND bool_or(coalesce((
      SELECT true FROM chat.blocks b WHERE (b.user_id, b.blocked_id) IN (
        (p.user_id, asked.user_id), (asked.user_id, p.user_id)
      ) LIMIT 1
    ), false)) FROM chat.participants p WHERE p.room_id = asked.room_id
  ) ELSE false END AS blocked
FROM unnest($1::bigint[], $2::text[]) AS asked(room_id, user_id)
CROSS JOIN LATERAL (
  SELECT r.kind, r.archived, r.rules
  FROM chat.rooms r WHERE r.room_id = asked.room_id AND {EXISTING} LIMIT 1
) found LEFT JOIN LATERAL (
  SELECT state, role FROM chat.members WHERE room_id = asked.room_id AND user_id = asked.user_id LIMIT 1
) m ON true LEFT JOIN LATERAL (
  SELECT allow, deny, muted_until FROM chat.restrictions
  WHERE room_id = asked.room_id AND user_id = asked.user_id LIMIT 1
) own ON true
"""


class RoomPlace(NamedTuple):
    """What a room that exists is to a user."""

    kind: str
    archived: bool
    state: str | None
    """`joined`, `invited`, or None."""
    silenced: Code | None = None
    """Why a member may not write there, if they may not."""


async def places(pool: Pool, asked: list[tuple[int, str]]) -> dict[tuple[int, str], RoomPlace]:
    """Return what rooms are to users, each pair of a room's key and a user. Rooms that do not exist are left out."""
    rows = await pool.fetch(_PLACES, [room for room, _ in asked], [user_id for _, user_id in asked])
    return {
        (row["room_id"], row["user_id"]): RoomPlace(row["kind"], row["archived"], row["state"], _silenced(row))
        for row in rows
    }


def _silenced(row: Any) -> Code | None:
    """Return what a message of the user's would be refused with now, slow mode and archives aside."""
    if row["state"] != "joined":
        return None
    if row["muted"]:
        return Code.MUTED
    if row["kind"] == "direct":
        return Code.FORBIDDEN if row["blocked"] else None
    person = Rule(permissions_in(row["allow"] or ""), permissions_in(row["deny"] or ""))
    return None if allows(Permission.POST, row["role"], person, read_rules(row["rules"])) else Code.FORBIDDEN


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
        if place is None:
            raise no_such_room()
        require_joined(place.kind, place.state)
        return place
