"""A room's log, page by page: for users who may see the room, and for gateways that repair it or resume a client."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.events import ClientEvent
from parley.chat.domain.fields import RoomId
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
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
    """`history`: a page of events before or after a sequence, or the newest."""

    room: RoomId
    before: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50


class HistoryPage(msgspec.Struct, frozen=True):
    """Events, oldest first, and whether there are more in the direction asked for.

    `log` names the history that the sequences belong to. A client that keeps cursors sends it with them.
    """

    events: list[ClientEvent[msgspec.Raw]]
    more: bool
    log: str


def _history(events: str) -> str:
    # The room and its events are of one snapshot. If the room may not be seen, none of its events is looked up.
    return f"""
    SELECT log.incarnation::text, found.head, found.first_sequence, page.* FROM chat.log CROSS JOIN (
      SELECT r.room_id, r.head, r.first_sequence FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1
    ) found LEFT JOIN LATERAL (SELECT * FROM ({events}) counted WHERE size < {MAX_PAGE_BYTES}) page ON true"""


_AFTER = _history(events_between("found.room_id", "$3", LAST, "$4"))
_BEFORE = _history(events_between("found.room_id", FIRST, "$3", "$4", newest_first=True))

_REPLAY = f"""
SELECT asked.ordinal, found.head, page.*
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS asked(key, after, most, ordinal)
CROSS JOIN LATERAL (SELECT head FROM chat.rooms WHERE room_id = asked.key LIMIT 1) found
LEFT JOIN LATERAL (
  SELECT * FROM ({events_between("asked.key", "asked.after", LAST, "asked.most")}) counted WHERE size < $4
) page ON true
"""


async def page(pool: Pool, query: History, identity: Identity) -> HistoryPage:
    """Return a page of the log of a room that the user may see. Raises `Reject`."""
    if query.before is not None and query.after is not None:
        raise Reject(Code.INVALID_PAYLOAD, "history takes before or after, not both.")
    forward = query.after is not None
    edge = query.after if query.after is not None else query.before or int(LAST)
    rows = await pool.fetch(
        _AFTER if forward else _BEFORE, identity.user_id, key_of(query.room), edge, query.limit
    )  # fmt: skip
    if not rows:
        raise no_such_room()
    found = [recorded_row(row) for row in rows if row["sequence"] is not None]
    found.sort(key=lambda event: event.sequence, reverse=not forward)
    events = PageBytes().take(found, at_least_one=True)
    log: str = rows[0]["incarnation"]
    if not events:
        return HistoryPage([], more=False, log=log)
    # Sequences have no gaps, so the last one that was taken tells whether there are more.
    last = found[len(events) - 1].sequence
    if forward:
        return HistoryPage(events, last < rows[0]["head"], log)
    return HistoryPage(events[::-1], last > rows[0]["first_sequence"], log)


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
        _, items = found.setdefault(requests[ordinal - 1], (row["head"], []))
        if row["sequence"] is not None:
            items.append(recorded_row(row).item())
    replayed: dict[Replay, Replayed] = {}
    for request, (head, items) in found.items():
        items.sort(key=lambda item: item.sequence)
        replayed[request] = Replayed(next(split_events(items, MAX_PAGE_BYTES)) if items else [], head)
    return replayed
