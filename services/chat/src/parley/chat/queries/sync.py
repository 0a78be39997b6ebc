"""What a client missed in all of its rooms, in one statement: per room its events, or that it must be loaded anew."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.events import ClientEvent
from parley.chat.domain.fields import RoomId
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.queries.pages import MAX_PAGE_BYTES, SIZE, PageBytes
from parley.chat.queries.visibility import VISIBLE, no_such_room
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MAX_BEHIND

MAX_SYNC_ROOMS = 1000
MAX_SYNC_EVENTS = 1000

# Sequences have no gaps, so how far a room is behind is known before its events are read. The events that rooms before
# it in the answer use up are not read at all.
_SYNC = f"""
WITH behind AS MATERIALIZED (
  SELECT asked.ordinal, asked.key, asked.after, found.head, found.first_sequence,
    CASE WHEN found.head - asked.after BETWEEN 1 AND {MAX_BEHIND} AND asked.after >= found.first_sequence - 1
         THEN found.head - asked.after ELSE 0 END AS missed
  FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS asked(key, after, ordinal)
  CROSS JOIN LATERAL (
    SELECT r.head, r.first_sequence FROM chat.rooms r WHERE r.room_id = asked.key AND {VISIBLE} LIMIT 1
  ) found
), shared AS (
  SELECT *, {MAX_SYNC_EVENTS} - sum(missed) OVER (ORDER BY ordinal) + missed AS most FROM behind
)
SELECT current.incarnation::text, counted.ordinal, counted.head, counted.first_sequence, counted.room_id,
  -- Of a room of which nothing fits any more, its head is told all the same.
  CASE WHEN counted.size < {MAX_PAGE_BYTES} THEN counted.sequence END AS sequence,
  CASE WHEN counted.size < {MAX_PAGE_BYTES} THEN counted.data END AS data,
  number, event_id, type, version, actor_id, actor_name, command_id, fingerprint, recorded_at, hidden
FROM chat.log current LEFT JOIN (
  SELECT *, sum({SIZE}) OVER (ORDER BY e.ordinal, e.sequence) - ({SIZE}) AS size,
    row_number() OVER (PARTITION BY e.ordinal ORDER BY e.sequence) AS place
  FROM (
    SELECT shared.ordinal, shared.head, shared.first_sequence, e.*
    FROM shared LEFT JOIN LATERAL (
      SELECT {EVENT_COLUMNS} FROM chat.events e
      WHERE shared.missed > 0 AND e.room_id = shared.key AND e.sequence > shared.after
      ORDER BY e.sequence LIMIT greatest(0, shared.most)
    ) e ON true
  ) e
) counted ON counted.place = 1 OR counted.size < {MAX_PAGE_BYTES} ORDER BY counted.ordinal, counted.sequence
"""


class Sync(msgspec.Struct, frozen=True):
    """`sync`: the last sequence that the client has, per room, and the `log` that these belong to, as it was told."""

    cursors: Annotated[
        dict[RoomId, Annotated[int, msgspec.Meta(ge=0, lt=2**53)]], msgspec.Meta(max_length=MAX_SYNC_ROOMS)
    ]
    incarnation: Annotated[str, msgspec.Meta(max_length=64)] | None = msgspec.field(default=None, name="log")


class RoomSync(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one room's cursor missed.

    `reset` says to load the room anew, `error` that no such room exists for the user.
    """

    events: list[ClientEvent[msgspec.Raw]] = []
    head: int = 0
    more: bool = False
    reset: bool = False
    error: dict[str, Any] | None = None


class Synced(msgspec.Struct, frozen=True):
    """What was missed, per room, and the log that its sequences belong to, which the next `sync` has to name."""

    rooms: dict[str, RoomSync]
    incarnation: str = msgspec.field(name="log")


async def missed(pool: Pool, query: Sync, identity: Identity) -> Synced:
    """Return for each room the events that its cursor missed, a reset, or `not_found`.

    `more` means to sync again from there.
    """
    rooms = list(query.cursors)
    keys = [room_key(room) for room in rooms]
    rows = await pool.fetch(_SYNC, identity.user_id, keys, list(query.cursors.values()))
    incarnation: str = rows[0]["incarnation"]
    # Sequences of another history say nothing about this one, even where they are smaller than its heads.
    foreign = query.incarnation is not None and query.incarnation != incarnation
    found: dict[str, list[Any]] = {}
    for row in rows:
        ordinal: int | None = row["ordinal"]
        if ordinal is not None:
            found.setdefault(rooms[ordinal - 1], []).append(row)
    answer = {room: RoomSync(error=no_such_room().as_dict()) for room in rooms if room not in found}
    left = PageBytes()
    for room, theirs in found.items():
        answer[room] = _room(theirs, query.cursors[room], left, foreign=foreign)
    return Synced(answer, incarnation)


def _room(rows: list[Any], cursor: int, left: PageBytes, *, foreign: bool) -> RoomSync:
    head: int = rows[0]["head"]
    if foreign or cursor > head or head - cursor > MAX_BEHIND or cursor < rows[0]["first_sequence"] - 1:
        return RoomSync(head=head, reset=True)
    recorded = [recorded_row(row) for row in rows if row["sequence"] is not None]
    # The first room of an answer has at least one event; otherwise a long one would never be sent.
    events = left.take(recorded, at_least_one=left.left == MAX_PAGE_BYTES)
    reached = recorded[len(events) - 1].sequence if events else cursor
    return RoomSync(events, head, more=reached < head)
