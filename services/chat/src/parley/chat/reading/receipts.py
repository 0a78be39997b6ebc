"""How far others have read a room: shown and told in small rooms to those who look, counted on demand in large ones.

Who looks at a room's receipts is put into a room that is named after it and after the last event that changed who is a
member. So nobody who was removed hears any more, and those who stay ask again when they are told of the change.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.fields import RoomId
from parley.chat.log.database import Pool, reachable
from parley.chat.log.erasure.erasures import unless_erasing
from parley.chat.queries.visibility import EXISTING, key_of, no_such_room, require_joined
from parley.framework import Code, Identity, Reject

SMALL_ROOM = 100
"""Members of a room up to which everybody's cursor is shown."""

_ROOM = f"""
SELECT r.room_id, r.kind, r.changed, r.member_count, m.state FROM chat.rooms r
LEFT JOIN LATERAL (SELECT state FROM chat.members WHERE room_id = r.room_id AND user_id = $1 LIMIT 1) m ON true
WHERE r.room_id = $2 AND {EXISTING}
"""

_SHOWN = f"""
(SELECT true FROM chat.members m WHERE m.room_id = rd.room_id AND m.user_id = rd.user_id AND m.state = 'joined'
   AND m.sequence <= rd.sequence LIMIT 1)
AND NOT coalesce((SELECT private_receipts FROM chat.preferences p WHERE p.user_id = rd.user_id LIMIT 1), false)
AND {unless_erasing("rd.user_id")} <> ''"""

_RECEIPTS = f"""
SELECT rd.user_id, rd.sequence FROM chat.reads rd WHERE rd.room_id = $1 AND {_SHOWN} ORDER BY rd.user_id LIMIT $2
"""
# Without the author, who has read it by writing it.
_COUNT = f"""
SELECT count(*) FROM chat.reads rd WHERE rd.room_id = $1 AND rd.sequence >= $2 AND rd.user_id <> $3 AND {_SHOWN}
"""
_AUTHOR = "SELECT actor_id FROM chat.events WHERE room_id = $1 AND sequence = $2"


class GetReceipts(msgspec.Struct, frozen=True):
    """`receipts`: how far the members of a room have read. With `sequence`, how many have read this message."""

    room: RoomId
    sequence: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None


class Receipt(msgspec.Struct, frozen=True):
    """How far one member has read."""

    user: str
    sequence: int


class Receipts(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the members have read who show it. `changed` is the event with which who is a member changed last.

    `readers` is how many of them have read the message that was asked about.
    """

    changed: int
    receipts: list[Receipt] = []
    readers: int | None = None


def receipts_room(room: str, changed: int) -> str:
    """Return the name of the room of those who look at the receipts of a room, while its members stay the same."""
    return f"receipts:{room}:{changed}"


async def receipts(pool: Pool, identity: Identity, asked: GetReceipts) -> Receipts:
    """Return how far the members of a small room have read, or how many have read a message. Raises `Reject`."""
    with reachable():
        room = await pool.fetchrow(_ROOM, identity.user_id, key_of(asked.room))
        if room is None:
            raise no_such_room()
        require_joined(room["kind"], room["state"])
        if asked.sequence is not None:
            author = await pool.fetchval(_AUTHOR, room["room_id"], asked.sequence)
            if author is None:
                raise Reject(Code.INVALID_PAYLOAD, "The room has no event with this sequence.")
            readers = await pool.fetchval(_COUNT, room["room_id"], asked.sequence, unpack(author))
            return Receipts(room["changed"], readers=readers)
        if room["member_count"] > SMALL_ROOM:
            raise Reject(
                Code.LIMIT_EXCEEDED,
                f"Of a room of more than {SMALL_ROOM} members only the readers of a message are told.",
            )
        # One more than members, in case somebody joined since they were counted.
        rows = await pool.fetch(_RECEIPTS, room["room_id"], SMALL_ROOM + 1)
    return Receipts(room["changed"], [Receipt(row["user_id"], row["sequence"]) for row in rows])
