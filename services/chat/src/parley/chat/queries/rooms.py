"""Rooms as users and administrators see them: one room, lists of rooms, and rooms' heads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from parley.chat.domain.custom_data import KeptCustom, custom_of
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.events import Instant
from parley.chat.domain.fields import Kind, RoomKind
from parley.chat.domain.state import Room
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import unless_erasing
from parley.chat.queries.visibility import EXISTING, VISIBLE, key_of, no_such_room
from parley.common.wire.admin import ListRooms, RoomInfo, RoomList
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import RoomHead

_MAKER = f"{unless_erasing('r.created_by')} AS created_by"
PEOPLE = f"""CASE WHEN r.kind = 'direct' THEN ARRAY(
  SELECT user_id FROM chat.participants p WHERE p.room_id = r.room_id AND {unless_erasing("p.user_id")} <> ''
  ORDER BY user_id
) END"""
UNBLOCKED = """(
  SELECT true FROM chat.blocks WHERE user_id = own.user_id AND blocked_id = own.invited_by LIMIT 1
) IS NULL"""
"""Whether the membership `own` is not an invitation of somebody whom its user has blocked. Such a one is not shown."""
_COLUMNS = f"""r.room_id, r.name, r.kind, r.archived, r.head, r.member_count, {_MAKER}, r.created_at, r.topic,
r.slow_seconds, r.custom, {PEOPLE} AS people"""

_ROOM = f"""
SELECT {_COLUMNS}, m.state FROM chat.rooms r
LEFT JOIN chat.members m ON m.room_id = r.room_id AND m.user_id = $1
WHERE r.room_id = $2 AND (r.kind = 'public' OR m.user_id IS NOT NULL) AND {EXISTING}
"""

_FIRST = f"(r.created_at, r.room_id) < ($2::timestamptz, $3::bigint) AND {EXISTING}"
_ORDER = "ORDER BY created_at DESC, room_id DESC LIMIT $1"


WALKED = 15_000
"""Rooms among which a name is searched for one by one, the newest first."""
INDEXED_LENGTH = 3
"""Characters of a folded name that the index knows as one piece. A shorter text has no row by the index."""


def _newest(kinds: str) -> str:
    return f"""(
      SELECT * FROM chat.rooms r WHERE {kinds} AND {_FIRST} ORDER BY created_at DESC, room_id DESC LIMIT {WALKED}
    )"""


def _indexed(but: Kind, search: str) -> str:
    # The index finds names that have every three characters of the text; some of them have the text as a whole.
    # OFFSET 0 keeps the planner from merging this with the conditions around it, which would make it walk through all
    # rooms in their order instead. So would `kind = `, of which a table without statistics seems to have few rows.
    return f"""(
      SELECT * FROM chat.rooms r WHERE kind <> '{but}' AND chat.name_parts(r.name) @> chat.name_parts({search}) OFFSET 0
    )"""


def _named(search: str) -> str:
    # Names are folded as texts are in a search for messages. The text is folded in a subquery, so once, and not for
    # each name; one of which nothing is left finds nothing.
    return f"AND strpos(chat.folded(r.name), (SELECT nullif(chat.folded({search}), ''))) > 0"


def _long(search: str) -> str:
    return f"AND length(chat.folded({search})) >= {INDEXED_LENGTH} {_named(search)}"


def _visible(rooms: str, named: str) -> str:
    # Public rooms by their index, and the user's own private ones by their memberships. Each part returns one page at
    # most, so that neither is read to its end.
    return f"""
    SELECT page.*, m.state FROM (
      (SELECT {_COLUMNS} FROM {rooms} r WHERE r.kind = 'public' AND {_FIRST} {named} {_ORDER})
      UNION ALL
      (SELECT {_COLUMNS} FROM chat.members own
       CROSS JOIN LATERAL (SELECT * FROM chat.rooms WHERE room_id = own.room_id LIMIT 1) r
       WHERE own.user_id = $4 AND {UNBLOCKED} AND r.kind <> 'public' AND {_FIRST} {named} {_ORDER})
      {_ORDER}
    ) page LEFT JOIN LATERAL (
      SELECT state FROM chat.members WHERE room_id = page.room_id AND user_id = $4 LIMIT 1
    ) m ON true ORDER BY page.created_at DESC, page.room_id DESC"""


def _all(rooms: str, named: str) -> str:
    return f"SELECT {_COLUMNS} FROM {rooms} r WHERE {_FIRST} {named} {_ORDER}"


_VISIBLE_ROOMS = _visible("chat.rooms", "")
# A text that many names have fills a page soon on the way through the newest rooms; one that few names have is found
# quickly by the index. No planner knows which it is, so one is tried after the other.
_VISIBLE_NAMED_NEWEST = _visible(_newest("r.kind = 'public'"), _named("$5"))
_VISIBLE_NAMED = _visible(_indexed("private", "$5"), _long("$5"))
_ALL = _all("chat.rooms", "")
_ALL_NAMED_NEWEST = _all(_newest("true"), _named("$4"))
_ALL_NAMED = _all(f"({_indexed('private', '$4')} UNION ALL {_indexed('public', '$4')})", _long("$4"))
_BY_ID = f"SELECT {_COLUMNS} FROM chat.rooms r WHERE r.room_id = $1 AND {EXISTING}"
_VISIBLE_PLACE = f"SELECT r.created_at, r.room_id FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}"
_PLACE = "SELECT created_at, room_id FROM chat.rooms WHERE room_id = $1"
_HEADS = """
SELECT r.* FROM unnest($1::bigint[]) AS asked(room_id)
CROSS JOIN LATERAL (SELECT room_id, head FROM chat.rooms WHERE room_id = asked.room_id LIMIT 1) r
"""


_NEWEST = (datetime(9999, 1, 1, tzinfo=UTC), 0)
"""A place in the list before all rooms."""
MAX_PAGE = 500


class RoomView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A room as a user sees it. `users` are the people of a direct room, `custom` is the application's own data."""

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
    slow_seconds: int = 0
    users: list[str] | None = None
    custom: KeptCustom | None = None


