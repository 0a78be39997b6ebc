"""Messages as they are now: edits applied, deletions and erasures marked, reactions and threads summed up.

A message that nothing happened to costs one look into the index of `chat.messages`. All of a page is of one snapshot,
so it is as of its `head`: the events after that, applied to it, make the page that is read later.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import ClientEvent
from parley.chat.domain.messages.amendments import AMENDING_TYPES
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.log.erasure.erasures import ANY_OPEN, HIDDEN, numbers_of, unless_erasing
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.queries.pages import MAX_PAGE_BYTES, SIZE
from parley.chat.queries.visibility import VISIBLE

FIRST_USERS = 5
"""Users who are named of all who reacted in one way."""
QUOTED = 300
"""Characters of a message that are shown with an answer to it."""
LOOKED_THROUGH = 10_000
"""Events among which a page is looked for. It ends early where all of these only say what became of messages."""

_AMENDING = f"{numbers_of(AMENDING_TYPES)}, {EventsErased.NUMBER}"
_SENT = MessageSent.NUMBER


# What somebody reacted with is theirs, so it is not shown from the moment on at which they are to be erased. Only then
# are the reactions counted one by one.
_STANDING = f"""FROM chat.reactions
WHERE room_id = m.room_id AND message = m.sequence AND emoji = kind.key AND {unless_erasing("user_id")} <> ''"""
_REACTIONS = f"""
SELECT json_agg(json_build_object(
  'emoji', kind.key, 'count', CASE WHEN {ANY_OPEN} THEN (SELECT count(*) {_STANDING}) ELSE kind.value::bigint END,
  'users', first.users, 'mine', EXISTS (
    SELECT FROM chat.reactions WHERE room_id = m.room_id AND message = m.sequence AND user_id = $1 AND emoji = kind.key
  )
) ORDER BY kind.ordinality) AS reactions
FROM json_each_text(m.reactions) WITH ORDINALITY kind CROSS JOIN LATERAL (
  SELECT json_agg(json_build_object('id', user_id, 'name', name) ORDER BY added_in) AS users
  FROM (SELECT user_id, name, added_in {_STANDING} ORDER BY added_in LIMIT {FIRST_USERS}) one
) first WHERE first.users IS NOT NULL
"""


EDIT = """LEFT JOIN LATERAL (
  SELECT edited.sequence, edited.data ->> 'body' AS body FROM (
    SELECT edited_in FROM chat.messages WHERE room_id = e.room_id AND sequence = e.sequence LIMIT 1
  ) m CROSS JOIN LATERAL (
    SELECT sequence, data FROM chat.events WHERE room_id = e.room_id AND sequence = m.edited_in LIMIT 1
  ) edited
) edit ON true"""
"""Joins the last edit, if there is one, to an `e` that is `chat.events`."""
PRESENT_BODY = "CASE WHEN edit.sequence IS NULL THEN e.data ->> 'body' ELSE edit.body END"
"""The text that a message has now, where `EDIT` is joined."""


def _body_of(event: str, edit: str) -> str:
    return f"left(coalesce({edit}.data ->> 'body', {event}.data ->> 'body'), {QUOTED})"


_QUOTE = f"""
SELECT e.actor_id AS quoted_actor, e.actor_name AS quoted_name, e.version = 0 OR {HIDDEN} AS quoted_gone,
  {_body_of("e", "edit")} AS quoted_body
FROM chat.events e
LEFT JOIN LATERAL (
  SELECT edited_in FROM chat.messages WHERE room_id = e.room_id AND sequence = e.sequence LIMIT 1
) m ON true
LEFT JOIN LATERAL (
  SELECT data FROM chat.events WHERE room_id = e.room_id AND sequence = m.edited_in LIMIT 1
) edit ON true
WHERE e.room_id = base.room_id AND e.sequence = base.reply_to AND e.type = {_SENT} LIMIT 1
"""


def events_as_now(base: str) -> str:
    """Return SQL for events with what became of them, as a user ($1) is shown it.

    `base` is SQL for the events: the columns of `CURRENT_COLUMNS`.
    """
    return f"""
    SELECT base.*, base.weight_of_event + coalesce(octet_length(edit.edited_data), 0) AS weight,
      m.amended, m.edited_at, m.deleted, m.replies, m.last_reply_at, m.pinned,
      edit.edited_data, edit.edited_hidden, kinds.reactions, quote.*, followed.following
    FROM ({base}) base
    LEFT JOIN LATERAL (
      SELECT room_id, sequence, version AS amended, edited_in, edited_at, deleted_in IS NOT NULL AS deleted,
        replies, last_reply_at, pinned_in IS NOT NULL AS pinned, reactions
      FROM chat.messages WHERE room_id = base.room_id AND sequence = base.sequence LIMIT 1
    ) m ON base.type = {_SENT}
    LEFT JOIN LATERAL (
      SELECT e.data::text AS edited_data, {HIDDEN} AS edited_hidden FROM chat.events e
      WHERE e.room_id = m.room_id AND e.sequence = m.edited_in LIMIT 1
    ) edit ON true
    LEFT JOIN LATERAL ({_REACTIONS}) kinds ON true
    LEFT JOIN LATERAL ({_QUOTE}) quote ON true
    LEFT JOIN LATERAL (
      SELECT following FROM chat.thread_followers
      WHERE room_id = base.room_id AND thread = base.sequence AND user_id = $1 LIMIT 1
    ) followed ON base.type = {_SENT}"""


def current_events(base: str, *, newest_first: bool = False) -> str:
    """Return SQL for a page of events as they are now: of a room ($2) that a user ($1) may see.

    `base` is SQL for the events, with `found.room_id` for the room: the columns of `CURRENT_COLUMNS`. Rows that would
    not fit the page are left out, and `cut` says so. A room that may not be seen has no row, a page without events one
    row without a sequence.
    """
    order = "DESC" if newest_first else "ASC"
    return f"""
    SELECT log.incarnation::text, found.head, found.first_sequence, page.* FROM chat.log CROSS JOIN (
      SELECT r.room_id, r.head, r.first_sequence FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1
    ) found LEFT JOIN LATERAL (
      SELECT *, count(*) OVER () < counted.rows AS cut FROM (
        SELECT *, count(*) OVER () AS rows, sum(weight) OVER (ORDER BY sequence {order}) - weight AS size FROM (
          {events_as_now(base)}
        ) weighed
      ) counted WHERE size < {MAX_PAGE_BYTES} ORDER BY sequence {order}
    ) page ON true"""


CURRENT_COLUMNS = f"""{EVENT_COLUMNS}, {SIZE.replace("e.data", "e.data::text")} AS weight_of_event,
CASE WHEN e.type = {_SENT} THEN (e.data ->> 'reply_to')::bigint END AS reply_to"""
"""What `base` selects of an `e` that is `chat.events`."""


def shown_between(after: str, before: str, limit: str, *, newest_first: bool = False) -> str:
    """Return SQL for a room's events between two sequences, without those that only say what became of messages."""
    order = "DESC" if newest_first else "ASC"
    return f"""
    SELECT {CURRENT_COLUMNS} FROM (
      SELECT * FROM chat.events
      WHERE room_id = found.room_id AND sequence > {after} AND sequence < {before}
      ORDER BY sequence {order} LIMIT {LOOKED_THROUGH}
    ) e WHERE e.type NOT IN ({_AMENDING}) ORDER BY e.sequence {order} LIMIT {limit} + 1"""


