"""The statements of an erasure."""

from __future__ import annotations

from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.erasure import ABOUT_MESSAGES, ABOUT_USERS, KEEPING_TYPES, NAMING_TYPES, TEXT_TYPES, TEXTS
from parley.chat.domain.messages.reactions import ReactionAdded
from parley.chat.domain.rooms import RoomCreated
from parley.chat.log.erasure.erasures import COVERS, EDITS, MESSAGES, numbers_of
from parley.chat.log.tail import ANNOUNCEMENTS
from parley.chat.log.tail import SETTINGS as FOLLOWING

NAMING = numbers_of(NAMING_TYPES)
_ABOUT_USERS = numbers_of(ABOUT_USERS)
_ABOUT_MESSAGES = numbers_of(ABOUT_MESSAGES)
NEEDED_TYPES = (KEEPING_TYPES - TEXT_TYPES) | {ReactionAdded.TYPE}
"""The types of events whose data are needed as a whole to say what remains of them, and what follows."""
NEEDED = numbers_of(NEEDED_TYPES)

WHOLE = frozenset(CODEC.stored_as(name)[0] for name in NEEDED_TYPES)

BEGIN = "UPDATE chat.erasures SET started_at = coalesce(started_at, clock_timestamp()) WHERE id = $1"
MOVE = "UPDATE chat.erasures SET at_room = $2, at_sequence = $3 WHERE id = $1"
COUNT = "UPDATE chat.erasures SET events = events + $2 WHERE id = $1"
COMPLETE = "UPDATE chat.erasures SET completed_at = clock_timestamp() WHERE id = $1"
TRANSACTION = "SELECT transaction_id FROM chat.events WHERE room_id = $1 AND event_id = $2"
ANNOUNCED = f"""
SELECT position FROM chat.consumers WHERE name = '{ANNOUNCEMENTS}' AND EXISTS (
  SELECT FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = '{FOLLOWING["application_name"]}'
)
"""
ROOMS_OF = "SELECT room_id FROM chat.members WHERE user_id = $1 AND room_id > $2 ORDER BY room_id LIMIT 100"
ROOMS_FROM = "SELECT room_id, head FROM chat.rooms WHERE room_id >= $1 ORDER BY room_id LIMIT $2"
ROOMS_AFTER = "SELECT room_id, head FROM chat.rooms WHERE room_id > $1 ORDER BY room_id LIMIT $2"
ROOM = "SELECT room_id, head FROM chat.rooms WHERE room_id = $1"
MESSAGE = "SELECT sequence FROM chat.events WHERE room_id = $1 AND event_id = $2"

# What is left of an erased event may say whom it moved where, how the room is called, and of which message it was. If
# such a user or the room is erased, that goes too.
_LEFT_OVER = f"""(CASE WHEN e.type IN ({_ABOUT_USERS}) THEN
  CASE x.scope WHEN 'room' THEN e.data -> 'user' IS NOT NULL ELSE e.data -> 'user' ->> 'id' = x.user_id END
WHEN e.type IN ({_ABOUT_MESSAGES}) THEN x.scope = 'room' AND e.data::text <> '{{}}'
WHEN e.type IN ({NAMING}) AND x.scope = 'room' THEN
  concat(e.data ->> 'name', e.data ->> 'topic', nullif(e.data ->> 'custom', '{{}}')) <> ''
    OR e.data ->> 'kind' = 'public'
ELSE false END)"""
# Only events that make a room what it is need their data; the texts of all others are not fetched. Of a message, it is
# needed in which thread it is, and of an edit of which message.
COVERED = f"""
SELECT e.* FROM chat.erasures x
CROSS JOIN unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS q(room_id, after, up_to)
CROSS JOIN LATERAL (
  SELECT e.room_id, e.sequence, e.event_id, e.type, e.version, e.recorded_at,
    CASE WHEN e.type IN ({NEEDED}) THEN e.data::text
         WHEN e.type IN ({MESSAGES}) AND e.data -> 'thread' IS NOT NULL
         THEN concat('{{"thread":', e.data ->> 'thread', '}}')
         WHEN e.type IN ({EDITS}) AND e.data -> 'message' IS NOT NULL
         THEN concat('{{"message":', e.data ->> 'message', '}}')
         ELSE '{{}}' END AS data
  FROM chat.events e
  WHERE e.room_id = q.room_id AND e.sequence > q.after AND e.sequence <= q.up_to
    AND (e.version <> 0 OR e.actor_id <> '' OR {_LEFT_OVER}) AND {COVERS}
) e
WHERE x.id = $1 ORDER BY e.room_id, e.sequence
"""
OVERWRITE = """
UPDATE chat.events e
SET version = 0, actor_id = '', actor_name = '', command_id = '', fingerprint = 0, data = left_over.data
FROM unnest($2::bigint[], $3::json[]) AS left_over(sequence, data)
WHERE e.room_id = $1 AND e.sequence = left_over.sequence
"""
NOTIFY = """
WITH moved AS (
  UPDATE chat.rooms SET head = head + 1 WHERE room_id = $1 RETURNING head, messages
)
INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                         fingerprint, data, recorded_at)
SELECT $1, head, messages, $2, $3, $4, '', '', $5, 0, $6, clock_timestamp() FROM moved
"""


def _named_by(text: str) -> str:
    # The event that creates a room has all texts, and the first version of the one that changes them both that there
    # were then; custom data came later than any of that version.
    return f"""(
  SELECT sequence FROM chat.events e WHERE e.room_id = r.room_id AND e.type IN ({NAMING})
    AND (e.type = {RoomCreated.NUMBER} OR e.version = 1 OR e.data -> '{text}' IS NOT NULL)
  ORDER BY sequence DESC LIMIT 1
)"""


NAMED_BY = f"""
SELECT changed, {", ".join(f"{_named_by(text)} AS {text}" for text in TEXTS)} FROM chat.rooms r WHERE room_id = $1
"""
LOCK = "SELECT changed, member_count FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE"
FORGET_MAKER = "UPDATE chat.rooms SET created_by = '', kind = $2 WHERE room_id = $1"
RENAME = {text: f"UPDATE chat.rooms SET {text} = $2, {text}_kept_in = $3 WHERE room_id = $1" for text in TEXTS}
FORGET_USER = [
    f"DELETE FROM chat.{table} WHERE room_id = $1 AND user_id = $2"
    for table in ("declined", "restrictions", "participants")
]
FORGET_INVITES = "DELETE FROM chat.invites WHERE room_id = $1 AND invite = ANY($2::bigint[])"
FORGET_INVITER = """
UPDATE chat.members SET name = user_id, invited_by = ''
WHERE room_id = $1 AND sequence = ANY($2::bigint[]) AND state = 'invited'
"""
EMPTY = "UPDATE chat.rooms SET member_count = 0, slow_seconds = 0, rules = '' WHERE room_id = $1"
CLEAR = """
DELETE FROM chat.{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM chat.{table} WHERE room_id = $1 LIMIT 500))
"""

SESSION = {
    # Always by keys, whatever the sizes of the tables are.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
