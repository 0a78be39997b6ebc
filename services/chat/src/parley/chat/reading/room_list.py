"""All rooms of a user with everything that a list of them shows, the most active first, in one statement.

No index has the time of a room's last message, since each message would have to write it. Instead, the last events of
all of the user's rooms are looked up by their keys, which a user with a thousand rooms hardly notices, and everything
else only for the rooms of the page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from parley.chat.domain.custom_data import check_custom, custom_of, custom_text
from parley.chat.domain.encoding.compact import pack_user, unpack
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.events import Instant, NamedUser
from parley.chat.domain.fields import RoomKind
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.rooms import Custom
from parley.chat.log.database import Pool, reachable
from parley.chat.log.erasure.erasures import HIDDEN, unless_erasing
from parley.chat.queries.current import EDIT, PRESENT_BODY
from parley.chat.queries.pages import moment, moment_text
from parley.chat.queries.rooms import PEOPLE, UNBLOCKED
from parley.chat.queries.visibility import EXISTING
from parley.chat.reading.read_store import number_at, unread_mentions
from parley.chat.reading.thread_store import any_unread_thread
from parley.framework import Code, Identity, Reject

MAX_LISTED = 100
MAX_FILTER = 1024
"""Bytes of what rooms are asked for by, as JSON."""
LOOKED_AT = 50
"""Events at the end of a room among which its last message is looked for."""
PREVIEW = 200
"""Characters of the last message."""

# No index: of all rooms only those of the user are looked at anyway, a thousand at most. What is no JSON is never cast.
_WANTED = (
    """CASE WHEN $6::jsonb IS NULL THEN true WHEN r.custom = '' THEN false ELSE r.custom::jsonb @> $6::jsonb END"""
)
_ROOM_LIST = f"""
WITH mine AS MATERIALIZED (
  SELECT room_id, state, sequence AS joined FROM chat.members own WHERE user_id = $1 AND {UNBLOCKED}
), active AS MATERIALIZED (
  SELECT mine.*, last.sequence AS last, coalesce(last.recorded_at, newest.recorded_at) AS active_at
  FROM mine CROSS JOIN LATERAL (
    SELECT head FROM chat.rooms r WHERE r.room_id = mine.room_id AND {EXISTING}
      AND NOT (r.kind = 'direct' AND r.messages = 0) AND {_WANTED} LIMIT 1
  ) r LEFT JOIN LATERAL (
    SELECT sequence, recorded_at FROM chat.events
    WHERE room_id = mine.room_id AND sequence > r.head - {LOOKED_AT} AND type = {MessageSent.NUMBER}
    ORDER BY sequence DESC LIMIT 1
  ) last ON true LEFT JOIN LATERAL (
    SELECT recorded_at FROM chat.events WHERE last.sequence IS NULL AND room_id = mine.room_id AND sequence = r.head
    LIMIT 1
  ) newest ON true
), page AS MATERIALIZED (
  SELECT * FROM active WHERE (active_at, room_id) < ($2::timestamptz, $3::bigint)
  ORDER BY active_at DESC, room_id DESC LIMIT $4
)
SELECT page.*, r.*, e.*, coalesce(l.level, '') AS level,
  coalesce(rd.sequence, page.joined) AS read, rd.number AS read_number, rd.read_at,
  CASE WHEN page.state = 'joined' AND rd.number IS NULL THEN {number_at("page.room_id", "page.joined")} END AS at_join,
  CASE WHEN page.state = 'joined' THEN
    {unread_mentions("page.room_id", "$1", "coalesce(rd.sequence, page.joined)")}
  ELSE 0 END AS mentions,
  page.state = 'joined' AND {any_unread_thread("page.room_id", "$1", "$5", "page.joined")} AS unread_threads
