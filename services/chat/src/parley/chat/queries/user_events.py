"""What one user wrote, for them to have: the log is looked through room by room, some thousand events at a time.

No index knows events by their author, since that is asked once in years. A page is what was found within a bounded
time; the cursor says where to go on.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from parley.chat.domain.encoding.compact import pack_user
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.queries import kept
from parley.chat.queries.pages import MAX_PAGE_BYTES
from parley.common.errors import Code, Reject
from parley.common.wire.admin import ReadUserEvents, UserEvents

LOOKED_THROUGH = 2_000
"""Events that one statement looks through."""
FOUND = 50
"""Events that one statement returns."""
ROOMS = 200
PAGE_SECONDS = 0.3
"""For how long a page is filled before it is sent with what there is."""

_ROOMS = "SELECT room_id, head FROM chat.rooms WHERE room_id >= $1 ORDER BY room_id LIMIT $2"
_EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS q(room_id, after, up_to)
CROSS JOIN LATERAL (
  SELECT * FROM chat.events
  WHERE room_id = q.room_id AND sequence > q.after AND sequence <= q.up_to AND actor_id = $4 AND version <> 0
) e ORDER BY e.room_id, e.sequence LIMIT $5
"""
_FIRST = -(2**63)


async def page(pool: Pool, question: ReadUserEvents) -> UserEvents:
    """What a user wrote after a cursor, each event as its room's members were sent it. Raises `Reject`."""
    if question.cursor.startswith(f"{kept.CURSOR}:"):
        return await kept.page(pool, question.user, question.cursor)
    room, after = _place(question.cursor)
    events: list[bytes] = []
    left, deadline = MAX_PAGE_BYTES, time.monotonic() + PAGE_SECONDS
    actor = pack_user(question.user)
    while time.monotonic() < deadline:
        slices = await _slices(pool, room, after)
        if not slices:
            # The log has been looked through; what else is kept follows.
            return UserEvents(events, f"{kept.CURSOR}:0:0")
        rows = await pool.fetch(_EVENTS, *(list(column) for column in zip(*slices, strict=True)), actor, FOUND)
        for row in rows:
            recorded = recorded_row(row)
            encoded = msgspec.json.encode(recorded.client_event())
            if events and len(encoded) > left:
                return UserEvents(events, f"{room}:{after}")
            if not recorded.erased:
                events.append(encoded)
                left -= len(encoded)
            room, after = recorded.room_id, recorded.sequence
        if len(rows) < FOUND:
            room, _, after = slices[-1]
    return UserEvents(events, f"{room}:{after}")


async def _slices(pool: Pool, room: int, after: int) -> list[tuple[int, int, int]]:
    """The next parts of rooms' logs, as the room, and the sequences after which and up to which."""
    found: list[tuple[int, int, int]] = []
    left = LOOKED_THROUGH
    rows: list[Any] = await pool.fetch(_ROOMS, room, ROOMS)
    for room_id, head in rows:
        begin = after if room_id == room else 0
        if begin < head:
            found.append((room_id, begin, min(head, begin + left)))
            left -= found[-1][2] - begin
        if not left:
            return found
    if not found and len(rows) == ROOMS:
        # All of these rooms are empty or done with.
        return await _slices(pool, rows[-1][0], rows[-1][1])
    return found


def _place(cursor: str) -> tuple[int, int]:
    if not cursor:
        return _FIRST, 0
    room, _, after = cursor.partition(":")
    try:
        return int(room), int(after)
    except ValueError as error:
        raise Reject(Code.INVALID_PAYLOAD, "This is no cursor.") from error
