"""Folds rooms from the log and compares them with what is stored, some rooms at a time, while everybody works.

Events and projections are written in one transaction, so in one snapshot they agree exactly, and nothing is locked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from typing import Any, NamedTuple

from parley.chat.domain.encoding.room_ids import FIRST_ROOM, LAST_ROOM
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.domain.projectors import FOLDED, PROJECTORS, Difference, FoldedRoom, Projector, Row, compare, fold
from parley.chat.log.event_store import stored_row
from parley.chat.log.statements import EVENT_COLUMNS

ROOMS_AT_ONCE = 200


def _distinct(table: str) -> str:
    # One step down the index per room, however many rows the room has (a loose index scan, which Postgres has no plan
    # for).
    return f"""(SELECT room_id FROM (
      WITH RECURSIVE each AS (
        (SELECT room_id FROM chat.{table} WHERE room_id >= $1 ORDER BY room_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.room_id FROM chat.{table} t WHERE t.room_id > each.room_id ORDER BY t.room_id LIMIT 1)
        FROM each WHERE each.room_id IS NOT NULL
      ) SELECT room_id FROM each LIMIT $2 + 1
    ) found WHERE room_id IS NOT NULL)"""


_ROOMS = f"""
SELECT room_id FROM (
  {_distinct("events")} UNION {" UNION ".join(_distinct(name) for name in PROJECTORS if name != "rooms")}
  UNION (SELECT room_id FROM chat.rooms WHERE room_id >= $1 ORDER BY room_id LIMIT $2)
) found ORDER BY room_id LIMIT $2
"""
_ENDS = """
SELECT q.room_id, last.sequence, last.number, first.sequence AS first
FROM unnest($1::bigint[]) AS q(room_id)
CROSS JOIN LATERAL (
  SELECT sequence, number FROM chat.events WHERE room_id = q.room_id ORDER BY sequence DESC LIMIT 1
) last
CROSS JOIN LATERAL (SELECT sequence FROM chat.events WHERE room_id = q.room_id ORDER BY sequence LIMIT 1) first
"""
_EVENTS = f"""
SELECT e.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, after) CROSS JOIN LATERAL (
  SELECT {EVENT_COLUMNS} FROM chat.events e
  WHERE e.room_id = q.room_id AND e.sequence > q.after AND (
    e.type = ANY($3::smallint[]) OR (e.type = {MessageSent.NUMBER} AND e.data -> 'thread' IS NOT NULL)
  ) ORDER BY e.sequence
) e
"""
SETTINGS = {
    "application_name": "parley rebuild",
    "lock_timeout": "5000",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Settings of a connection for this: each room is found by its key, whatever is believed of the sizes of the tables."""


class RoomReplay(NamedTuple):
    """One room: what its events lead to (None if it has none), and how the tables differ from that."""

    room_id: int
    folded: FoldedRoom | None
    differences: list[Difference]


async def replay(connection: Any, projectors: Collection[Projector]) -> AsyncIterator[list[RoomReplay]]:
    """Yield all rooms in the order of their keys, some at a time, each as of one moment."""
    first = FIRST_ROOM
    while True:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rooms = [row["room_id"] for row in await connection.fetch(_ROOMS, first, ROOMS_AT_ONCE)]
            if not rooms:
                return
            folded = await fold_rooms(connection, dict.fromkeys(rooms))
            stored = {projector.name: await _stored(connection, projector, rooms) for projector in projectors}
        yield [
            RoomReplay(room_id, folded[room_id], [
                difference
                for projector in projectors
                for difference in compare(projector, folded[room_id], stored[projector.name][room_id])
            ])
            for room_id in rooms
        ]  # fmt: skip
        if len(rooms) < ROOMS_AT_ONCE or rooms[-1] == LAST_ROOM:
            return
        first = rooms[-1] + 1


async def fold_rooms(connection: Any, known: dict[int, FoldedRoom | None]) -> dict[int, FoldedRoom | None]:
    """Bring rooms up to what their events say by now. None stands for a room of which nothing is known yet."""
    folded = dict(known)
    places = [(room_id, one.room.head if one else 0) for room_id, one in folded.items()]
    async for row in connection.cursor(_EVENTS, *zip(*places, strict=True), FOLDED, prefetch=1000):
        recorded = stored_row(row)
        folded[recorded.room_id] = fold(folded[recorded.room_id], recorded)
    for room_id, *ends in await connection.fetch(_ENDS, list(folded)):
        if (one := folded[room_id]) is not None:
            one.follow(*ends)
    return folded


async def _stored(connection: Any, projector: Projector, rooms: list[int]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    statement = f"SELECT {', '.join(projector.columns)} FROM chat.{projector.name} WHERE room_id = ANY($1::bigint[])"
    async for row in connection.cursor(statement, rooms, prefetch=1000):
        found[row["room_id"]].append(tuple(row.values()))
    return found
