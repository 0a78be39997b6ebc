"""The end of the log, for those who follow it in the order of its commits."""

from __future__ import annotations

from typing import NamedTuple

from parley.chat.domain.identifiers import public_room_id
from parley.chat.log.database import Pool
from parley.common.wire.rooms import RoomHead

# What a transaction that is still running will have written has a number of at least the snapshot's xmin, so a reader
# that goes on from there misses nothing. One that runs for hours, such as a backup, keeps that number back; hence the
# time, which is far more than a transaction of ours may take. An index of block ranges (BRIN) knows both.
_TAIL = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS position, log.incarnation::text, moved.*
FROM chat.log LEFT JOIN (
  SELECT room_id, max(sequence) AS head FROM chat.events
  WHERE (transaction_id::text)::bigint >= $1 AND recorded_at > statement_timestamp() - make_interval(secs => $2)
  GROUP BY room_id ORDER BY max(recorded_at) DESC LIMIT $3
) moved ON true
"""


class Tail(NamedTuple):
    """Rooms with events since a position, the latest first; the position of now, and of which log it is."""

    heads: list[RoomHead]
    position: int
    log: str


async def since(pool: Pool, position: int, seconds: float, limit: int) -> Tail:
    """The heads of at most `limit` rooms that have events since a position and in the last seconds."""
    rows = await pool.fetch(_TAIL, position, seconds, limit)
    heads = [RoomHead(public_room_id(row["room_id"]), row["head"]) for row in rows if row["room_id"] is not None]
    return Tail(heads, rows[0]["position"], rows[0]["incarnation"])
