"""Which rooms exist for whom: public ones for everybody, private ones for their members and those invited."""

from __future__ import annotations

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.log.erasure.erasures import room_is_erased
from parley.common.errors import Code, Reject

EXISTING = f"NOT {room_is_erased('r.room_id')}"
"""Whether the room `r` exists at all. A room that is being erased does not, from the moment this was requested."""

# A subquery of one row by key, whatever the sizes of the tables: of an EXISTS the planner might make a join.
VISIBLE = f"""(r.kind = 'public' OR (
  SELECT true FROM chat.members seen WHERE seen.room_id = r.room_id AND seen.user_id = $1 LIMIT 1
)) AND {EXISTING}"""
"""Whether the room `r` exists for the user who is the statement's first argument."""


def no_such_room() -> Reject:
    """Return what is said of a room that does not exist, and in the same words of one that the user may not see."""
    return Reject(Code.NOT_FOUND, "There is no such room.")


def require_joined(kind: str, state: str | None) -> None:
    """Refuse who is no member of a room: `not_found` where it does not exist for them, else `not_a_member`."""
    # As if it did not exist: `not_a_member` would say that it does.
    if kind != "public" and state is None:
        raise no_such_room()
    if state != "joined":
        raise Reject(Code.NOT_A_MEMBER)


def key_of(room: str) -> int:
    """Return the key of the room with this public id. Raises `Reject(not_found)` if the text cannot be a room's id."""
    if (key := room_key(room)) is None:
        raise no_such_room()
    return key