FROM page CROSS JOIN LATERAL (
  SELECT name, topic, kind, archived, head, messages, member_count, {unless_erasing("r.created_by")} AS created_by,
    created_at, slow_seconds, custom, {PEOPLE} AS people
  FROM chat.rooms r WHERE r.room_id = page.room_id LIMIT 1
) r LEFT JOIN LATERAL (
  SELECT sequence, number, read_at FROM chat.reads
  WHERE room_id = page.room_id AND user_id = $1 AND sequence >= page.joined LIMIT 1
) rd ON true LEFT JOIN LATERAL (
  SELECT level FROM chat.levels WHERE room_id = page.room_id AND user_id = $1 LIMIT 1
) l ON true LEFT JOIN LATERAL (
  SELECT e.number AS last_number, e.recorded_at AS last_at, e.actor_id, e.actor_name, e.version = 0 OR {HIDDEN} AS gone,
    left({PRESENT_BODY}, {PREVIEW}) AS text
  FROM chat.events e {EDIT} WHERE e.room_id = page.room_id AND e.sequence = page.last LIMIT 1
) e ON true ORDER BY page.active_at DESC, page.room_id DESC
"""

_TOP = (datetime(9999, 1, 1, tzinfo=UTC), 0)


class ListMyRooms(msgspec.Struct, frozen=True):
    """`rooms`: a page of the user's rooms, the most active first, after the page that said `next`.

    With `custom`, those alone whose custom data has all that is in it.
    """

    after: Annotated[str, msgspec.Meta(max_length=64)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 50
    custom: Custom | None = None


class LastMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A room's last message, as much of it as a list shows."""

    sequence: int
    number: int
    at: Instant
    actor: NamedUser
    text: str = ""
    erased: bool = False


class ListedRoom(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the user's rooms: what it is, how much in it is unread, and what was said last.

    `users` are the people of a direct room. `read` is the user's cursor. `level` is what of the room the user is
    notified of, where it is not the default. `unread_threads` says whether threads that the user follows have unread
    replies.
    """

    id: str
    name: str
    topic: str
    kind: RoomKind
    archived: bool
    head: int
    members: int
    created_by: str
    created_at: Instant
    joined: bool
    invited: bool
    active_at: Instant
    read: int
    unread: int
    mentions: int
    level: str = ""
    users: tuple[str, ...] = ()
    slow_seconds: int = 0
    last: LastMessage | None = None
    unread_threads: bool = False
    custom: Custom | None = None


class RoomListPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of rooms. If there are more, `next` is what the next page is asked for with."""

    rooms: list[ListedRoom]
    more: bool
    next: str = ""


async def room_list(pool: Pool, identity: Identity, asked: ListMyRooms) -> RoomListPage:
    """Return a page of the rooms that a user is in or invited to.

    Raises `Reject` for an `after` that nobody said, and for `custom` that no room can have.
    """
    place = _place(asked.after) if asked.after else _TOP
    check_custom(asked.custom or {}, MAX_FILTER, "What rooms are asked for by")
    user_id, wanted = identity.user_id, custom_text(asked.custom) or None
    with reachable():
        rows = await pool.fetch(_ROOM_LIST, user_id, *place, asked.limit + 1, pack_user(user_id), wanted)
    rooms = [_listed(row, user_id) for row in rows[: asked.limit]]
    more = len(rows) > asked.limit
    return RoomListPage(rooms, more, _next(rows[asked.limit - 1]) if more else "")


def _listed(row: Any, user_id: str) -> ListedRoom:
    joined = row["state"] == "joined"
    number = row["read_number"] if row["read_number"] is not None else row["at_join"]
    last = None
    if row["last"] is not None:
        gone = row["gone"]
        actor = NamedUser("") if gone else NamedUser(unpack(row["actor_id"]), row["actor_name"] or None)
        text = "" if gone else row["text"] or ""
        last = LastMessage(row["last"], row["last_number"], row["last_at"], actor, text, gone)
    read, unread, mentions = row["read"], max(0, row["messages"] - (number or 0)) if joined else 0, row["mentions"]
    # Who sent the last message has read all, also before that is stored; unless they set their cursor back since.
    if last is not None and last.actor.id == user_id and not (row["read_at"] and row["read_at"] > last.at):
        read, unread, mentions = max(read, last.sequence), 0, 0
    return ListedRoom(
        public_room_id(row["room_id"]), row["name"], row["topic"], row["kind"], row["archived"], row["head"],
        row["member_count"], row["created_by"], row["created_at"], joined, not joined, row["active_at"], read, unread,
        mentions, row["level"],
        tuple(row["people"] or ()), row["slow_seconds"], last, row["unread_threads"], custom_of(row["custom"]),
    )  # fmt: skip


def _next(row: Any) -> str:
    return f"{moment_text(row['active_at'])}.{public_room_id(row['room_id'])}"


def _place(after: str) -> tuple[datetime, int]:
    at, _, room = after.partition(".")
    if (key := room_key(room)) is None:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    return moment(at), key
