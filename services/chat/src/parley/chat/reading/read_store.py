"""Read cursors in Postgres: where a cursor may point, moving many of them forward at once, and setting one back.

Unread messages are a difference of numbers, which have no gaps: how many messages the room has, less how many it had up
to the cursor. So a message costs nobody a write. Mentions are counted by the rows of those who are mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import ANY_OPEN
from parley.chat.queries.visibility import EXISTING

MOST_MENTIONS = 100
"""Mentions are counted up to here."""


def unread_mentions(room: str, user: str, after: str) -> str:
    """Return SQL for how many mentions of a user a room has after a sequence, `MOST_MENTIONS` at most."""
    return f"""(SELECT count(*) FROM (
    (SELECT FROM chat.mentions WHERE room_id = {room} AND user_id = {user} AND sequence > {after}
     ORDER BY sequence LIMIT {MOST_MENTIONS})
    UNION ALL
    (SELECT FROM chat.mentions WHERE room_id = {room} AND user_id = '' AND sequence > {after} AND author_id <> {user}
     ORDER BY sequence LIMIT {MOST_MENTIONS})
    LIMIT {MOST_MENTIONS}
  ) mentioned)"""


def number_at(room: str, sequence: str) -> str:
    """Return SQL for how many messages a room has up to an event."""
    return f"(SELECT number FROM chat.events WHERE room_id = {room} AND sequence = {sequence} LIMIT 1)"


# What was read before a user joined, in an earlier stay, does not count any more.
_PLACES = f"""
SELECT q.ordinal, r.head, r.messages, r.kind, m.state, m.sequence AS joined,
  coalesce({number_at("q.room_id", "q.sequence")}, 0) AS number, rd.sequence AS read, rd.number AS read_number,
  {unread_mentions("q.room_id", "q.user_id", "greatest(q.sequence, rd.sequence, m.sequence)")} AS mentions
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS q(user_id, room_id, sequence, ordinal)
CROSS JOIN LATERAL (
  SELECT head, messages, kind FROM chat.rooms r WHERE r.room_id = q.room_id AND {EXISTING} LIMIT 1
) r
LEFT JOIN LATERAL (
  SELECT state, sequence FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m ON true
LEFT JOIN LATERAL (
  SELECT sequence, number FROM chat.reads WHERE room_id = q.room_id AND user_id = q.user_id AND sequence >= m.sequence
  LIMIT 1
) rd ON true
"""

# In the order of the key, so that two processes never wait for each other. Nothing is kept of somebody who is being
# erased.
_ADVANCE = f"""
WITH moved AS (
  INSERT INTO chat.reads AS known (room_id, user_id, sequence, number, read_at)
  SELECT q.*, clock_timestamp() - make_interval(secs => $5)
  FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS q(room_id, user_id, sequence, number)
  WHERE CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
    SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id = q.user_id
  ) ELSE true END
  ORDER BY q.room_id, q.user_id
  ON CONFLICT (room_id, user_id) DO UPDATE
  SET sequence = excluded.sequence, number = excluded.number, read_at = excluded.read_at
  WHERE known.sequence < excluded.sequence
  RETURNING room_id, user_id, sequence, number
)
SELECT moved.*, r.changed, r.member_count, r.messages, coalesce(p.private_receipts, false) AS private
FROM moved CROSS JOIN LATERAL (
  SELECT changed, member_count, messages FROM chat.rooms WHERE room_id = moved.room_id LIMIT 1
) r LEFT JOIN LATERAL (
  SELECT private_receipts FROM chat.preferences WHERE user_id = moved.user_id LIMIT 1
) p ON true
"""

_SET = """
INSERT INTO chat.reads (room_id, user_id, sequence, number) VALUES ($1, $2, $3, $4)
ON CONFLICT (room_id, user_id) DO UPDATE
SET sequence = excluded.sequence, number = excluded.number, read_at = clock_timestamp()
"""


class CursorKey(NamedTuple):
    """Whose cursor it is, and in which room."""

    room_id: int
    user_id: str


class CursorPlace(NamedTuple):
    """Where a cursor points: an event, and how many messages the room has up to it."""

    sequence: int
    number: int


class ReadablePlace(NamedTuple):
    """What is known of an event of a room that a user names as read, and of the user's cursor there.

    `state` is the user's membership, `joined` the event of their join, and `read` their cursor if it is of this stay.
    """

    head: int
    messages: int
    kind: str
    state: str | None
    joined: int
    number: int
    read: CursorPlace | None
    mentions: int


class MovedCursor(NamedTuple):
    """A cursor that moved, and what tells whom to tell of it."""

    key: CursorKey
    place: CursorPlace
    changed: int
    members: int
    messages: int
    private: bool


async def places(pool: Pool, asked: list[tuple[CursorKey, int]]) -> Mapping[tuple[CursorKey, int], ReadablePlace]:
    """Return what is known of events that users name as read, in one statement, without rooms that do not exist."""
    users, rooms = [key.user_id for key, _ in asked], [key.room_id for key, _ in asked]
    rows = await pool.fetch(_PLACES, users, rooms, [sequence for _, sequence in asked])
    return {asked[row["ordinal"] - 1]: _place(row) for row in rows}


def _place(row: Any) -> ReadablePlace:
    read = None if row["read"] is None else CursorPlace(row["read"], row["read_number"])
    return ReadablePlace(
        row["head"], row["messages"], row["kind"], row["state"], row["joined"] or 0, row["number"], read,
        row["mentions"],
    )  # fmt: skip


async def advance(connection: Any, cursors: Mapping[CursorKey, CursorPlace], ago: float = 0.0) -> list[MovedCursor]:
    """Move cursors forward, which users reached so many seconds `ago` at most.

    Returns those that moved; one that is as far already stays.
    """
    rows = await connection.fetch(
        _ADVANCE,
        [key.room_id for key in cursors],
        [key.user_id for key in cursors],
        [place.sequence for place in cursors.values()],
        [place.number for place in cursors.values()],
        ago,
    )
    return [
        MovedCursor(CursorKey(*list(row.values())[:2]), CursorPlace(*list(row.values())[2:4]), *list(row.values())[4:])
        for row in rows
    ]


async def put(pool: Pool, key: CursorKey, place: CursorPlace) -> None:
    """Set a cursor to a place, wherever it is."""
    await pool.fetch(_SET, *key, *place)
