"""The statements of the event store, which loads, appends and projects with them.

They are set-based (`unnest`), so a batch of one command and a batch of hundreds make the same few round trips. Each row
is looked up by key in a subquery of its own (`LATERAL ... LIMIT 1`), which the planner cannot turn into a join of whole
tables, whatever it believes of their sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from parley.chat.domain.projectors import (
    DECLINED_COLUMNS,
    INVITE_COLUMNS,
    MEMBER_COLUMNS,
    PARTICIPANT_COLUMNS,
    RESTRICTION_COLUMNS,
    ROOM_COLUMNS,
)
from parley.chat.log.erasure.erasures import ANY_OPEN, GATE, HIDDEN, MESSAGES, unless_erasing

EVENT_COLUMNS = f"""e.room_id, e.sequence, e.number, e.event_id, e.type, e.version, e.actor_id, e.actor_name,
e.command_id, e.fingerprint, e.data::text, e.recorded_at, {HIDDEN} AS hidden"""
"""What `recorded_row` reads, of an `e` that is `chat.events`."""

ROOM = ", ".join(ROOM_COLUMNS)
SHOWN_ROOM = ROOM.replace("created_by", f"{unless_erasing('created_by')} AS created_by")
CHANGING = {name: kind for name, kind in ROOM_COLUMNS.items() if name not in {"kind", "created_by", "created_at"}}
RESTRICTION = ", ".join(column for column in RESTRICTION_COLUMNS if column != "room_id")
INVITE = ", ".join(column for column in INVITE_COLUMNS if column != "room_id")
MEMBER = "user_id, name, state, role, sequence, invited_by"

CONCERNED = """(kind = 'public' OR EXISTS (
  SELECT FROM unnest($2::bigint[], $3::text[], $4::uuid[], $5::boolean[]) AS asks(room, actor, key, anyway)
  WHERE asks.room = q.room_id AND (
    asks.anyway
    OR (SELECT true FROM chat.members m WHERE m.room_id = asks.room AND m.user_id = asks.actor LIMIT 1)
    OR (SELECT true FROM chat.events e WHERE e.room_id = asks.room AND e.event_id = asks.key LIMIT 1)
    OR (SELECT true FROM chat.commands c WHERE c.room_id = asks.room AND c.command_key = asks.key LIMIT 1)
  )
))"""
"""Whether a room concerns anybody who sends commands for it. It does if it is public, if they are in it, if they were
in it when they sent the same command before, or if the command says so: an administrator's, one with the code of a
link, and one of somebody whom a direct room is between. Nobody else gets to lock the room, or
learns by waiting for its lock that it exists."""

# Every writer passes the keys sorted, so that two batches cannot wait for each other. The gate comes first: everything
# that is read under these locks then knows of each erasure that was requested before the commit.
LOCK_ROOMS = f"""
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({GATE}))
SELECT r.* FROM gate CROSS JOIN unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT {SHOWN_ROOM} FROM chat.rooms WHERE room_id = q.room_id AND {CONCERNED} FOR NO KEY UPDATE
) r
"""
LOCK_FREE_ROOMS = LOCK_ROOMS.replace("UPDATE", "UPDATE SKIP LOCKED")

EXISTING_ROOMS = f"""
SELECT r.* FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT room_id FROM chat.rooms WHERE room_id = q.room_id AND {CONCERNED} LIMIT 1
) r
"""

# This and all that follows are statements of their own, after the locks. Under READ COMMITTED each has a new snapshot,
# and only these snapshots have everything that earlier owners of the locks committed.
LOAD_EARLIER = f"""
SELECT q.ordinal, clock_timestamp() AS now, {EVENT_COLUMNS}, c.sequence AS unchanged, c.fingerprint AS unchanged_by
FROM unnest($1::bigint[], $2::uuid[]) WITH ORDINALITY AS q(room_id, key, ordinal)
LEFT JOIN LATERAL (
  SELECT sequence, actor_id, command_id, version FROM chat.events
  WHERE room_id = q.room_id AND event_id = q.key LIMIT 1
) led ON true
-- The events of a command stand side by side: up to the next one of another command, which is seldom far.
LEFT JOIN LATERAL (
  SELECT * FROM chat.events WHERE room_id = q.room_id AND sequence >= led.sequence AND sequence < coalesce((
    SELECT sequence FROM chat.events
    WHERE room_id = q.room_id AND sequence > led.sequence
      AND (actor_id <> led.actor_id OR command_id <> led.command_id OR led.version = 0)
    ORDER BY sequence LIMIT 1
  ), 9223372036854775807) ORDER BY sequence
) e ON true
LEFT JOIN LATERAL (
  SELECT sequence, fingerprint FROM chat.commands WHERE room_id = q.room_id AND command_key = q.key LIMIT 1
) c ON true
"""

# By their place in the arguments: senders, each with a user whom their command names, of whom one, or whose room, is
# being erased.
ERASING = """
SELECT q.ordinal, x.scope = 'room' AS room
FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS q(room_id, actor, named, ordinal)
CROSS JOIN chat.erasures x
WHERE x.completed_at IS NULL
  AND (x.user_id IN (q.actor, q.named) OR (x.scope = 'room' AND x.room_id = q.room_id))
