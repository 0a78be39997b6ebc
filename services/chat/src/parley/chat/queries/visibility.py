"""Which rooms exist for whom: public ones for all, others for those who are in them or invited."""

from __future__ import annotations

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.log.erasure.erasures import room_is_erased
from parley.common.errors import Code, Reject

EXISTING = f"NOT {room_is_erased('r.room_id')}"
"""Whether the room `r` exists for anybody: one that is being erased does not, from the moment this was asked for."""

# One row by key, whatever the tables' sizes; of an EXISTS the planner might make a join.
VISIBLE = f"""(r.kind = 'public' OR (
  SELECT true FROM chat.members seen WHERE seen.room_id = r.room_id AND seen.user_id = $1 LIMIT 1
)) AND {EXISTING}"""
"""Whether the room `r` exists for the user who is the statement's first argument."""


def no_such_room() -> Reject:
    """What is said of a room that is not there, and in the same words of one that is not to be seen."""
    return Reject(Code.NOT_FOUND, "There is no such room.")


def key_of(room: str) -> int:
    """The key of a room named by its public id. Raises `Reject(not_found)` for a text that is nobody's id."""
    if (key := room_key(room)) is None:
        raise no_such_room()
    return key
