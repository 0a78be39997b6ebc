"""The rows of what single users have (`user_tables`) that an erasure covers, pure.

They are deleted when everything in the log is erased. Nothing is made from them that others would miss.
"""

from __future__ import annotations

from parley.chat.domain.erasure import Erasure, ErasureScope

OF_USER = (
    ("reads", "user_id"),
    ("mentions", "user_id"),
    ("mentions", "author_id"),
    ("levels", "user_id"),
    ("preferences", "user_id"),
    ("notifications", "user_id"),
    ("notifications", "actor_id"),
    ("inboxes", "user_id"),
    ("push_subscriptions", "user_id"),
    ("drafts", "user_id"),
    ("scheduled", "user_id"),
    ("bot_commands", "user_id"),
    ("invocations", "user_id"),
    ("invocations", "bot_id"),
    ("thread_reads", "user_id"),
)
"""Tables with the column that names whose rows they are, or who is named in them."""
_OF_ROOM = (
    "reads", "mentions", "levels", "notifications", "drafts", "scheduled", "bot_commands", "invocations",
    "thread_reads",
)  # fmt: skip
OF_ROOM = tuple((table, "room_id") for table in _OF_ROOM)

_DELETE = """
WITH gone AS (
  DELETE FROM chat.{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM chat.{table} WHERE {column} = $1 LIMIT 500))
  RETURNING true
) SELECT count(*) FROM gone
"""


STATEMENTS = tuple(_DELETE.format(table=table, column=column) for table, column in dict.fromkeys((*OF_USER, *OF_ROOM)))


def covered(erasure: Erasure) -> list[tuple[str, str | int]]:
    """Return statements that delete some of the rows that an erasure covers and say how many, with their argument.

    Each is repeated until it finds none.
    """
    if erasure.user_id is not None:
        return [(_DELETE.format(table=table, column=column), erasure.user_id) for table, column in OF_USER]
    if erasure.scope is ErasureScope.ROOM and erasure.room_id is not None:
        return [(_DELETE.format(table=table, column=column), erasure.room_id) for table, column in OF_ROOM]
    return []
