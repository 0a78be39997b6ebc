"""Rebuilding the projections from the log: `rooms`, `members` and `declined` can be dropped and come out identical.

Only the events that change what decisions read are folded, which are few; messages are counted by Postgres.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, get_args

from parley.chat.domain.erasure import evolve_recorded
from parley.chat.domain.room import Event
from parley.chat.domain.state import Room
from parley.chat.log.event_store import EVENT_COLUMNS, ROOM_COLUMNS, room_row, stored_row

_HEADS = "SELECT room_id, max(sequence), max(number), min(sequence) FROM chat.events GROUP BY room_id"
_CHANGES = f"""
SELECT {EVENT_COLUMNS} FROM chat.events e WHERE e.type = ANY($1::smallint[]) ORDER BY e.room_id, e.sequence
"""
_TABLES = {
    "rooms": (*ROOM_COLUMNS, "first_sequence"),
    "members": ("room_id", "user_id", "name", "state", "role", "sequence", "invited_by"),
    "declined": ("room_id", "user_id", "declined_at"),
}


async def rebuild(connection: Any) -> int:
    """Replace every projection by what the log says, in one transaction.

    Writers are told `unavailable` meanwhile; readers see the projections as they were before. Returns the number of
    rooms made.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("LOCK TABLE chat.rooms, chat.members, chat.declined, chat.events IN EXCLUSIVE MODE")
        # Not TRUNCATE, which readers would wait for as well.
        await connection.execute("DELETE FROM chat.rooms")
        await connection.execute("DELETE FROM chat.members")
        await connection.execute("DELETE FROM chat.declined")
        heads = {room_id: rest async for room_id, *rest in connection.cursor(_HEADS, prefetch=5000)}
        rooms: list[tuple[Any, ...]] = []
        members: list[tuple[Any, ...]] = []
        declined: list[tuple[Any, ...]] = []
        count = 0
        async for room in _fold(connection):
            count += 1
            room.head, room.messages, first = heads[room.room_id]
            rooms.append((*room_row(room), first))
            members.extend(
                (room.room_id, m.user_id, m.name, m.state, m.role, m.sequence, m.invited_by)
                for m in room.members.values()
            )
            declined.extend((room.room_id, user_id, at) for user_id, at in room.declined.items())
            if len(members) + len(declined) > 10_000:
                await _store(connection, rooms, members, declined)
        await _store(connection, rooms, members, declined)
        return count


async def _store(connection: Any, *made: list[tuple[Any, ...]]) -> None:
    """Store what was made so far of each table, and empty the lists."""
    for (table, columns), rows in zip(_TABLES.items(), made, strict=True):
        await connection.copy_records_to_table(table, schema_name="chat", columns=columns, records=rows)
        rows.clear()


async def _fold(connection: Any) -> AsyncIterator[Room]:
    room: Room | None = None
    numbers = [kind.NUMBER for kind in get_args(Event) if kind.CHANGES_DECISIONS]
    async for row in connection.cursor(_CHANGES, numbers, prefetch=1000):
        recorded = stored_row(row)
        if room is not None and room.room_id != recorded.room_id:
            yield room
            room = None
        room = evolve_recorded(room, recorded)
    if room is not None:
        yield room
