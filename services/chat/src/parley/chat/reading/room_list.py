"""All rooms of a user with everything that a list of them shows, the most active first, in one statement.

No index has the time of a room's last message, since each message would have to write it. Instead, the last events of
all of the user's rooms are looked up by their keys, which a user with a thousand rooms hardly notices, and everything
else only for the rooms of the page. Mentions are counted only where something is unread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from parley.chat.domain.custom_data import KeptCustom, check_custom, custom_of, custom_text
from parley.chat.domain.encoding.compact import pack_user, unpack
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.events import Instant, NamedUser
from parley.chat.domain.fields import RoomKind
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.rooms import Custom
from parley.chat.log.database import Pool, reachable
from parley.chat.log.erasure.erasures import HIDDEN, unless_erasing
from parley.chat.queries.current import EDIT, PRESENT_BODY
from parley.chat.queries.pages import how_many_fit, moment, moment_text
from parley.chat.queries.rooms import PEOPLE
from parley.chat.queries.visibility import EXISTING
from parley.chat.reading.read_store import number_at, unread_mentions
from parley.chat.reading.thread_store import any_unread_thread
from parley.framework import Code, Identity, Reject

MAX_LISTED = 1000
MAX_FILTER = 1024
"""Bytes of what rooms are asked for by, as JSON."""
LOOKED_AT = 50
"""Events at the end of a room among which its last message is looked for."""
PREVIEW = 200
"""Characters of the last message."""

LISTED = f"{EXISTING} AND NOT (r.kind = 'direct' AND r.messages = 0)"
"""Whether the room `r` is listed to who is in it: a direct room is from its first message on."""

_SENT = MessageSent.NUMBER


# The last event mostly is a message, and looking it up takes half as long as looking for the last message.
def last_message(room: str, head: str, wanted: str = "true") -> str:
    """Return SQL that joins a room's last event, as `newest`, and its last message before that one, as `earlier`.

    The latter is only looked up if the last event is no message; neither is where `wanted` is false.
    """
    return f"""LEFT JOIN LATERAL (
    SELECT type, sequence, recorded_at, actor_id, version FROM chat.events
    WHERE {wanted} AND room_id = {room} AND sequence = {head} LIMIT 1
  ) newest ON true LEFT JOIN LATERAL (
    SELECT sequence, recorded_at, actor_id, version FROM chat.events
    WHERE newest.type <> {_SENT} AND room_id = {room} AND sequence > {head} - {LOOKED_AT} AND type = {_SENT}
    ORDER BY sequence DESC LIMIT 1
  ) earlier ON true"""


def of_last(column: str) -> str:
    """Return SQL for a column of the last message that `last_message` joined."""
    return f"CASE WHEN newest.type = {_SENT} THEN newest.{column} ELSE earlier.{column} END"


def read_by_sending(actor: str, version: str, sent_at: str, packed: str, read_at: str) -> str:
    """Return SQL for whether a room is read by its last message, which is that of the user with this packed id.

    This holds also before it is stored, unless the user set their cursor back since.
    """
    return f"coalesce({actor} = {packed} AND {version} <> 0 AND coalesce({read_at} <= {sent_at}, true), false)"


# No index: of all rooms only those of the user are looked at anyway, a thousand at most. What is no JSON is never cast.
_WANTED = (
    """CASE WHEN $6::jsonb IS NULL THEN true WHEN r.custom = '' THEN false ELSE r.custom::jsonb @> $6::jsonb END"""
)
# An invitation by somebody whom the user has blocked is not shown. Who invited is not in the index by users, so it is
# looked up for invitations alone.
_MINE = """
  SELECT room_id, state, sequence AS joined FROM chat.members own
  WHERE user_id = $1 AND CASE WHEN state = 'joined' THEN true ELSE (
    SELECT true FROM chat.members asked CROSS JOIN LATERAL (
      SELECT FROM chat.blocks WHERE user_id = $1 AND blocked_id = asked.invited_by LIMIT 1
    ) blocked WHERE asked.room_id = own.room_id AND asked.user_id = $1 LIMIT 1
  ) IS NULL END"""
_READ_BY_SENDING = read_by_sending("e.actor_id", "e.version", "e.recorded_at", "$5", "rd.read_at")
_ROOM_LIST = f"""
WITH mine AS MATERIALIZED ({_MINE}
), active AS MATERIALIZED (
  SELECT mine.*, {of_last("sequence")} AS last, coalesce({of_last("recorded_at")}, newest.recorded_at) AS active_at
  FROM mine CROSS JOIN LATERAL (
    SELECT head FROM chat.rooms r WHERE r.room_id = mine.room_id AND {LISTED} AND {_WANTED} LIMIT 1
  ) r {last_message("mine.room_id", "r.head")}
), page AS MATERIALIZED (
  SELECT * FROM active WHERE (active_at, room_id) < ($2::timestamptz, $3::bigint)
  ORDER BY active_at DESC, room_id DESC LIMIT $4
), counted AS MATERIALIZED (
  SELECT page.*, r.*, e.*, coalesce(rd.sequence, page.joined) AS cursor, {_READ_BY_SENDING} AS sent,
    CASE WHEN page.state <> 'joined' OR {_READ_BY_SENDING} THEN 0
    ELSE greatest(0, messages - coalesce(rd.number, {number_at("page.room_id", "page.joined")}, 0)) END AS unread
  FROM page CROSS JOIN LATERAL (
    SELECT name, topic, kind, archived, head, messages, member_count, {unless_erasing("r.created_by")} AS created_by,
      created_at, slow_seconds, custom, {PEOPLE} AS people
    FROM chat.rooms r WHERE r.room_id = page.room_id LIMIT 1
  ) r LEFT JOIN LATERAL (
    SELECT sequence, number, read_at FROM chat.reads
    WHERE room_id = page.room_id AND user_id = $1 AND sequence >= page.joined LIMIT 1
  ) rd ON true LEFT JOIN LATERAL (
    SELECT e.number AS last_number, e.recorded_at, e.actor_id, e.actor_name, e.version, {HIDDEN} AS hidden,
      left({PRESENT_BODY}, {PREVIEW}) AS text
    FROM chat.events e {EDIT} WHERE e.room_id = page.room_id AND e.sequence = page.last LIMIT 1
  ) e ON true
)
SELECT room_id, state, active_at, name, topic, kind, archived, head, member_count, created_by, created_at, slow_seconds,
  custom, people, last, last_number, actor_id, actor_name, version = 0 OR hidden AS gone, text, unread,
  CASE WHEN sent THEN greatest(cursor, last) ELSE cursor END AS read,
  CASE WHEN unread = 0 THEN 0 ELSE {unread_mentions("counted.room_id", "$1", "counted.cursor")} END AS mentions,
  (SELECT level FROM chat.levels WHERE room_id = counted.room_id AND user_id = $1 LIMIT 1) AS level,
  state = 'joined' AND {any_unread_thread("counted.room_id", "$1", "$5", "counted.joined")} AS unread_threads
