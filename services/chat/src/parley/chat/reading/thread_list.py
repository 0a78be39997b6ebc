"""The threads that a user follows, the most active first, in one statement, with what is unread in each.

As in the list of rooms, no index has the time of a thread's last reply: it is looked up by key for each thread that the
user follows, and everything else only for the threads of the page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from parley.chat.domain.encoding.compact import pack_user
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.events import ClientEvent, Instant
from parley.chat.log.database import Pool, reachable
from parley.chat.queries.current import CURRENT_COLUMNS, current_event, events_as_now
from parley.chat.queries.pages import PageBytes, moment, moment_text
from parley.chat.queries.visibility import EXISTING
from parley.chat.reading.thread_store import CURSOR, read_up_to, unread_replies
from parley.framework import Code, Identity, Reject

MAX_THREADS = 50

_ROOT = events_as_now(f"""
SELECT {CURRENT_COLUMNS} FROM chat.events e WHERE e.room_id = page.room_id AND e.sequence = page.thread LIMIT 1
""")
_THREADS = f"""
WITH followed AS MATERIALIZED (
  SELECT f.room_id, f.thread, f.user_id, f.since, m.sequence AS joined,
    coalesce(thread.last_reply_at, root.recorded_at) AS active_at
  FROM chat.thread_followers f CROSS JOIN LATERAL (
    SELECT sequence FROM chat.members WHERE room_id = f.room_id AND user_id = $1 AND state = 'joined' LIMIT 1
  ) m CROSS JOIN LATERAL (
    SELECT FROM chat.rooms r WHERE r.room_id = f.room_id AND {EXISTING} LIMIT 1
  ) r LEFT JOIN LATERAL (
    SELECT last_reply_at FROM chat.messages WHERE room_id = f.room_id AND sequence = f.thread LIMIT 1
  ) thread ON true LEFT JOIN LATERAL (
    SELECT recorded_at FROM chat.events
    WHERE thread.last_reply_at IS NULL AND room_id = f.room_id AND sequence = f.thread LIMIT 1
  ) root ON true
  WHERE f.user_id = $1 AND f.following
), listed AS MATERIALIZED (
  SELECT * FROM followed WHERE (active_at, room_id, thread) < ($2::timestamptz, $3::bigint, $4::bigint)
  ORDER BY active_at DESC, room_id DESC, thread DESC LIMIT $5
), page AS MATERIALIZED (
  SELECT f.*, {read_up_to("$6", "f.joined")} AS up_to FROM listed f {CURSOR}
)
SELECT page.active_at, page.up_to, {unread_replies("page.room_id", "page.thread", "page.up_to")} AS unread, now.*
FROM page CROSS JOIN LATERAL ({_ROOT}) now
ORDER BY page.active_at DESC, page.room_id DESC, page.thread DESC
"""

_TOP = (datetime(9999, 1, 1, tzinfo=UTC), 0, 0)


class ListThreads(msgspec.Struct, frozen=True):
    """`threads`: a page of the threads that the user follows, the most active first, after the `next` of another."""

    after: Annotated[str, msgspec.Meta(max_length=64)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_THREADS)] = 20


class FollowedThread(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thread: its room, its first message as it is now, how many replies it has, and how many are unread.

    `read` is the event up to which the user has read it.
    """

    room: str
    thread: int
    root: ClientEvent[msgspec.Raw]
    read: int
    replies: int
    unread: int
    last_at: Instant | None = None


class ThreadPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of threads. If there are more, `next` is what the next page is asked for with."""

    threads: list[FollowedThread]
    more: bool
    next: str = ""


async def page(pool: Pool, identity: Identity, asked: ListThreads) -> ThreadPage:
    """Return a page of the threads that a user follows in rooms that they are in. Raises `Reject` for `after`."""
    place = _place(asked.after) if asked.after else _TOP
    with reachable():
        rows = await pool.fetch(_THREADS, identity.user_id, *place, asked.limit + 1, pack_user(identity.user_id))
    # One at least, however large: a page of none would be asked for again and again.
    roots = PageBytes().take_shown(map(current_event, rows[: asked.limit]), at_least_one=True)
    threads = [_listed(row, root) for row, root in zip(rows, roots, strict=False)]
    more = len(rows) > len(threads)
    return ThreadPage(threads, more, _next(rows[len(threads) - 1]) if more else "")


def _listed(row: Any, root: ClientEvent[msgspec.Raw]) -> FollowedThread:
    return FollowedThread(
        public_room_id(row["room_id"]), row["sequence"], root, row["up_to"], row["replies"] or 0, row["unread"],
        row["last_reply_at"],
    )  # fmt: skip


def _next(row: Any) -> str:
    return f"{moment_text(row['active_at'])}.{public_room_id(row['room_id'])}.{row['sequence']}"


def _place(after: str) -> tuple[datetime, int, int]:
    at, _, place = after.partition(".")
    room, _, thread = place.partition(".")
    key = room_key(room)
    # `isdecimal` takes digits of every script, and Python reads no number of more than 4,300.
    if key is None or not thread.isdecimal() or not thread.isascii() or len(thread) > 16:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    return moment(at), key, int(thread)
