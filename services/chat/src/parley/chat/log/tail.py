"""Reads the log in the order of its commits, from a position on, one page at a time.

The announcer, the consumers and `parley consumers` read through here. A block range index (BRIN) finds the
transactions: it costs an event next to nothing, while an event has no order except that within its room. Everything
that is visible and was not read is found, however late its transaction committed.

Within a room, events are read in the order of their sequences. Where the transactions stand in another order and a page
ends between two of them, the earlier events are added to this page, and read again later.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from prometheus_client import Gauge

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.log.database import session_settings
from parley.chat.log.event_store import recorded_row
from parley.chat.log.position import Place, Position, Snapshot, Stride
from parley.chat.log.statements import EVENT_COLUMNS

LAG = Gauge(
    "parley_chat_consumer_lag_seconds",
    "Age of the oldest event that a follower of the log has still to deal with; only by the process that does it",
    ["consumer"],
)
MAX_EVENTS = 20_000
"""Events of a page of heads. Only their rooms and sequences are read."""
MAX_PAGE_BYTES = 512 * 1024
"""A page of events ends after so many bytes, to fit one message of NATS."""

ANNOUNCEMENTS = "announcements"
"""The name under which chat itself follows the log, to announce what it has."""
IDLE_SECONDS = 1.5
"""Seconds after which Postgres ends a silent session and frees its locks, because its process stands still or is cut
off."""
SETTINGS = session_settings("parley-chat tail", lock=0.1, idle=IDLE_SECONDS) | {
    "idle_session_timeout": str(round(IDLE_SECONDS * 1000)),
    # One plan per statement, by bitmap scans: only these use BRIN indexes, whatever is believed of the table's size.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
}

# The casts are those of the index `events_tail_idx`; without them it is not used. The order is by the column itself, so
# that events of one transaction stand together. What is left of a transaction that was read in part comes first: a
# position can be within one transaction only, and an older one may have committed since.
_UNREAD = """
  FROM chat.events e
  WHERE ((e.transaction_id::text)::bigint = ANY($1::bigint[])
         OR ((e.transaction_id::text)::bigint >= $2 AND (e.transaction_id::text)::bigint < $3))
    AND (e.transaction_id <> $4 OR (e.room_id, e.sequence) > ($5::bigint, $6::bigint))
  ORDER BY e.transaction_id <> $4, e.transaction_id, e.room_id, e.sequence LIMIT $7
"""
_LOG = "pg_current_snapshot()::text AS snapshot, l.incarnation::text, l.mended, l.transaction_offset"

# MATERIALIZED keeps the planner from running the page's scan once for each of the three subqueries that read it.
_HEADS = f"""
WITH page AS MATERIALIZED (
  SELECT e.transaction_id, e.room_id, e.sequence, e.type, e.recorded_at {_UNREAD}
)
SELECT {_LOG}, found.*, last.*, heads.* FROM chat.log l
CROSS JOIN (
  SELECT count(*) AS size, extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 AS age,
    array_agg(room_id) FILTER (WHERE type = ANY($8::smallint[])) AS moved_rooms,
    array_agg(sequence) FILTER (WHERE type = ANY($8::smallint[])) AS moved_sequences FROM page
) found
LEFT JOIN LATERAL (
  SELECT transaction_id, room_id, sequence FROM page
  ORDER BY page.transaction_id <> $4 DESC, page.transaction_id DESC, page.room_id DESC, page.sequence DESC
  LIMIT 1
) last ON true
CROSS JOIN (
  SELECT array_agg(room_id) AS rooms, array_agg(head) AS heads
  FROM (SELECT room_id, max(sequence) AS head FROM page GROUP BY room_id) moved
) heads
"""

_NAMED = f"""
SELECT e.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, sequence) CROSS JOIN LATERAL (
  SELECT {EVENT_COLUMNS} FROM chat.events e WHERE e.room_id = q.room_id AND e.sequence = q.sequence LIMIT 1
) e ORDER BY e.room_id, e.sequence
"""

_SIZE = "octet_length(e.data::text) + octet_length(e.actor_name) + 300"


class WantedEvents(NamedTuple):
    """SQL for which events of a page are wanted.

    It is about `page`, which has of each event `type`, `room_id`, `sequence`, and as `noted` what the SQL of that name
    says of the event `e`.
    """

    of_page: str = "true"
    noted: str = "false"


ALL = WantedEvents()


# Most consumers want few events, so that a page is narrow, and no more than the comparison is done for the others. An
# event that is taken is read at its place in the table, which cannot change within a statement. The last event that
# was looked through comes in the end, where the page is full.
def _events(wanted: WantedEvents) -> str:
    return f"""
