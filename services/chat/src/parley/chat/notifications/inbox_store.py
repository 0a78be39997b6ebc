"""The log of each user's own in Postgres: appending to many at once, reading, and marking as read.

A user's notifications have sequences without gaps, given under the lock of the user's row in `inboxes`. Whoever marks
as read takes the same lock first. So a notification of something that is read at this very moment cannot stay unread:
either it is there when that is marked, or the cursor is there when it is appended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.log.erasure.erasures import ANY_OPEN, HIDDEN
from parley.chat.notifications.rules import RANKS, Due, RoomMessage
from parley.chat.reading.read_store import CursorKey
from parley.common.wire.consumers import LogEvent

READ_WITH_ROOM = ("mention", "reply", "direct")
"""Causes whose notifications are read when the message is."""

_FACTS = f"""
SELECT 'room' AS what, q.room_id, 0::bigint AS sequence, ''::bytea AS actor_id
FROM unnest($1::bigint[]) AS q(room_id)
CROSS JOIN LATERAL (SELECT kind FROM chat.rooms WHERE room_id = q.room_id LIMIT 1) r WHERE r.kind = 'direct'
UNION ALL
SELECT 'event', q.room_id, q.sequence, e.actor_id FROM unnest($2::bigint[], $3::bigint[]) AS q(room_id, sequence)
CROSS JOIN LATERAL (
  SELECT e.actor_id FROM chat.events e
  WHERE e.room_id = q.room_id AND e.sequence = q.sequence AND e.version <> 0 AND NOT {HIDDEN} LIMIT 1
) e
"""

_MENTION = """
INSERT INTO chat.mentions (room_id, user_id, sequence, author_id, at)
SELECT q.* FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
  AS q(room_id, user_id, sequence, author_id, at)
WHERE q.user_id = '' OR (
  SELECT true FROM chat.members m WHERE m.room_id = q.room_id AND m.user_id = q.user_id AND m.state = 'joined' LIMIT 1
)
ON CONFLICT DO NOTHING
"""

_CALL = """
INSERT INTO chat.mentions (room_id, user_id, sequence, author_id, at) VALUES ($1, '', $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING true
"""

# Whoever is to be told of a message has to be in its room. Of the causes of one event for one user the first counts.
# Both sides of the last join have the same users. It is a full one because that is never made by comparing each with
# each, as the planner otherwise would where it expects few: @all in a room of 5,000 took a second for it.
_APPEND = f"""
WITH due AS MATERIALIZED (
  SELECT * FROM unnest(
    $1::text[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[],
    $10::text[], $11::timestamptz[]
  ) AS q(user_id, event_id, cause, rank, type, room_id, event_sequence, message, actor_id, actor_name, at)
), named AS MATERIALIZED (
  SELECT due.* FROM due WHERE due.user_id <> '' AND (due.cause IN ('invitation', 'moderation') OR (
    SELECT true FROM chat.members m
    WHERE m.room_id = due.room_id AND m.user_id = due.user_id AND m.state = 'joined' LIMIT 1
  ))
  UNION ALL
  SELECT m.user_id, due.event_id, due.cause, due.rank, due.type, due.room_id, due.event_sequence, due.message,
    due.actor_id, due.actor_name, due.at
  FROM due CROSS JOIN LATERAL (
    SELECT user_id FROM chat.members
    WHERE room_id = due.room_id AND state = 'joined' AND user_id <> due.actor_id
  ) m WHERE due.user_id = ''
), chosen AS MATERIALIZED (
  SELECT DISTINCT ON (user_id, event_id) * FROM named ORDER BY user_id, event_id, rank
), fresh AS MATERIALIZED (
  SELECT chosen.* FROM chosen
  LEFT JOIN LATERAL (
    SELECT level FROM chat.levels l WHERE l.room_id = chosen.room_id AND l.user_id = chosen.user_id LIMIT 1
  ) l ON true
  LEFT JOIN LATERAL (SELECT silenced FROM chat.preferences p WHERE p.user_id = chosen.user_id LIMIT 1) p ON true
  WHERE (cause IN ('invitation', 'moderation') OR coalesce(level, 'all') = 'all'
         OR (level = 'mentions' AND cause IN ('mention', 'reply')))
    AND NOT cause = ANY(coalesce(silenced, '{{}}'))
    AND (cause = 'moderation' OR (SELECT true FROM chat.blocks b
                                  WHERE b.user_id = chosen.user_id AND b.blocked_id = chosen.actor_id LIMIT 1) IS NULL)
    AND (SELECT true FROM chat.notifications n
         WHERE n.user_id = chosen.user_id AND n.event_id = chosen.event_id LIMIT 1) IS NULL
    AND CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
      SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id IN (chosen.user_id, chosen.actor_id)
    ) ELSE true END
), moved AS (
  INSERT INTO chat.inboxes AS known (user_id, head)
  SELECT user_id, count(*) FROM fresh GROUP BY user_id ORDER BY user_id
  ON CONFLICT (user_id) DO UPDATE SET head = known.head + excluded.head RETURNING user_id, head
)
INSERT INTO chat.notifications (user_id, sequence, event_id, cause, type, room_id, event_sequence, message, actor_id,
                                actor_name, at)
SELECT user_id,
  moved.head + 1 - row_number() OVER (PARTITION BY user_id ORDER BY at DESC, room_id DESC, event_sequence DESC),
  event_id, cause, type, room_id, event_sequence, message, actor_id, actor_name, at
FROM fresh FULL JOIN moved USING (user_id)
RETURNING user_id, sequence
"""

# In a statement after the one that locked the inboxes, so that it sees every cursor that was stored before.
_ALREADY_READ = f"""
UPDATE chat.notifications n SET read_at = clock_timestamp()
FROM unnest($1::text[], $2::bigint[]) AS q(user_id, sequence)
WHERE n.user_id = q.user_id AND n.sequence = q.sequence AND n.cause IN {READ_WITH_ROOM} AND (
  SELECT true FROM chat.reads rd
  WHERE rd.room_id = n.room_id AND rd.user_id = n.user_id AND rd.sequence >= n.event_sequence LIMIT 1
)
"""

_ENQUEUE_PUSH = """
UPDATE chat.inboxes i SET push_at = coalesce(i.push_at, clock_timestamp() + make_interval(secs => $2))
WHERE i.user_id = ANY($1::text[]) AND EXISTS (SELECT FROM chat.push_subscriptions s WHERE s.user_id = i.user_id)
"""

_APPENDED = """
SELECT n.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, sequence) CROSS JOIN LATERAL (
  SELECT user_id, sequence FROM chat.notifications WHERE room_id = q.room_id AND event_sequence = q.sequence
) n ORDER BY n.user_id, n.sequence
"""

_LOCK = "SELECT user_id FROM chat.inboxes WHERE user_id = ANY($1::text[]) ORDER BY user_id FOR NO KEY UPDATE"
_READ_IN_ROOMS = f"""
UPDATE chat.notifications n SET read_at = clock_timestamp()
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS q(user_id, room_id, up_to)
WHERE n.user_id = q.user_id AND n.room_id = q.room_id AND n.event_sequence <= q.up_to AND n.read_at IS NULL
  AND n.cause IN {READ_WITH_ROOM}