"""

LOAD_MEMBERS = f"""
SELECT q.room_id, m.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT {MEMBER} FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m
"""

LOAD_DECLINED = """
SELECT q.room_id, d.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT user_id, declined_at FROM chat.declined WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) d
"""

LOAD_RESTRICTIONS = f"""
SELECT q.room_id, r.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT {RESTRICTION} FROM chat.restrictions WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) r
"""

COUNT_RESTRICTED = """
SELECT q.room_id, c.restricted FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT count(*) AS restricted FROM chat.restrictions WHERE room_id = q.room_id
) c
"""

LOAD_PARTICIPANTS = """
SELECT q.room_id, p.user_id FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT user_id FROM chat.participants WHERE room_id = q.room_id ORDER BY user_id LIMIT 100
) p
"""

ABSENT = "SELECT user_id FROM chat.erasures WHERE completed_at IS NULL AND user_id = ANY($1::text[])"

LOAD_INVITES = f"""
SELECT q.room_id, i.* FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT {INVITE} FROM chat.invites WHERE room_id = q.room_id ORDER BY invite LIMIT 1000
) i
"""

LOAD_BLOCKS = """
SELECT q.user_id, q.blocked_id FROM unnest($1::text[], $2::text[]) AS q(user_id, blocked_id) CROSS JOIN LATERAL (
  SELECT true FROM chat.blocks WHERE user_id = q.user_id AND blocked_id = q.blocked_id LIMIT 1
) b
"""

# No index knows events by their author. The first event since the wait began is found by halving, and only those after
# it are looked through, the newest first. Of a room's events, a later one is never much older than an earlier one.
LAST_POSTED = f"""
SELECT q.room_id, q.user_id, last.recorded_at FROM unnest(
  $1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::int[]
) AS q(room_id, user_id, actor_id, head, seconds) CROSS JOIN LATERAL (
  WITH RECURSIVE halves(low, high) AS (
    SELECT 0::bigint, q.head
    UNION ALL
    SELECT CASE WHEN middle.before THEN (low + high) / 2 ELSE low END,
           CASE WHEN middle.before THEN high ELSE (low + high) / 2 END
    FROM halves CROSS JOIN LATERAL (
      SELECT coalesce((
        SELECT recorded_at < clock_timestamp() - make_interval(secs => q.seconds)
        FROM chat.events WHERE room_id = q.room_id AND sequence = (low + high) / 2
      ), true) AS before
    ) middle WHERE high - low > 1
  )
  SELECT recorded_at FROM chat.events
  WHERE room_id = q.room_id AND sequence > (SELECT max(low) FROM halves) AND actor_id = q.actor_id
    AND type IN ({MESSAGES})
  ORDER BY sequence DESC LIMIT 1
) last
"""

LOAD_ELDEST = f"""
SELECT q.room_id, m.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, most) CROSS JOIN LATERAL (
  SELECT {MEMBER} FROM chat.members WHERE room_id = q.room_id AND state = 'joined' ORDER BY sequence LIMIT q.most
) m
"""

# The state is not a condition, or the planner might read through an index of all members in that state.
COUNT_ROOMS = """
SELECT q.user_id, c.joined FROM unnest($1::text[]) AS q(user_id) CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE m.state = 'joined' AND NOT r.archived) AS joined
  FROM chat.members m CROSS JOIN LATERAL (
    SELECT archived FROM chat.rooms WHERE room_id = m.room_id LIMIT 1
  ) r WHERE m.user_id = q.user_id
) c
"""

COUNT_INVITATIONS = """
SELECT q.room_id, q.user_id, c.waiting FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT count(*) AS waiting FROM chat.members m
  WHERE m.room_id = q.room_id AND m.invited_by = q.user_id AND m.state = 'invited'
) c
"""


def _changes(first: int) -> str:
    """Return the SET list for what may change of rooms.

    The parameters from `first` on are arrays, the first with sorted ids.

    `width_bucket` finds a room's index in them without a join. Postgres writes no index for a column set to its old
    value.
    """
    return ", ".join(
        f"{column} = (${place}::{kind}[])[width_bucket(room_id, ${first})]"
        for place, (column, kind) in enumerate(CHANGING.items(), first)
        if column != "room_id"
    )


APPEND = f"""
WITH appended AS (
  INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                           fingerprint, data, recorded_at)
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::smallint[],
                       $7::bytea[], $8::text[], $9::bytea[], $10::int[], $11::json[], $12::timestamptz[])
)
UPDATE chat.rooms SET {_changes(13)} WHERE room_id = ANY($13::bigint[])
"""

RECALL = f"""
SELECT r.*, m.*, own.*, CASE WHEN r.kind = 'direct' THEN ARRAY(
  SELECT user_id FROM chat.participants WHERE room_id = r.room_id
) END AS participants FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT {ROOM} FROM chat.rooms WHERE room_id = q.room_id LIMIT 1
) r CROSS JOIN LATERAL (
  SELECT {MEMBER} FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m LEFT JOIN LATERAL (
  SELECT {RESTRICTION} FROM chat.restrictions WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) own ON true
"""

# One statement, and so one transaction. It locks each room and compares it with what was known. Under READ COMMITTED,
# Postgres reads a row again that another transaction held, once it is free: so `head` and `messages` are those under
# the lock, and a room whose `changed` has moved is left out. The sequences are made from them, so messages of many
# processes never conflict. If a command's id was used before, the statement only names the command and appends nothing.
# The events are one array of rows. An array for each column costs both sides twice as much.
_NEW_EVENTS = """unnest($5::chat.new_event[]) WITH ORDINALITY
    AS q(room_id, ordinal, number, event_id, type, version, actor_id, actor_name, command_id, fingerprint, data, place)"""
APPEND_KNOWN = """
WITH resent AS MATERIALIZED (
  SELECT q.place FROM {new_events}
  CROSS JOIN LATERAL (
    (SELECT true FROM chat.events WHERE room_id = q.room_id AND event_id = q.event_id LIMIT 1)
    UNION ALL
    (SELECT true FROM chat.commands WHERE room_id = q.room_id AND command_key = q.event_id LIMIT 1)
  ) earlier
), ready AS MATERIALIZED (
  SELECT r.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, changed) CROSS JOIN LATERAL (
    SELECT room_id, head, messages FROM chat.rooms
    WHERE room_id = q.room_id AND changed = q.changed FOR NO KEY UPDATE
  ) r
  WHERE NOT EXISTS (SELECT FROM resent)
  -- What is being erased is left to those who look closer.
  AND CASE WHEN {open} THEN NOT EXISTS (
    SELECT FROM chat.erasures x CROSS JOIN {new_events}
    WHERE x.completed_at IS NULL AND q.room_id = r.room_id
      AND (x.actor_id = q.actor_id OR (x.scope = 'room' AND x.room_id = r.room_id))
  ) ELSE true END
  -- No event of the room says who has blocked whom, so it is asked for here.
  AND CASE WHEN cardinality($6::bigint[]) > 0 THEN NOT EXISTS (
    SELECT FROM unnest($6::bigint[], $7::text[], $8::text[]) AS q(room_id, user_id, blocked_id)
    CROSS JOIN LATERAL (
      SELECT true FROM chat.blocks WHERE user_id = q.user_id AND blocked_id = q.blocked_id LIMIT 1
    ) b WHERE q.room_id = r.room_id
  ) ELSE true END
), taken AS MATERIALIZED (
  SELECT array_agg(room_id) AS rooms, array_agg(head) AS heads, array_agg(messages) AS messages,
         clock_timestamp() AS now
  FROM ready
), appended AS (
  INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                           fingerprint, data, recorded_at)
  SELECT q.room_id, taken.heads[of.room] + q.ordinal, taken.messages[of.room] + q.number, q.event_id, q.type, q.version,
         q.actor_id, q.actor_name, q.command_id, q.fingerprint, q.data, taken.now
  FROM taken CROSS JOIN {new_events}
  CROSS JOIN LATERAL (SELECT width_bucket(q.room_id, taken.rooms) AS room) of
  WHERE taken.rooms[of.room] = q.room_id
), advanced AS (
  UPDATE chat.rooms SET head = head + ($3::bigint[])[width_bucket(room_id, $1)],
                        messages = messages + ($4::bigint[])[width_bucket(room_id, $1)]
  WHERE room_id = ANY((SELECT rooms FROM taken)::bigint[])
)
SELECT rooms, heads, messages, now, ARRAY(SELECT place FROM resent) AS resent FROM taken
""".replace("{open}", ANY_OPEN).replace("{new_events}", _NEW_EVENTS)
APPEND_FREE = APPEND_KNOWN.replace("NO KEY UPDATE", "NO KEY UPDATE SKIP LOCKED")

CREATE_ROOMS = f"""
INSERT INTO chat.rooms ({ROOM})
SELECT * FROM unnest({", ".join(f"${place}::{kind}[]" for place, kind in enumerate(ROOM_COLUMNS.values(), 1))})
"""


def put_rows(table: str, columns: Mapping[str, str], key: int) -> str:
    """Return a statement that puts rows into a table, by an array for each column; the first `key` are its key."""
    names = list(columns)
    kinds = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(columns.values(), 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[key:])
    return f"""
    INSERT INTO chat.{table} ({", ".join(names)}) SELECT * FROM unnest({kinds})
    ON CONFLICT ({", ".join(names[:key])}) DO {f"UPDATE SET {changes}" if changes else "NOTHING"}
    """


def remove_rows(table: str, columns: Mapping[str, str], *key: str) -> str:
    """Return a statement that removes rows, by an array for each of these columns.

    It does so by the place of each row in the table (`ctid`), which cannot change while the room is locked.
    """
    arrays = ", ".join(f"${place}::{columns[name]}[]" for place, name in enumerate(key, 1))
    return f"""
    DELETE FROM chat.{table} WHERE ctid = ANY(ARRAY(
      SELECT found.place FROM unnest({arrays}) AS q({", ".join(key)}) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM chat.{table} WHERE {" AND ".join(f"{name} = q.{name}" for name in key)} OFFSET 0
      ) found
    ))
    """


def columns_of(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Return rows as these statements take them: a list for each column, or nothing without rows."""
    return [list(column) for column in zip(*rows, strict=True)]