def room_view(room: Room, user_id: str) -> RoomView:
    """Return a decided room as one user sees it."""
    member = room.members.get(user_id)
    return RoomView(
        room.id, room.name, room.topic, room.kind, room.archived, room.head, room.member_count, room.created_by,
        room.created_at, bool(member and member.joined), bool(member and not member.joined), room.slow_seconds,
        sorted(room.participants) if room.kind == "direct" else None, custom_of(room.custom),
    )  # fmt: skip


async def one(pool: Pool, room: str, identity: Identity) -> RoomView:
    """Return a visible room. Raises `Reject(not_found)` if it does not exist or the user may not see it."""
    row = await pool.fetchrow(_ROOM, identity.user_id, key_of(room))
    if row is None:
        raise no_such_room()
    return _view(row)


async def page(
    pool: Pool, identity: Identity, search: str, before: str, limit: int
) -> tuple[list[RoomView], bool]:  # fmt: skip
    """Return rooms that the user may see, newest first, after the room with id `before`, and whether there are more.

    Raises `Reject(not_found)` if `before` does not exist for the user: an empty page would mean that the list has
    ended.
    """
    place = await _place(pool, _VISIBLE_PLACE, identity.user_id, key_of(before)) if before else _NEWEST
    common = (limit + 1, *place, identity.user_id)
    if search:
        rows = await _search(pool, _VISIBLE_NAMED_NEWEST, _VISIBLE_NAMED, *common, search)
    else:
        rows = await pool.fetch(_VISIBLE_ROOMS, *common)
    return [_view(row) for row in rows[:limit]], len(rows) > limit


async def page_of_all(pool: Pool, request: ListRooms) -> RoomList:
    """Return all rooms, newest first, for administrators.

    Raises `Reject(not_found)` for a `before` that does not exist.
    """
    limit = max(1, min(request.limit, MAX_PAGE))
    if (key := room_key(request.search)) is not None:
        return RoomList([_info(row) for row in await pool.fetch(_BY_ID, key)], more=False)
    place = await _place(pool, _PLACE, key_of(request.before)) if request.before else _NEWEST
    if search := request.search:
        rows = await _search(pool, _ALL_NAMED_NEWEST, _ALL_NAMED, limit + 1, *place, search)
    else:
        rows = await pool.fetch(_ALL, limit + 1, *place)
    return RoomList([_info(row) for row in rows[:limit]], len(rows) > limit)


async def _search(pool: Pool, newest: str, indexed: str, *arguments: Any) -> list[Any]:
    """Search for rooms by their names: among the newest first, then by the index if the text is long enough for it."""
    rows = await pool.fetch(newest, *arguments)
    if len(rows) < arguments[0]:
        # It finds all that the first found and more, or nothing.
        return await pool.fetch(indexed, *arguments) or rows
    return rows


async def _place(pool: Pool, statement: str, *arguments: Any) -> tuple[datetime, int]:
    row = await pool.fetchrow(statement, *arguments)
    if row is None:
        raise no_such_room()
    return row["created_at"], row["room_id"]


async def heads(pool: Pool, rooms: list[str]) -> list[RoomHead]:
    """Return the heads of these rooms, without rooms that do not exist."""
    keys = [key for room in rooms if (key := room_key(room)) is not None]
    return [RoomHead(public_room_id(row["room_id"]), row["head"]) for row in await pool.fetch(_HEADS, keys)]


def _info(row: Any) -> RoomInfo:
    return RoomInfo(public_room_id(row["room_id"]), *list(row.values())[1:8])


def _view(row: Any) -> RoomView:
    return RoomView(
        public_room_id(row["room_id"]), row["name"], row["topic"], row["kind"], row["archived"], row["head"],
        row["member_count"], row["created_by"], row["created_at"], row["state"] == "joined", row["state"] == "invited",
        row["slow_seconds"], row["people"], custom_of(row["custom"]),
    )  # fmt: skip