WITH page AS MATERIALIZED (
  SELECT e.ctid AS place, e.transaction_id, e.room_id, e.sequence, e.type, {_SIZE} AS bytes,
    {wanted.noted} AS noted
  {_UNREAD}
), sized AS MATERIALIZED (
  SELECT count(*) AS size FROM page
), counted AS MATERIALIZED (
  SELECT place, row_number() OVER told AS ordinal, sum(bytes) OVER told - bytes AS before
  FROM page WHERE type = ANY($8::smallint[]) AND ({wanted.of_page})
  WINDOW told AS (ORDER BY transaction_id <> $4, transaction_id, room_id, sequence)
), taken AS (
  SELECT place, ordinal, true AS taken
  FROM counted WHERE (before < {MAX_PAGE_BYTES} OR ordinal = 1) AND ordinal <= $9
  UNION ALL (
    SELECT place, NULL, false FROM page WHERE (SELECT size FROM sized) = $7
    ORDER BY transaction_id <> $4 DESC, transaction_id DESC, room_id DESC, sequence DESC LIMIT 1
  )
)
SELECT {_LOG}, (SELECT size FROM sized) AS size,
  EXISTS (SELECT FROM counted WHERE before >= {MAX_PAGE_BYTES} AND ordinal > 1 OR ordinal > $9) AS cut,
  found.*
