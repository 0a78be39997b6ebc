"""Export of the log as lines: page by page, beside all who write. What is being written meanwhile may be left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley.chat.domain.encoding.log_lines import FORMAT, CommandLine, EndLine, LogLine, encode_line, event_line
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.log.event_store import read_secret, recorded_row
from parley.chat.log.statements import EVENT_COLUMNS

PAGE = 500
"""Events in one statement's answer."""
ROOMS = 200

_ERASURES = "SELECT count(*), count(*) FILTER (WHERE completed_at IS NULL) FROM chat.erasures"
_FIRST_ROOMS = "SELECT room_id, head FROM chat.rooms ORDER BY room_id LIMIT $1"
_NEXT_ROOMS = "SELECT room_id, head FROM chat.rooms WHERE room_id > $2 ORDER BY room_id LIMIT $1"
_EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS q(room_id, after, up_to)
CROSS JOIN LATERAL (
  SELECT * FROM chat.events WHERE room_id = q.room_id AND sequence > q.after AND sequence <= q.up_to
) e ORDER BY e.room_id, e.sequence
"""
_COMMANDS = """
SELECT room_id, command_key, sequence, fingerprint FROM chat.commands WHERE room_id = $1 ORDER BY command_key
"""

Write = Callable[[bytes], object]


class Interrupted(Exception):
    """What was written so far holds what nobody is to read any more: something was erased meanwhile."""


async def export(connection: Any, write: Write, report: Callable[[int], None]) -> int:
    """Write the log, line after line, and return how many events it has.

    Raises `Interrupted`, and what asyncpg does.
    """
    known, being_erased = await connection.fetchrow(_ERASURES)
    if being_erased:
        raise Interrupted("something is being erased; export again when it is")
    write(encode_line(LogLine(FORMAT, await read_secret(connection))))
    events = commands = 0
    last: int | None = None
    while rooms := await _next_rooms(connection, last):
        for room_id, head in rooms:
            for after in range(0, head, PAGE):
                rows = await connection.fetch(_EVENTS, [room_id], [after], [min(head, after + PAGE)])
                for row in rows:
                    write(encode_line(event_line(recorded_row(row))))
                events += len(rows)
                report(events)
            for room, key, sequence, fingerprint in await connection.fetch(_COMMANDS, room_id):
                # One that was remembered after the room's events were read is left out with what it names.
                if sequence <= head:
                    write(encode_line(CommandLine(public_room_id(room), key, sequence, fingerprint)))
                    commands += 1
            last = room_id
    write(encode_line(EndLine(events, commands)))
    if (await connection.fetchrow(_ERASURES))[0] != known:
        raise Interrupted("something was asked to be erased meanwhile; export again")
    return events


async def _next_rooms(connection: Any, last: int | None) -> list[Any]:
    if last is None:
        return await connection.fetch(_FIRST_ROOMS, ROOMS)
    return await connection.fetch(_NEXT_ROOMS, ROOMS, last)
