"""A room's messages page by page, for users who may see the room, and its log, for them and for gateways."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.events import ClientEvent, Instant
from parley.chat.domain.fields import MessageSequence, RoomId
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.queries.current import LOOKED_THROUGH, current_event, current_events, replies_between, shown_between
from parley.chat.queries.pages import FIRST, LAST, MAX_PAGE_BYTES, PageBytes, events_between
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Replay, Replayed
from parley.framework.remote.room_publisher import split_events

MAX_PAGE = 200
MAX_REPLAY = 500
"""Events of one room that a gateway is given at once."""
MAX_REPLAYS = 100
"""Rooms that one statement replays."""
MAX_REPLAY_BYTES = 8 * 1024 * 1024
"""Bytes that such a statement returns at most, shared by its rooms. Each room's share is at least one event."""


class History(msgspec.Struct, frozen=True):
    """`history`: a page of a room's messages as they are now, with who came and went: the newest, or those at a place.

    `before`, `after` and `around` name a sequence, `at` a moment around which the page is. `thread` asks for the
    replies to one message instead. With `raw`, the page is of the log itself: every event, as it was appended.
    """

    room: RoomId
    before: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50
    around: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    at: Instant | None = None
    thread: MessageSequence | None = None
    raw: bool = False


class HistoryPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events, oldest first, and whether there are more in the direction asked for.

    `log` names the history that the sequences belong to. A client that keeps cursors sends it with them. The page is as
    of `head`. `before` and `after` are where to go on, where there is more.
    """

    events: list[ClientEvent[msgspec.Raw]]
    more: bool
    incarnation: str = msgspec.field(name="log")
    head: int = 0
    before: int | None = None
    after: int | None = None


def _raw_history(events: str) -> str:
    # The room and its events are of one snapshot. If the room may not be seen, none of its events is looked up.
    return f"""
    SELECT log.incarnation::text, found.head, found.first_sequence, page.* FROM chat.log CROSS JOIN (
      SELECT r.room_id, r.head, r.first_sequence FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1
    ) found LEFT JOIN LATERAL (SELECT * FROM ({events}) counted WHERE size < {MAX_PAGE_BYTES}) page ON true"""


_RAW_AFTER = _raw_history(events_between("found.room_id", "$3", LAST, "$4"))
_RAW_BEFORE = _raw_history(events_between("found.room_id", FIRST, "$3", "$4", newest_first=True))

_REPLAY = f"""
SELECT asked.ordinal, found.head, page.*
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS asked(key, after, most, ordinal)
CROSS JOIN LATERAL (SELECT head FROM chat.rooms WHERE room_id = asked.key LIMIT 1) found
LEFT JOIN LATERAL (
  SELECT * FROM ({events_between("asked.key", "asked.after", LAST, "asked.most")}) counted WHERE size < $4
) page ON true
"""


_AFTER = current_events(shown_between("$3", LAST, "$4"))
_BEFORE = current_events(shown_between(FIRST, "$3", "$4", newest_first=True), newest_first=True)
_REPLIES_AFTER = current_events(replies_between("$5", "$3", LAST, "$4"))
_REPLIES_BEFORE = current_events(replies_between("$5", FIRST, "$3", "$4", newest_first=True), newest_first=True)

# A room's events are recorded in their order, so the first one at a moment or after it is found in some twenty steps.
_AT = f"""
WITH RECURSIVE search AS (
  SELECT r.room_id, r.first_sequence AS low, r.head + 1 AS high FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}
  UNION ALL
  SELECT s.room_id, CASE WHEN e.recorded_at < $3 THEN e.sequence + 1 ELSE s.low END,
    CASE WHEN e.recorded_at < $3 THEN s.high ELSE e.sequence END
  FROM search s CROSS JOIN LATERAL (
    SELECT sequence, recorded_at FROM chat.events
    WHERE room_id = s.room_id AND sequence = (s.low + s.high) / 2 AND s.low < s.high LIMIT 1
  ) e
)
SELECT max(low) FROM search
"""


_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Before everything. In UTC, earlier moments may be of no year that Postgres is told by Python."""
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class _Place(NamedTuple):
    """Where a page is: up to `edge` or from it on, without itself."""

    edge: int
    forward: bool


async def page(pool: Pool, query: History, identity: Identity) -> HistoryPage:
    """Return a page of the messages, or of the log, of a room that the user may see. Raises `Reject`."""
    places = [query.before, query.after, query.around, query.at]
    if sum(one is not None for one in places) > 1:
        raise Reject(Code.INVALID_PAYLOAD, "history takes one of before, after, around and at.")
    if query.around is not None or query.at is not None:
        if query.raw:
            raise Reject(Code.INVALID_PAYLOAD, "The log itself is read by before or after.")
        return await _around(pool, query, identity)
    place = _Place(query.after, True) if query.after is not None else _Place(query.before or int(LAST), False)
    if query.raw:
        if query.thread is not None:
            raise Reject(Code.INVALID_PAYLOAD, "The replies of a thread are read as they are now.")
        return await _raw_page(pool, query, place, identity)
    return await _current_page(pool, query, place, query.limit, identity)


