"""Makes projections what the log says, room by room, while everybody works. `parley rebuild` runs it.

A room is folded from its events and compared without a lock. Only the rows that differ are written, some at a time
under the lock of the room, after the events that came meanwhile were folded too; so nobody waits longer than some rows
take. A rebuild may be stopped and begun again at any time: what was corrected stays so.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from parley.chat.domain.projectors import ALL, ROOMS, Difference, FoldedRoom, Projector, Row
from parley.chat.log.statements import execute_rows, put_rows, remove_rows
from parley.chat.projections.replay import RoomReplay, fold_rooms, replay
from parley.chat.projections.verify import Progress

ROWS_AT_ONCE = 200
"""Rows that are written under one lock of a room; they take a few milliseconds."""
_LOCK = "SELECT true FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE"
_ERASING_SINCE = """
SELECT EXISTS (
  SELECT FROM chat.erasures WHERE started_at IS NOT NULL AND (completed_at IS NULL OR completed_at >= $1)
)
"""
_CORRECTED = "UPDATE chat.log SET mended = mended + 1"


class Rebuilt(NamedTuple):
    """How many rooms were compared, and how many rows were corrected."""

    rooms: int
    corrected: int


async def rebuild(
    connection: Any, projectors: Collection[Projector] = ALL, progress: Progress | None = None
) -> Rebuilt:
    """Bring every room's rows in line with its events."""
    rooms, corrected = 0, 0
    began = await connection.fetchval("SELECT clock_timestamp()")
    async for chunk in replay(connection, projectors):
        before = corrected
        for room in chunk:
            rooms += 1
            if room.differences:
                corrected += len(room.differences)
                await _correct(connection, room, began)
        if corrected != before:
            # What writers know of rooms may be outdated. The announcer sees this within half a second, and they read
            # again.
            await connection.execute(_CORRECTED)
        if progress is not None:
            progress(rooms, chunk[-1].room_id)
    return Rebuilt(rooms, corrected)


async def _correct(connection: Any, room: RoomReplay, began: datetime) -> None:
    folded = room.folded
    if folded is None:
        async with connection.transaction(isolation="read_committed"):
            await connection.fetchval(_LOCK, room.room_id)
            if (await fold_rooms(connection, {room.room_id: None}))[room.room_id] is None:
                await _store(connection, None, room.differences)
        return
    differences = iter(room.differences)
    while piece := list(islice(differences, ROWS_AT_ONCE)):
        async with connection.transaction(isolation="read_committed"):
            if not await connection.fetchval(_LOCK, room.room_id):
                # A room without its row can be neither locked nor written to, so it gets the row first.
                await _put(connection, ROOMS, ROOMS.rows(folded))
                await connection.fetchval(_LOCK, room.room_id)
            # An erasure changes events that were folded before it, so then the room is folded from its first event.
            known = None if await connection.fetchval(_ERASING_SINCE, began) else folded
            folded = (await fold_rooms(connection, {room.room_id: known}))[room.room_id] or folded
            await _store(connection, folded, piece)


async def _store(connection: Any, folded: FoldedRoom | None, piece: list[Difference]) -> None:
    """Write the rows that differed, as the log has them now."""
    for projector in {difference.projector.name: difference.projector for difference in piece}.values():
        rows = projector.rows(folded) if folded else list[Row]()
        expected = {row[: projector.key]: row for row in rows}
        keys = [difference.key for difference in piece if difference.projector is projector]
        await _put(connection, projector, [expected[key] for key in keys if key in expected])
        await _remove(connection, projector, [key for key in keys if key not in expected])


async def _put(connection: Any, projector: Projector, rows: list[Row]) -> None:
    await execute_rows(connection, put_rows(projector.name, projector.columns, projector.key), rows)


async def _remove(connection: Any, projector: Projector, keys: list[Row]) -> None:
    key = list(projector.columns)[: projector.key]
    await execute_rows(connection, remove_rows(projector.name, projector.columns, *key), keys)
