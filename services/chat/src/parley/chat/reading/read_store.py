"""Read cursors in Postgres: where a cursor may point, moving many of them forward at once, and setting one back.

Unread messages are a difference of numbers, which have no gaps: how many messages the room has, less how many it had up
to the cursor. So a message costs nobody a write. Mentions are counted by the rows of those who are mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
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
  {unread_mentions("q.room_id", "q.user_id", "greatest(q.sequence, rd.sequence, m.sequence)")} AS mentions,
  clock_timestamp() AS asked_at, rd.marked_at
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS q(user_id, room_id, sequence, ordinal)
CROSS JOIN LATERAL (
  SELECT head, messages, kind FROM chat.rooms r WHERE r.room_id = q.room_id AND {EXISTING} LIMIT 1
) r
LEFT JOIN LATERAL (
  SELECT state, sequence FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m ON true
LEFT JOIN LATERAL (
  SELECT sequence, number, marked_at FROM chat.reads
  WHERE room_id = q.room_id AND user_id = q.user_id AND sequence >= m.sequence LIMIT 1
) rd ON true
"""

# In the order of the key, so that two processes never wait for each other. Nothing is kept of somebody who is being
# erased. A process may store what it was told some seconds ago, so what was said before a mark does not undo it.
_ADVANCE = f"""
WITH moved AS (
  INSERT INTO chat.reads AS known (room_id, user_id, sequence, number, read_at)
  SELECT q.* FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[])
    AS q(room_id, user_id, sequence, number, said_at)
  WHERE CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
    SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id = q.user_id
  ) ELSE true END
  ORDER BY q.room_id, q.user_id
  ON CONFLICT (room_id, user_id) DO UPDATE
  SET sequence = excluded.sequence, number = excluded.number, read_at = excluded.read_at
  WHERE known.sequence < excluded.sequence AND coalesce(known.marked_at < excluded.read_at, true)
  RETURNING room_id, user_id, sequence, number, read_at
)
SELECT moved.*, r.changed, r.member_count, r.messages, coalesce(p.private_receipts, false) AS private
FROM moved CROSS JOIN LATERAL (
  SELECT changed, member_count, messages FROM chat.rooms WHERE room_id = moved.room_id LIMIT 1
) r LEFT JOIN LATERAL (
  SELECT private_receipts FROM chat.preferences WHERE user_id = moved.user_id LIMIT 1
) p ON true
"""

# Nothing is kept of somebody who has left meanwhile, as an erasure has them do first.
_MARK = """
INSERT INTO chat.reads (room_id, user_id, sequence, number, marked_at)
SELECT room_id, user_id, $3::bigint, $4::bigint, clock_timestamp() FROM chat.members
WHERE room_id = $1::bigint AND user_id = $2::text AND state = 'joined'
ON CONFLICT (room_id, user_id) DO UPDATE
SET sequence = excluded.sequence, number = excluded.number, read_at = excluded.read_at, marked_at = excluded.marked_at
"""


class CursorKey(NamedTuple):
    """Whose cursor it is, and in which room."""

    room_id: int
    user_id: str


class CursorPlace(NamedTuple):
    """Where a cursor points: an event, and how many messages the room has up to it; and since when, by Postgres' clock.

    `marked_at` is when the user had last set it back by then, as far as that is known.
    """

    sequence: int
    number: int
    said_at: datetime
    marked_at: datetime | None = None


def later(one: CursorPlace, other: CursorPlace) -> CursorPlace:
    """Return which of two places counts: the one that is further, unless the cursor was set back since it was said."""
    for place, before in ((one, other), (other, one)):
        if place.marked_at is not None and before.said_at <= place.marked_at:
            return place
    return max(one, other, key=lambda place: place[:3])


class ReadablePlace(NamedTuple):
    """What is known of an event of a room that a user names as read, and of the user's cursor there.

    `state` is the user's membership, `joined` the event of their join, and `read` their cursor if it is of this stay,
    as of `asked_at`. `marked_at` is when they last set it back.
    """

    head: int
    messages: int
    kind: str
    state: str | None
    joined: int
    number: int
    read: CursorPlace | None
    mentions: int
    asked_at: datetime
    marked_at: datetime | None


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
    read = None if row["read"] is None else CursorPlace(
        row["read"], row["read_number"], row["asked_at"], row["marked_at"]
    )  # fmt: skip
    return ReadablePlace(
        row["head"], row["messages"], row["kind"], row["state"], row["joined"] or 0, row["number"], read,
        row["mentions"], row["asked_at"], row["marked_at"],
    )  # fmt: skip


async def advance(connection: Any, cursors: Mapping[CursorKey, CursorPlace]) -> list[MovedCursor]:
    """Move cursors forward.

    Returns those that moved; one that is as far already stays, and so does one that was set back since.
    """
    rows = await connection.fetch(
        _ADVANCE,
        [key.room_id for key in cursors],
        [key.user_id for key in cursors],
        [place.sequence for place in cursors.values()],
        [place.number for place in cursors.values()],
        [place.said_at for place in cursors.values()],
    )
    return [
        MovedCursor(CursorKey(*list(row.values())[:2]), CursorPlace(*list(row.values())[2:5]), *list(row.values())[5:])
        for row in rows
    ]


async def mark(pool: Pool, key: CursorKey, sequence: int, number: int) -> None:
    """Set a cursor to an event, wherever it is, and have nothing undo it that was said before."""
    await pool.fetch(_MARK, *key, sequence, number)