async def execute_rows(connection: Any, statement: str, rows: Collection[tuple[Any, ...]]) -> None:
    """Execute a statement with rows, if there are any."""
    if rows:
        await connection.execute(statement, *columns_of(rows))


PUT_MEMBERS = put_rows("members", MEMBER_COLUMNS, 2)
REMOVE_MEMBERS = remove_rows("members", MEMBER_COLUMNS, "room_id", "user_id")
PUT_DECLINED = put_rows("declined", DECLINED_COLUMNS, 2)
PUT_RESTRICTIONS = put_rows("restrictions", RESTRICTION_COLUMNS, 2)
REMOVE_RESTRICTIONS = remove_rows("restrictions", RESTRICTION_COLUMNS, "room_id", "user_id")
PUT_PARTICIPANTS = put_rows("participants", PARTICIPANT_COLUMNS, 2)
PUT_INVITES = put_rows("invites", INVITE_COLUMNS, 2)
REMOVE_INVITES = remove_rows("invites", INVITE_COLUMNS, "room_id", "invite")
# Locked until the commit, in the order of their ids and after the rooms. What another transaction has locked is about
# to be attached to another message, or thrown away.
LOAD_UPLOADS = """
SELECT user_id, upload_id, name, type, size, width, height, thumbnail > 0 FROM chat.uploads
WHERE upload_id = ANY($1::uuid[]) AND state = 'ready' AND expires_at > clock_timestamp()
ORDER BY upload_id FOR NO KEY UPDATE SKIP LOCKED
"""
ATTACH = """
UPDATE chat.uploads u SET state = 'attached', room_id = q.room_id, sequence = q.sequence, expires_at = NULL
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS q(upload_id, room_id, sequence)
WHERE u.upload_id = q.upload_id AND u.state = 'ready'
"""

KEPT_TEXTS = "SELECT type, data::text AS data FROM chat.events WHERE room_id = $1 AND sequence = $2 AND version = 0"
FORGET_TEXTS = "UPDATE chat.events SET data = $3::json WHERE room_id = $1 AND sequence = $2 AND version = 0"

REMEMBER = """
INSERT INTO chat.commands (room_id, command_key, fingerprint, sequence)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) ON CONFLICT DO NOTHING
"""