FROM counted ORDER BY active_at DESC, room_id DESC
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
    custom: KeptCustom | None = None


class RoomListPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of rooms. If there are more, `next` is what the next page is asked for with."""

    rooms: list[ListedRoom]
    more: bool
    next: str = ""


async def room_list(pool: Pool, identity: Identity, asked: ListMyRooms) -> RoomListPage:
    """Return a page of the rooms that a user is in or invited to, as many as fit one answer.

    Raises `Reject` for an `after` that nobody said, and for `custom` that no room can have.
    """
    place = _place(asked.after) if asked.after else _TOP
    check_custom(asked.custom or {}, MAX_FILTER, "What rooms are asked for by")
    user_id, wanted = identity.user_id, custom_text(asked.custom) or None
    with reachable():
        rows = await pool.fetch(_ROOM_LIST, user_id, *place, asked.limit + 1, pack_user(user_id), wanted)
    rooms = [_listed(row) for row in rows[: asked.limit]]
    rooms = rooms[: how_many_fit(rooms)]
    more = len(rows) > len(rooms)
    return RoomListPage(rooms, more, _next(rows[len(rooms) - 1]) if more else "")


def _listed(row: Any) -> ListedRoom:
    joined, at, last = row["state"] == "joined", row["active_at"], None
    if row["last"] is not None:
        gone = row["gone"]
        actor = NamedUser("") if gone else NamedUser(unpack(row["actor_id"]), row["actor_name"] or None)
        last = LastMessage(row["last"], row["last_number"], at, actor, "" if gone else row["text"] or "", gone)
    return ListedRoom(
        public_room_id(row["room_id"]), row["name"], row["topic"], row["kind"], row["archived"], row["head"],
        row["member_count"], row["created_by"], row["created_at"], joined, not joined, at, row["read"], row["unread"],
        row["mentions"], row["level"] or "", tuple(row["people"] or ()), row["slow_seconds"], last,
        row["unread_threads"], custom_of(row["custom"]),
    )  # fmt: skip


def _next(row: Any) -> str:
    return f"{moment_text(row['active_at'])}.{public_room_id(row['room_id'])}"


def _place(after: str) -> tuple[datetime, int]:
    at, _, room = after.partition(".")
    if (key := room_key(room)) is None:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    return moment(at), key