async def _around(pool: Pool, query: History, identity: Identity) -> HistoryPage:
    """Return a page around a sequence or a moment: half of it before, the rest from there on, of one snapshot."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        middle = query.around
        if middle is None:
            moment = _EARLIEST if query.at is None else min(max(query.at, _EARLIEST), _LATEST)
            middle = await connection.fetchval(_AT, identity.user_id, key_of(query.room), moment) or 1
        half, size = query.limit // 2, MAX_PAGE_BYTES // 2
        older = await _current_page(connection, query, _Place(middle, False), max(half, 1), identity, size)
        newer = await _current_page(connection, query, _Place(middle - 1, True), query.limit - half, identity, size)
    return HistoryPage(
        (older.events if half else []) + newer.events,
        older.more or newer.more or (not half and bool(older.events)),
        newer.incarnation, newer.head, older.before if half else middle, newer.after,
    )  # fmt: skip


async def _current_page(
    reader: Any, query: History, place: _Place, limit: int, identity: Identity, size: int = MAX_PAGE_BYTES
) -> HistoryPage:
    edge, forward = place
    asked = [identity.user_id, key_of(query.room), edge, limit]
    if query.thread is None:
        rows = await reader.fetch(_AFTER if forward else _BEFORE, *asked)
    else:
        rows = await reader.fetch(_REPLIES_AFTER if forward else _REPLIES_BEFORE, *asked, query.thread)
    if not rows:
        raise no_such_room()
    head, first = rows[0]["head"], rows[0]["first_sequence"]
    found = [row for row in rows if row["sequence"] is not None]
    found.sort(key=lambda row: row["sequence"], reverse=not forward)
    events = PageBytes(size).take_shown(map(current_event, found[:limit]), at_least_one=True)
    more = len(events) < len(found) or any(row["cut"] for row in found[-1:])
    reached = found[len(events) - 1]["sequence"] if events else edge
    if not more and query.thread is None:
        # All that was found is on the page. It may have been looked for among a part of the events alone.
        looked = min(edge + LOOKED_THROUGH, head) if forward else min(edge, head + 1) - LOOKED_THROUGH
        more = looked < head if forward else looked > first
        reached = looked
    if forward:
        return HistoryPage(events, more, rows[0]["incarnation"], head, None, reached if more else None)
    return HistoryPage(events[::-1], more, rows[0]["incarnation"], head, reached if more else None, None)


async def _raw_page(pool: Pool, query: History, place: _Place, identity: Identity) -> HistoryPage:
    edge, forward = place
    rows = await pool.fetch(
        _RAW_AFTER if forward else _RAW_BEFORE, identity.user_id, key_of(query.room), edge, query.limit
    )  # fmt: skip
    if not rows:
        raise no_such_room()
    found = [recorded_row(row) for row in rows if row["sequence"] is not None]
    found.sort(key=lambda event: event.sequence, reverse=not forward)
    events = PageBytes().take(found, at_least_one=True)
    incarnation, head = rows[0]["incarnation"], rows[0]["head"]
    if not events:
        return HistoryPage([], False, incarnation, head)
    # Sequences have no gaps, so the last one that was taken tells whether there are more.
    last = found[len(events) - 1].sequence
    if forward:
        return HistoryPage(events, last < head, incarnation, head, None, last if last < head else None)
    more = last > rows[0]["first_sequence"]
    return HistoryPage(events[::-1], more, incarnation, head, last if more else None)


async def replay(pool: Pool, requests: list[Replay]) -> dict[Replay, Replayed]:
    """Return for each request a room's events after a sequence, as many as fit one message, and the room's head.

    It is one statement for all requests, so that a client that comes back to a thousand rooms causes few of them. Rooms
    that do not exist are left out.
    """
    rows = await pool.fetch(
        _REPLAY,
        [room_key(request.room) for request in requests],
        [request.after for request in requests],
        [min(request.limit, MAX_REPLAY) for request in requests],
        min(MAX_PAGE_BYTES, MAX_REPLAY_BYTES // len(requests)),
    )
    found: dict[Replay, tuple[int, list[Any]]] = {}
    for row in rows:
        ordinal: int = row["ordinal"]
        _, room_events = found.setdefault(requests[ordinal - 1], (row["head"], []))
        if row["sequence"] is not None:
            room_events.append(recorded_row(row).room_event())
    replayed: dict[Replay, Replayed] = {}
    for request, (head, room_events) in found.items():
        room_events.sort(key=lambda room_event: room_event.sequence)
        replayed[request] = Replayed(next(split_events(room_events, MAX_PAGE_BYTES)) if room_events else [], head)
    return replayed