FROM chat.log l LEFT JOIN (
  SELECT e.transaction_id, {EVENT_COLUMNS}, ordinal, taken FROM taken CROSS JOIN LATERAL (
    SELECT * FROM chat.events WHERE ctid = taken.place LIMIT 1
  ) e
) found ON true ORDER BY found.ordinal NULLS LAST
"""


_EVENTS = _events(ALL)

# The events before these ones in their rooms that belong to a later transaction, and not to the one that the position
# is within: those were read. There are almost never any.
_EARLIER = f"""
WITH RECURSIVE earlier AS (
  SELECT q.room_id AS at_room, q.sequence AS at
  FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, sequence)
  UNION ALL
  SELECT e.room_id, e.sequence FROM earlier CROSS JOIN LATERAL (
    SELECT room_id, sequence FROM chat.events
    WHERE room_id = earlier.at_room AND sequence = earlier.at - 1
      AND transaction_id > $3 AND transaction_id <> $4 LIMIT 1
  ) e
)
SELECT e.* FROM earlier CROSS JOIN LATERAL (
  SELECT {EVENT_COLUMNS} FROM chat.events e WHERE e.room_id = at_room AND e.sequence = at LIMIT 1
) e
"""

_LAG = f"""
SELECT count(*), min(recorded_at) FROM (SELECT e.recorded_at {_UNREAD}) unread
"""


class LogState(NamedTuple):
    """Which log it is, and how often its projections were corrected."""

    incarnation: str
    projections_corrected: int


class HeadsPage(NamedTuple):
    """The rooms that have events beyond a position, each with its last one, and those events whose types `kinds` named.

    `more` says that there is more to read at once. `age` is how many seconds ago the first of the events was recorded.
    """

    heads: list[tuple[int, int]]
    named: list[Recorded]
    position: Position
    more: bool
    age: float
    log: LogState


class EventsPage(NamedTuple):
    """The events beyond a position, those of each room in order. Reading goes on at `position`.

    If the page is `cut`, further wanted events were found that did not fit it.
    """

    events: list[Recorded]
    position: Position
    more: bool
    cut: bool = False


class Tail:
    """Reads pages, each beyond the position that it is given."""

    def __init__(self) -> None:
        self._stride = Stride()
        self._summarized = 0

    async def heads(self, connection: Any, position: Position, kinds: Collection[int]) -> HeadsPage:
        """Return the rooms of the next events, and those events whose type has one of these numbers."""
        below = self._stride.below(position)
        (row,) = await self._fetch(connection, _HEADS, *_from(position, below), MAX_EVENTS, list(kinds))
        snapshot = Snapshot.parse(row["snapshot"], row["transaction_offset"])
        full = row["size"] >= MAX_EVENTS
        last = _place(row) if full else None
        self._stride.learn(position, snapshot, full=full)
        named: list[Recorded] = []
        if row["moved_rooms"]:
            found = await connection.fetch(_NAMED, row["moved_rooms"], row["moved_sequences"])
            named = [recorded_row(event) for event in found]
        rooms: list[int] = row["rooms"] or []
        heads = list(zip(rooms, row["heads"] or [], strict=True))
        after = position.after(snapshot, below, last)
        more = full or below < snapshot.next
        return HeadsPage(heads, named, after, more, row["age"] or 0.0, LogState(row["incarnation"], row["mended"]))

    async def events(
        self,
        connection: Any,
        position: Position,
        kinds: Collection[int],
        *,
        most: int,
        scan: int,
        wanted: WantedEvents = ALL,
    ) -> EventsPage:
        """Return the next events whose type has one of these numbers, and which are `wanted`.

        These are at most `most` events, found among the next `scan`. Events that are read because they stand before
        wanted ones may not be wanted.
        """
        below = self._stride.below(position)
        statement = _EVENTS if wanted is ALL else _events(wanted)
        rows = await self._fetch(connection, statement, *_from(position, below), scan, list(kinds), most)
        first = rows[0]
        snapshot = Snapshot.parse(first["snapshot"], first["transaction_offset"])
        found = [row for row in rows if row["sequence"] is not None]
        events = [recorded_row(row) for row in found if row["taken"]]
        full = first["size"] >= scan
        last = None
        if first["cut"]:
            last = next(_place(row) for row in reversed(found) if row["taken"])
        elif full:
            last = _place(found[-1])
        self._stride.learn(position, snapshot, full=full)
        if last is not None and events:
            events += await self._earlier(connection, events, position, last, kinds)
        events.sort(key=lambda event: (event.room_id, event.sequence))
        more = last is not None or below < snapshot.next
        return EventsPage(events, position.after(snapshot, below, last), more, first["cut"])

    async def summarize(self, connection: Any) -> None:
        """Make Postgres summarize the blocks that were appended. Without summaries each page would scan all of them."""
        self._summarized = await connection.fetchval("SELECT chat.summarize_tail($1)", self._summarized)

    async def _earlier(
        self, connection: Any, events: list[Recorded], position: Position, last: Place, kinds: Collection[int]
    ) -> list[Recorded]:
        """Return the events that stand before a page's events in their rooms and would be read later."""
        known = {(event.room_id, event.sequence) for event in events}
        edges = [place for place in known if (place[0], place[1] - 1) not in known]
        rooms, sequences = [room_id for room_id, _ in edges], [sequence for _, sequence in edges]
        partly_read = position.within.transaction if position.within else 0
        rows = await connection.fetch(_EARLIER, rooms, sequences, last.transaction, partly_read)
        return [
            recorded_row(row) for row in rows if row["type"] in kinds and (row["room_id"], row["sequence"]) not in known
        ]

    async def _fetch(self, connection: Any, statement: str, *args: Any) -> list[Any]:
        try:
            return await connection.fetch(statement, *args)
        except Exception:
            # It may have been too much at once for the statement's time limit.
            self._stride.shorten()
            raise


async def lag(connection: Any, position: Position, most: int) -> tuple[int, datetime | None]:
    """Return how many events are beyond a position, at most `most`, and when the first of them was recorded."""
    row = await connection.fetchrow(_LAG, *_from(position, Stride.LONGEST), most)
    return row[0], row[1]


def _from(position: Position, below: int) -> tuple[Any, ...]:
    within = position.within or Place(0, 0, 0)
    return list(position.running), position.next, below, *within


def _place(row: Any) -> Place:
    return Place(row["transaction_id"], row["room_id"], row["sequence"])
