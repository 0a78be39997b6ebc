"""What an erasure takes out of blocks and reports, which are in no room's log. Pure: statements with their arguments.

They run when everything in the log is erased. Until then, whoever reads leaves out what an open erasure covers.
"""

from __future__ import annotations

from typing import Any

from parley.chat.domain.erasure import Erasure, ErasureScope

# The copy in a report has messages of several people.
_WITHOUT = """
UPDATE chat.reports SET copy = (
  SELECT coalesce(json_agg(kept), '[]') FROM json_array_elements(copy) kept WHERE NOT ({gone})
){more} WHERE {where}
"""


def statements(erasure: Erasure) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the statements that remove what an erasure covers."""
    match erasure.scope:
        case ErasureScope.USER:
            user = (erasure.user_id,)
            copies = _WITHOUT.format(
                gone="kept -> 'actor' ->> 'id' = $1",
                more=", authors = array_remove(authors, $1), author = CASE author WHEN $1 THEN '' ELSE author END",
                where="$1 = ANY(authors)",
            )
            return [
                ("DELETE FROM chat.blocks WHERE user_id = $1 OR blocked_id = $1", user),
                ("UPDATE chat.reports SET reporter = '', comment = '' WHERE reporter = $1", user),
                ("UPDATE chat.reports SET resolved_by = '', note = '' WHERE resolved_by = $1", user),
                (copies, user),
            ]
        case ErasureScope.MESSAGE:
            copies = _WITHOUT.format(gone="kept ->> 'event_id' = $2", more="", where="room_id = $1")
            return [(copies, (erasure.room_id, str(erasure.event_id)))]
        case ErasureScope.ROOM:
            return [("DELETE FROM chat.reports WHERE room_id = $1", (erasure.room_id,))]
        case ErasureScope.AGE:
            return [("DELETE FROM chat.reports WHERE message_at < $1", (erasure.before,))]
