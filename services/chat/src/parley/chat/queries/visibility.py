"""Which rooms exist for whom: public ones for all, others for those who are in them or invited."""

from __future__ import annotations

from parley.chat.domain.identifiers import room_key
from parley.common.errors import Code, Reject

# One row by key, whatever the tables' sizes; of an EXISTS the planner might make a join.
VISIBLE = """(r.kind = 'public' OR (
  SELECT true FROM chat.members seen WHERE seen.room_id = r.room_id AND seen.user_id = $1 LIMIT 1
))"""
"""Whether the room `r` exists for the user who is the statement's first argument."""


def no_such_room() -> Reject:
    """What is said of a room that is not there, and in the same words of one that is not to be seen."""
    return Reject(Code.NOT_FOUND, "There is no such room.")


def key_of(room: str) -> int:
    """The key of a room named by its public id. Raises `Reject(not_found)` for a text that is nobody's id."""
    if (key := room_key(room)) is None:
        raise no_such_room()
    return key
