"""Who is in a room, and in which rooms a user is."""

from __future__ import annotations

from collections import defaultdict

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.state import Member
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import unless_erasing
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Membership

_MEMBERS = f"""
SELECT page.* FROM (SELECT r.room_id FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1) found
LEFT JOIN LATERAL (
  -- A user who is being erased is not shown, nor is the name under which they invited somebody.
  SELECT user_id, CASE WHEN {unless_erasing("coalesce(invited_by, 'x')")} = '' THEN user_id ELSE name END AS name,
    state, role, sequence
  FROM chat.members
  WHERE room_id = found.room_id AND user_id > $3 AND {unless_erasing("user_id")} <> '' ORDER BY user_id LIMIT $4
) page ON true
"""

_ROLE = "SELECT role FROM chat.members WHERE room_id = $1 AND user_id = $2 AND state = 'joined'"

_ROOMS_OF = """
SELECT m.user_id, m.room_id, r.head, m.sequence FROM chat.members m
CROSS JOIN LATERAL (SELECT head FROM chat.rooms WHERE room_id = m.room_id LIMIT 1) r
WHERE m.user_id = ANY($1::text[]) AND m.state = 'joined'
"""


async def page(pool: Pool, room: str, identity: Identity, after: str, limit: int) -> tuple[list[Member], bool]:
    """Return members of a visible room by user id, after the user `after`, and whether there are more.

    Raises `Reject`.
    """
    rows = await pool.fetch(_MEMBERS, identity.user_id, key_of(room), after, limit + 1)
    if not rows:
        raise no_such_room()
    # The outer join has one row without a user for a room that is visible and whose page is empty.
    found = [Member(*row.values()) for row in rows if row["user_id"] is not None]
    return found[:limit], len(found) > limit


async def role(pool: Pool, room: str, user_id: str) -> str | None:
    """Return the role of a member of a room; None for others."""
    return await pool.fetchval(_ROLE, key_of(room), user_id)


async def rooms_of(pool: Pool, user_ids: list[str]) -> dict[str, list[Membership]]:
    """Return the rooms of which these users are members, by user. Users who are in none are left out."""
    found: defaultdict[str, list[Membership]] = defaultdict(list)
    for user_id, room, head, joined in await pool.fetch(_ROOMS_OF, user_ids):
        found[user_id].append(Membership(public_room_id(room), head, joined))
    return found
