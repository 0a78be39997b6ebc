"""What is unread in all rooms that a user is in, in one statement: numbers alone, for badges and after a reconnect.

Rooms come in the order of their keys, which is that of the index by users, so a page ends where the next one begins
whatever is said meanwhile. Where nothing is unread, only the room and the cursor are looked at.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from parley.chat.domain.encoding.compact import pack_user
from parley.chat.domain.encoding.room_ids import FIRST_ROOM, public_room_id, room_key
from parley.chat.log.database import Pool, reachable
from parley.chat.reading.read_store import number_at, unread_mentions
from parley.chat.reading.room_list import LISTED, last_message, of_last, read_by_sending
from parley.chat.reading.thread_store import any_unread_thread
from parley.framework import Code, Identity, Reject

MAX_COUNTED = 1000

_SENT_LAST = read_by_sending(of_last("actor_id"), of_last("version"), of_last("recorded_at"), "$4", "behind.read_at")
_UNREAD = f"""
WITH behind AS MATERIALIZED (
  SELECT own.room_id, own.sequence AS joined, r.head, rd.read_at, coalesce(rd.sequence, own.sequence) AS read,
    greatest(0, r.messages - coalesce(rd.number, {number_at("own.room_id", "own.sequence")}, 0)) AS unread
  FROM chat.members own CROSS JOIN LATERAL (
    SELECT head, messages FROM chat.rooms r WHERE r.room_id = own.room_id AND {LISTED} LIMIT 1
  ) r LEFT JOIN LATERAL (
    SELECT sequence, number, read_at FROM chat.reads
    WHERE room_id = own.room_id AND user_id = $1 AND sequence >= own.sequence LIMIT 1
  ) rd ON true
  WHERE own.user_id = $1 AND own.state = 'joined' AND own.room_id >= $2
  ORDER BY own.room_id LIMIT $3
), counted AS MATERIALIZED (
  SELECT behind.*, CASE WHEN {_SENT_LAST} THEN {of_last("sequence")} END AS sent
  FROM behind {last_message("behind.room_id", "behind.head", "behind.unread > 0")}
)
SELECT room_id, head, greatest(read, sent) AS read, CASE WHEN sent IS NULL THEN unread ELSE 0 END AS unread,
  CASE WHEN unread = 0 OR sent IS NOT NULL THEN 0
  ELSE {unread_mentions("counted.room_id", "$1", "counted.read")} END AS mentions,
  {any_unread_thread("counted.room_id", "$1", "$4", "counted.joined")} AS unread_threads
FROM counted ORDER BY room_id
"""


class ListUnread(msgspec.Struct, frozen=True):
    """`unread`: how much is unread in the rooms that the user is in, after the page that said `next`."""

    after: Annotated[str, msgspec.Meta(max_length=64)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNTED)] = MAX_COUNTED


class RoomUnread(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of one room is unread, as of its `head`. `read` is the user's cursor.

    `unread_threads` says whether threads that the user follows have unread replies.
    """

    room: str
    head: int
    read: int
    unread: int
    mentions: int
    unread_threads: bool = False


class UnreadPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of what is unread, rooms in which nothing is among it.

    If there are more rooms, `next` is what the next page is asked for with.
    """

    rooms: list[RoomUnread]
    more: bool
    next: str = ""


async def unread_counts(pool: Pool, identity: Identity, asked: ListUnread) -> UnreadPage:
    """Return what is unread in the rooms that a user is in. Raises `Reject` for an `after` that nobody said."""
    first = room_key(asked.after) if asked.after else FIRST_ROOM
    if first is None:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    with reachable():
        rows = await pool.fetch(_UNREAD, identity.user_id, first, asked.limit + 1, pack_user(identity.user_id))
    rooms = [_unread(row) for row in rows[: asked.limit]]
    more = len(rows) > asked.limit
    return UnreadPage(rooms, more, public_room_id(rows[asked.limit]["room_id"]) if more else "")


def _unread(row: Any) -> RoomUnread:
    room_id, head, read, unread, mentions, unread_threads = row
    return RoomUnread(public_room_id(room_id), head, read, unread, mentions, unread_threads)
