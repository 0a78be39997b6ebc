"""The statements that load and store what became of messages, in the manner of `log/statements.py`."""

from __future__ import annotations

from parley.chat.domain.messages.amending import MessageEdited
from parley.chat.domain.messages.rows import FOLLOWER_COLUMNS, MESSAGE_COLUMNS, REACTION_COLUMNS, REPLY_COLUMNS
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.log.erasure.erasures import HIDDEN
from parley.chat.log.statements import put_rows, remove_rows

_STATE_COLUMNS = {name: kind for name, kind in MESSAGE_COLUMNS.items() if name not in {"room_id", "sequence"}}
_STATE = ", ".join(_STATE_COLUMNS)

LOAD_MESSAGES = f"""
SELECT q.room_id, q.sequence, e.*, m.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, sequence)
CROSS JOIN LATERAL (
  SELECT e.actor_id, (e.data ->> 'thread')::bigint AS thread, e.version = 0 OR {HIDDEN} AS erased FROM chat.events e
  WHERE e.room_id = q.room_id AND e.sequence = q.sequence AND e.type = {MessageSent.NUMBER} LIMIT 1
) e
LEFT JOIN LATERAL (
  SELECT {_STATE.replace("reactions", "reactions::text AS reactions")} FROM chat.messages
  WHERE room_id = q.room_id AND sequence = q.sequence LIMIT 1
) m ON true
"""

LOAD_REACTIONS = """
SELECT q.*, r.* FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS q(room_id, message, user_id)
CROSS JOIN LATERAL (
  SELECT emoji, added_in, name FROM chat.reactions
  WHERE room_id = q.room_id AND message = q.message AND user_id = q.user_id
) r
"""

LOAD_FOLLOWING = """
SELECT q.*, f.* FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS q(room_id, thread, user_id)
CROSS JOIN LATERAL (
  SELECT following, since FROM chat.thread_followers
  WHERE room_id = q.room_id AND thread = q.thread AND user_id = q.user_id LIMIT 1
) f
"""

COUNT_PINS = """
SELECT q.room_id, c.pinned FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT count(*) AS pinned FROM chat.messages m WHERE m.room_id = q.room_id AND m.pinned_in IS NOT NULL
) c
"""

PUT_MESSAGES = put_rows("messages", MESSAGE_COLUMNS, 2)


REMOVE_MESSAGES = remove_rows("messages", MESSAGE_COLUMNS, "room_id", "sequence")
REMOVE_REACTIONS = remove_rows("reactions", REACTION_COLUMNS, "room_id", "message", "user_id", "emoji")
CLEAR_REACTIONS = remove_rows("reactions", REACTION_COLUMNS, "room_id", "message")
REMOVE_FOLLOWED_SINCE = remove_rows("thread_followers", FOLLOWER_COLUMNS, "room_id", "thread", "user_id", "since")

PUT_REACTIONS = put_rows("reactions", REACTION_COLUMNS, 4)

PUT_REPLIES = put_rows("replies", REPLY_COLUMNS, 3)

PUT_FOLLOWERS = put_rows("thread_followers", FOLLOWER_COLUMNS, 3)

# Each edit names the one before it. An edit that was erased on its own names none; older ones were erased before it.
TEXTS_OF = f"""
WITH RECURSIVE texts AS (
  SELECT q.room_id, q.message, q.last_edit AS sequence
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS q(room_id, message, last_edit) WHERE q.last_edit IS NOT NULL
  UNION ALL
  SELECT t.room_id, t.message, e.previous FROM texts t CROSS JOIN LATERAL (
    SELECT (data ->> 'previous')::bigint AS previous FROM chat.events
    WHERE room_id = t.room_id AND sequence = t.sequence AND type = {MessageEdited.NUMBER} LIMIT 1
  ) e WHERE e.previous IS NOT NULL
)
SELECT room_id, sequence FROM texts
"""
"""The edits of messages, found from the last one of each."""

# Of a deleted message it stays known who wrote it, until they are erased.
DELETE_TEXTS = f"""
UPDATE chat.events SET version = 0, command_id = '', fingerprint = 0,
  data = (CASE WHEN type = {MessageSent.NUMBER} AND data ->> 'thread' IS NOT NULL
              THEN concat('{{"thread":', data ->> 'thread', '}}') ELSE '{{}}' END)::json
WHERE ctid = ANY(ARRAY(
  SELECT found.place FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, sequence) CROSS JOIN LATERAL (
    SELECT ctid AS place FROM chat.events WHERE room_id = q.room_id AND sequence = q.sequence LIMIT 1
  ) found
))
"""
