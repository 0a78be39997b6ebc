"""A log with many events, quickly: a message in each room by the product's own writer, and then copies of it by SQL.

Only what must differ between two messages of a room is named here; other columns are copied whatever they are.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import asyncpg
from chats import Database
from inside import Chat, chat

TEXT = "x" * 90
ROOMS_OF_AN_OWNER = 100
AT_ONCE = 200

# What is not copied, by column; $1 is the number of the copy. `None` leaves a column to its default.
_DIFFERENT: dict[str, str | None] = {
    "sequence": "sequence + $1",
    "number": "number + $1",
    "recorded_at": "recorded_at + $1 * interval '1 second'",
    "event_id": "gen_random_uuid()",
    # An id that is a UUID, as the log packs it.
    "command_id": r"'\x01'::bytea || uuid_send(gen_random_uuid())",
    "transaction_id": None,
}
_MOVED = ("head", "messages")
"""What a room's own row says about the last of them."""

_LAST_OF_EACH_ROOM = """
CREATE TEMPORARY TABLE seeds AS
SELECT DISTINCT ON (room_id) * FROM chat.events ORDER BY room_id, sequence DESC
"""

_COLUMNS = """
SELECT attname AS name, attidentity <> '' AS counted FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""

_BYTES = """
SELECT sum(pg_total_relation_size(oid))::float8 / (SELECT count(*) FROM chat.events) FROM pg_class
WHERE oid = 'chat.events'::regclass OR oid IN (SELECT relid FROM pg_partition_tree('chat.events'))
"""


def owner_of(number: int) -> str:
    """Who made this room: a user with an id as long as those of most user tables."""
    return str(uuid5(NAMESPACE_URL, f"owner{number // ROOMS_OF_AN_OWNER}"))


def grow(base: Database, events: int, rooms: int) -> list[str]:
    """Fill an empty log with about as many events in as many rooms, evenly, and return the rooms."""
    return asyncio.run(_grow(base.url, events, rooms))


def bytes_per_event(base: Database) -> float:
    """What an event takes on disk with all indices."""
    return round(base.value(_BYTES), 1)


async def _grow(url: str, events: int, rooms: int) -> list[str]:
    async with chat(url, {owner_of(number) for number in range(rooms)}) as running:
        made: list[str] = []
        for first in range(0, rooms, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, rooms))
            made += await asyncio.gather(*(_start_room(running, number) for number in numbers))
    connection = cast("Any", await asyncpg.connect(url))
    try:
        await _copy(connection, events // rooms)
    finally:
        await connection.close()
    return made


async def _start_room(running: Chat, number: int) -> str:
    room = await running.create_room(owner_of(number), f"Room {number}")
    await running.send(owner_of(number), room, TEXT)
    return room


async def _copy(connection: Any, times: int) -> None:
    await connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(_LAST_OF_EACH_ROOM)
    columns = [row["name"] for row in await connection.fetch(_COLUMNS, "chat.events") if not row["counted"]]
    copied = {name: _DIFFERENT.get(name, name) for name in columns}
    written = {name: value for name, value in copied.items() if value is not None}
    # One message to every room after the other, as they come in life, and a transaction for each turn.
    insert = f"INSERT INTO chat.events ({', '.join(written)}) SELECT {', '.join(written.values())} FROM seeds"
    for number in range(1, times + 1):
        await connection.execute(insert, number)
    moved = {row["name"] for row in await connection.fetch(_COLUMNS, "chat.rooms")} & set(_MOVED)
    await connection.execute(f"UPDATE chat.rooms SET {', '.join(f'{name} = {name} + $1' for name in moved)}", times)
    await connection.execute("ALTER SYSTEM RESET max_wal_size")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