def pinned_messages(limit: int) -> str:
    """Return SQL for the pinned messages of a room."""
    return f"""
    SELECT {CURRENT_COLUMNS} FROM (
      SELECT sequence AS place FROM chat.messages
      WHERE room_id = found.room_id AND pinned_in IS NOT NULL ORDER BY pinned_in DESC LIMIT {limit}
    ) p CROSS JOIN LATERAL (
      SELECT * FROM chat.events WHERE room_id = found.room_id AND sequence = p.place LIMIT 1
    ) e"""


def replies_between(thread: str, after: str, before: str, limit: str, *, newest_first: bool = False) -> str:
    """Return SQL for the replies of a thread between two sequences."""
    order = "DESC" if newest_first else "ASC"
    return f"""
    SELECT {CURRENT_COLUMNS} FROM (
      SELECT sequence AS reply FROM chat.replies
      WHERE room_id = found.room_id AND thread = {thread} AND sequence > {after} AND sequence < {before}
      ORDER BY sequence {order} LIMIT {limit} + 1
    ) r CROSS JOIN LATERAL (
      SELECT * FROM chat.events WHERE room_id = found.room_id AND sequence = r.reply LIMIT 1
    ) e"""


def current_event(row: Any) -> ClientEvent[msgspec.Raw]:
    """Return the event of a row as it is now."""
    recorded = recorded_row(row)
    event = recorded.client_event()
    if recorded.type != MessageSent.TYPE:
        return event
    if row["amended"] is None and row["quoted_gone"] is None and not row["following"] and not recorded.erased:
        # Nothing happened to it, as to most: its data are passed on as they are stored.
        # Behind the last field of the stored object, whose closing brace is cut off: no message is without a `body`.
        return msgspec.structs.replace(event, data=msgspec.Raw(recorded.data[:-1] + b',"version":1}'))
    data: dict[str, Any] = msgspec.json.decode(recorded.data)
    if not recorded.erased:
        data |= _as_now(row)
    # Erased texts of other kinds are marked by `erased` alone.
    elif row["deleted"]:
        data["deleted"] = True
    if row["replies"] or row["following"]:
        thread = {"replies": row["replies"], "last_at": row["last_reply_at"]} if row["replies"] else {"replies": 0}
        data["thread"] = thread | ({"following": True} if row["following"] else {})
    return msgspec.structs.replace(event, data=msgspec.Raw(msgspec.json.encode(data)))


def _as_now(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"version": row["amended"] or 1}
    if row["edited_data"] is not None:
        edited: dict[str, Any] = {} if row["edited_hidden"] else msgspec.json.decode(row["edited_data"])
        found |= {"body": edited.get("body", ""), "edited_at": row["edited_at"]}
        if "flagged" in edited:
            found["flagged"] = edited["flagged"]
    if row["reactions"] is not None:
        found["reactions"] = [
            {name: value for name, value in one.items() if name != "mine" or value}
            for one in msgspec.json.decode(row["reactions"])
        ]
    if row["pinned"]:
        found["pinned"] = True
    if row["quoted_gone"] is not None:
        found["quote"] = _quote(row)
    return found


def _quote(row: Any) -> dict[str, Any]:
    if row["quoted_gone"]:
        return {"sequence": row["reply_to"], "deleted": True}
    actor = {"id": unpack(row["quoted_actor"]), "name": row["quoted_name"]}
    return {"sequence": row["reply_to"], "actor": actor, "body": row["quoted_body"]}
