"""Rebuilding the projections from the log: `rooms` and `members` can be dropped and come out identical."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from parley.chat.domain.events import User
from parley.chat.domain.room import evolve
from parley.chat.domain.state import Room
from parley.chat.log.event_store import EVENT_COLUMNS, recorded_row

_LOG = f"SELECT {EVENT_COLUMNS} FROM chat.events e ORDER BY e.room_id, e.sequence"


async def rebuild(connection: Any) -> int:
    """Replace every projection by what the log says, in one transaction that writers wait for.

    Returns the number of rooms made.
    """
    async with connection.transaction():
        await connection.execute("LOCK TABLE chat.rooms, chat.members, chat.events IN EXCLUSIVE MODE")
        await connection.execute("TRUNCATE chat.rooms, chat.members")
        count = 0
        async for room in _fold(connection):
            count += 1
            await connection.execute(
                """INSERT INTO chat.rooms (room_id, name, kind, archived, head, messages, changed, member_count,
                                           created_by, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
                room.room_id, room.name, room.kind, room.archived, room.head, room.messages, room.changed,
                room.member_count, room.created_by, room.created_at,
            )  # fmt: skip
            await connection.copy_records_to_table(
                "members",
                schema_name="chat",
                columns=("room_id", "user_id", "name", "state", "role", "sequence", "invited_by"),
                records=[
                    (room.room_id, m.user_id, m.name, m.state, m.role, m.sequence, m.invited_by)
                    for m in room.members.values()
                ],
            )
        return count


async def _fold(connection: Any) -> AsyncIterator[Room]:
    room: Room | None = None
    async for row in connection.cursor(_LOG, prefetch=1000):
        recorded = recorded_row(row)
        if room is not None and room.room_id != recorded.room_id:
            yield room
            room = None
        actor = User(recorded.actor_id, recorded.actor_name)
        room = evolve(room, recorded.event(), recorded.room_id, recorded.sequence, actor, recorded.recorded_at)
    if room is not None:
        yield room