RETURNING n.user_id, n.sequence
"""
_READ_SOME = """
UPDATE chat.notifications SET read_at = clock_timestamp()
WHERE user_id = $1 AND sequence = ANY($2::bigint[]) AND read_at IS NULL RETURNING sequence
"""
_READ_UP_TO = """
UPDATE chat.notifications SET read_at = clock_timestamp()
WHERE user_id = $1 AND sequence <= $2 AND read_at IS NULL RETURNING sequence
"""
_UNREAD = """
SELECT q.user_id, (
  SELECT count(*) FROM chat.notifications n WHERE n.user_id = q.user_id AND n.read_at IS NULL
) AS unread FROM unnest($1::text[]) AS q(user_id)
"""

_FORGET_MENTIONS = """
DELETE FROM chat.mentions m USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS q(room_id, first, last)
WHERE m.room_id = q.room_id AND m.sequence BETWEEN q.first AND q.last
"""
_FORGET = """
DELETE FROM chat.notifications n USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS q(room_id, first, last)
WHERE n.room_id = q.room_id AND n.event_sequence BETWEEN q.first AND q.last AND n.cause <> 'moderation'
RETURNING n.user_id, n.sequence, n.read_at IS NULL AS unread
"""
_TOO_OLD = """
DELETE FROM chat.{table} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM chat.{table} WHERE at < clock_timestamp() - make_interval(days => $1) ORDER BY at LIMIT 1000
))
"""


class Facts(NamedTuple):
    """What of the log decides who is notified: which rooms are direct ones, and who wrote earlier messages."""

    direct: set[int]
    authors: dict[RoomMessage, str]


class InboxEntry(NamedTuple):
    """A notification, by its place."""

    user_id: str
    sequence: int


async def facts(connection: Any, rooms: Collection[int], messages: list[RoomMessage]) -> Facts:
    """Read what decides about events of these rooms that answer these messages."""
    keys = [room_key(message.room) for message in messages]
    named = {(key, message.sequence): message for key, message in zip(keys, messages, strict=True)}
    rows = await connection.fetch(_FACTS, list(rooms), keys, [message.sequence for message in messages])
    found = Facts(set(), {})
    for row in rows:
        if row["what"] == "room":
            found.direct.add(row["room_id"])
        else:
            found.authors[named[row["room_id"], row["sequence"]]] = unpack(row["actor_id"])
    return found


async def mention(connection: Any, rows: list[tuple[Any, ...]]) -> None:
    """Store who is mentioned, each as a room, a user, a sequence, the author and the time."""
    if rows:
        await connection.execute(_MENTION, *map(list, zip(*rows, strict=True)))


async def call(connection: Any, event: LogEvent) -> bool:
    """Store that a message calls a room, in the transaction that appends whom. Returns whether it had not called.

    Who is there is another set each time that one asks. So whoever is first to store this decides for all.
    """
    return bool(await connection.fetchval(_CALL, room_key(event.room), event.sequence, event.actor_id, event.at))


async def append(connection: Any, dues: list[Due], push_after: float) -> None:
    """Append what is due and not there yet, in a transaction of the caller's."""
    if not dues:
        return
    columns = zip(*map(_row, dues), strict=True)
    told = [InboxEntry(*row.values()) for row in await connection.fetch(_APPEND, *map(list, columns))]
    if told:
        # Only now, with the inboxes locked: the cursor of whoever reads at this moment is stored, or waits for the
        # lock.
        await connection.execute(_ALREADY_READ, [one.user_id for one in told], [one.sequence for one in told])
        await connection.execute(_ENQUEUE_PUSH, list({one.user_id for one in told}), push_after)


