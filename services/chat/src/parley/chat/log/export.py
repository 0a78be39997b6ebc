"""Exports the log as lines, page by page, while everybody writes. What is written meanwhile may be left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley.chat.domain.encoding.log_lines import FORMAT, CommandLine, EndLine, LogLine, encode_line, event_line
from parley.chat.domain.encoding.room_ids import FIRST_ROOM, LAST_ROOM, public_room_id
from parley.chat.log.event_store import read_secret, recorded_row
from parley.chat.log.statements import EVENT_COLUMNS

PAGE = 500
"""Events of one statement's result."""
ROOMS = 200

_ERASURES = "SELECT count(*), count(*) FILTER (WHERE completed_at IS NULL) FROM chat.erasures"
_NEXT_ROOMS = "SELECT room_id, head FROM chat.rooms WHERE room_id >= $1 ORDER BY room_id LIMIT $2"
_EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM chat.events e
WHERE e.room_id = $1 AND e.sequence > $2 AND e.sequence <= $3 ORDER BY e.sequence
"""
_COMMANDS = """
SELECT room_id, command_key, sequence, fingerprint FROM chat.commands WHERE room_id = $1 ORDER BY command_key
"""

Write = Callable[[bytes], object]


class Interrupted(Exception):
    """Something was erased meanwhile, so what was written may contain what nobody may read any more."""


async def export(connection: Any, write: Write, report: Callable[[int], None]) -> int:
    """Write the log line by line, and return how many events it has.

    `write` takes the bytes of a line, `report` the number of events so far. Raises `Interrupted`, and what asyncpg
    raises.
    """
    known, being_erased = await connection.fetchrow(_ERASURES)
    if being_erased:
        raise Interrupted("something is being erased; export again when it is")
    write(encode_line(LogLine(FORMAT, await read_secret(connection))))
    events = commands = 0
    first = FIRST_ROOM
    while rooms := await connection.fetch(_NEXT_ROOMS, first, ROOMS):
        for room_id, head in rooms:
            for after in range(0, head, PAGE):
                rows = await connection.fetch(_EVENTS, room_id, after, min(head, after + PAGE))
                for row in rows:
                    write(encode_line(event_line(recorded_row(row))))
                events += len(rows)
                report(events)
            for room, key, sequence, fingerprint in await connection.fetch(_COMMANDS, room_id):
                # A command that was remembered after the room's head was read may name an event that is not in the
                # file.
                if sequence <= head:
                    write(encode_line(CommandLine(public_room_id(room), key, sequence, fingerprint)))
                    commands += 1
        if (last := rooms[-1]["room_id"]) == LAST_ROOM:
            break  # a greater key would not fit the column's type
        first = last + 1
    write(encode_line(EndLine(events, commands)))
    if (await connection.fetchrow(_ERASURES))[0] != known:
        raise Interrupted("something was asked to be erased meanwhile; export again")
    return events
