"""Read cursors of followed threads in Postgres: what is unread after them, and moving many of them forward at once.

A reply costs its followers no write: what is unread is counted among the replies, up to `MOST_UNREAD`. Without a
cursor, a thread is read up to where its user began to follow it. If it was others who made them follow, by a reply,
this reply is the first unread one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from parley.chat.domain.encoding.compact import pack_user
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import ANY_OPEN
from parley.chat.queries.visibility import EXISTING

MOST_UNREAD = 500
"""Unread replies of a thread are counted up to here."""

CURSOR = """LEFT JOIN LATERAL (
    SELECT sequence FROM chat.thread_reads
    WHERE room_id = f.room_id AND thread = f.thread AND user_id = f.user_id LIMIT 1
  ) rd ON true"""
"""Joins the cursor `rd` of an `f` that is `chat.thread_followers`."""


def read_up_to(packed: str, joined: str) -> str:
    """Return SQL for the event up to which a follower `f` with the cursor `rd` has read their thread.

    `packed` is the follower as events have it, `joined` the event of their join: what was before it does not count.
    """
    # The events of a command stand side by side, so the reply that made somebody follow is the last one before that.
    return f"""greatest({joined}, rd.sequence, CASE
    WHEN rd.sequence >= f.since THEN 0
    WHEN {packed} = (SELECT actor_id FROM chat.events WHERE room_id = f.room_id AND sequence = f.since LIMIT 1)
      THEN f.since
    ELSE coalesce((
      SELECT sequence - 1 FROM chat.replies WHERE room_id = f.room_id AND thread = f.thread AND sequence < f.since
      ORDER BY sequence DESC LIMIT 1
    ), f.since) END)"""


def unread_replies(room: str, thread: str, after: str) -> str:
    """Return SQL for how many replies a thread has after a sequence, `MOST_UNREAD` at most."""
    return f"""(SELECT count(*) FROM (
    SELECT FROM chat.replies WHERE room_id = {room} AND thread = {thread} AND sequence > {after}
    ORDER BY sequence LIMIT {MOST_UNREAD}
  ) unread)"""


def any_unread_thread(room: str, user: str, packed: str, joined: str) -> str:
    """Return SQL for whether any thread of a room that a user follows has unread replies."""
    return f"""coalesce((
    SELECT true FROM chat.thread_followers f {CURSOR}
    WHERE f.user_id = {user} AND f.room_id = {room} AND f.following AND (
      SELECT true FROM chat.replies
      WHERE room_id = f.room_id AND thread = f.thread AND sequence > {read_up_to(packed, joined)} LIMIT 1
    ) LIMIT 1
  ), false)"""


_PLACES = f"""
SELECT q.ordinal, r.head, r.kind, m.state, t.up_to, {unread_replies("q.room_id", "q.thread", "t.reached")} AS unread
FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[])
  WITH ORDINALITY AS q(user_id, packed, room_id, thread, sequence, ordinal)
CROSS JOIN LATERAL (
  SELECT head, kind FROM chat.rooms r WHERE r.room_id = q.room_id AND {EXISTING} LIMIT 1
) r
LEFT JOIN LATERAL (
  SELECT state, sequence FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m ON true
LEFT JOIN LATERAL (
  SELECT up_to, greatest(up_to, q.sequence) AS reached FROM (
    SELECT {read_up_to("q.packed", "m.sequence")} AS up_to FROM chat.thread_followers f {CURSOR}
    WHERE f.room_id = q.room_id AND f.thread = q.thread AND f.user_id = q.user_id AND f.following LIMIT 1
  ) one
) t ON true
"""

# In the order of the key, so that two processes never wait for each other. Nothing is kept of somebody who is being
# erased.
_ADVANCE = f"""
WITH moved AS (
  INSERT INTO chat.thread_reads AS known (room_id, thread, user_id, sequence)
  SELECT q.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS q(room_id, thread, user_id, sequence)
  WHERE CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
    SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id = q.user_id
  ) ELSE true END
  ORDER BY q.room_id, q.thread, q.user_id
  ON CONFLICT (room_id, thread, user_id) DO UPDATE SET sequence = excluded.sequence, read_at = clock_timestamp()
  WHERE known.sequence < excluded.sequence
  RETURNING room_id, thread, user_id, sequence
)
SELECT moved.*, {unread_replies("moved.room_id", "moved.thread", "moved.sequence")} AS unread FROM moved
"""


class ThreadCursorKey(NamedTuple):
    """Whose cursor it is, and in which thread of which room."""

    room_id: int
    thread: int
    user_id: str


class ThreadPlace(NamedTuple):
    """What is known of a thread that a user has read up to an event.

    `state` is the user's membership. `up_to` is how far they had read it before, None if they do not follow it, and
    `unread` how many replies come after both.
    """

    head: int
    kind: str
    state: str | None
    up_to: int | None
    unread: int


class MovedThreadCursor(NamedTuple):
    """A cursor that moved, with how many replies come after it."""

    key: ThreadCursorKey
    sequence: int
    unread: int


Asked = tuple[ThreadCursorKey, int]


async def places(pool: Pool, asked: list[Asked]) -> Mapping[Asked, ThreadPlace]:
    """Return what is known of threads that users have read up to events, without rooms that do not exist."""
    rows = await pool.fetch(
        _PLACES,
        [key.user_id for key, _ in asked],
        [pack_user(key.user_id) for key, _ in asked],
        [key.room_id for key, _ in asked],
        [key.thread for key, _ in asked],
        [sequence for _, sequence in asked],
    )
    return {asked[row["ordinal"] - 1]: ThreadPlace(*list(row.values())[1:]) for row in rows}


async def advance(pool: Pool, cursors: Mapping[ThreadCursorKey, int]) -> list[MovedThreadCursor]:
    """Move cursors forward. Returns those that moved; one that is as far already stays."""
    rows = await pool.fetch(
        _ADVANCE,
        [key.room_id for key in cursors],
        [key.thread for key in cursors],
        [key.user_id for key in cursors],
        list(cursors.values()),
    )
    return [
        MovedThreadCursor(
            ThreadCursorKey(row["room_id"], row["thread"], row["user_id"]), row["sequence"], row["unread"]
        )
        for row in rows
    ]