async def appended(connection: Any, dues: list[Due]) -> list[InboxEntry]:
    """Return the notifications that there are of what is due, whoever appended them."""
    places = list(dict.fromkeys((room_key(one.event.room), one.event.sequence) for one in dues))
    if not places:
        return []
    rows = await connection.fetch(_APPENDED, *map(list, zip(*places, strict=True)))
    return [InboxEntry(*row.values()) for row in rows]


async def read_in_rooms(connection: Any, moved: dict[CursorKey, int]) -> list[InboxEntry]:
    """Mark as read what is about messages up to users' cursors, in a transaction of the caller's."""
    # Sorted, as `_APPEND` and `_LOCK` lock them: two who lock the same inboxes do not wait for each other in a circle.
    await connection.fetch(_LOCK, sorted({key.user_id for key in moved}))
    users, rooms = [key.user_id for key in moved], [key.room_id for key in moved]
    rows = await connection.fetch(_READ_IN_ROOMS, users, rooms, list(moved.values()))
    return [InboxEntry(*row.values()) for row in rows]


async def read(connection: Any, user_id: str, sequences: list[int] | None, up_to: int) -> list[int]:
    """Mark some notifications as read, or all up to one, in a transaction of the caller's. Returns which were not."""
    await connection.fetch(_LOCK, [user_id])
    if sequences is None:
        rows = await connection.fetch(_READ_UP_TO, user_id, up_to)
    else:
        rows = await connection.fetch(_READ_SOME, user_id, sequences)
    return sorted(row["sequence"] for row in rows)


async def unread(connection: Any, users: Collection[str]) -> dict[str, int]:
    """Return how many notifications users have not read."""
    return {row["user_id"]: row["unread"] for row in await connection.fetch(_UNREAD, list(users))}


async def forget(connection: Any, ranges: list[tuple[int, int, int]]) -> list[InboxEntry]:
    """Delete what is about erased events, given as rooms, each with a first and a last sequence.

    Returns what of it nobody had read.
    """
    if not ranges:
        return []
    columns = [list(column) for column in zip(*ranges, strict=True)]
    await connection.execute(_FORGET_MENTIONS, *columns)
    rows = await connection.fetch(_FORGET, *columns)
    return [InboxEntry(row["user_id"], row["sequence"]) for row in rows if row["unread"]]


async def forget_old(connection: Any, days: int) -> bool:
    """Delete some of what is too old. Returns whether there may be more."""
    gone = [await connection.execute(_TOO_OLD.format(table=table), days) for table in ("notifications", "mentions")]
    return any(result == "DELETE 1000" for result in gone)


def _row(one: Due) -> tuple[Any, ...]:
    event = one.event
    return (
        one.user_id, UUID(event.event_id), one.cause, RANKS[one.cause], event.type, room_key(event.room),
        event.sequence, one.message, event.actor_id, event.actor_name, event.at,
    )  # fmt: skip
