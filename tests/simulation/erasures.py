"""Erasures in the double: what is hidden while one is open, and the statements that ask for them and execute them.

Of users and of single messages; those of rooms and by age are the same machine.
"""

from __future__ import annotations

import json
from typing import Any

from parley.chat.domain.compact import unpack
from parley.chat.log import erasures
from tests.simulation.database import Row, Tables

Args = tuple[Any, ...]
COLUMNS = tuple(name.strip() for name in erasures._COLUMNS.split(","))
_MEMBERSHIP = {int(number) for number in erasures._MEMBERSHIP.split(",")}


def open_erasures(tables: Tables) -> list[Row]:
    """Those that are not completed, the oldest first."""
    return [one for one in tables.erasures.values() if one["completed_at"] is None]


def covers(erasure: Row, event: Row) -> bool:
    """Whether an erasure covers an event."""
    if erasure["scope"] == "message":
        return (event["room_id"], event["event_id"]) == (erasure["room_id"], erasure["event_id"])
    named = json.loads(event["data"]).get("user", {}).get("id") if event["type"] in _MEMBERSHIP else None
    return erasure["user_id"] in (unpack(event["actor_id"]), named)


def shown(tables: Tables, event: Row) -> Row:
    """An event with whether it is to be read as erased."""
    hidden = event["sequence"] is not None and any(covers(one, event) for one in open_erasures(tables))
    return Row(event, hidden=hidden)


def shown_room(tables: Tables, room_id: int) -> Row:
    """A room without a maker whose all is being erased."""
    room = tables.rooms[room_id]
    if any(room["created_by"] == one["user_id"] for one in open_erasures(tables)):
        return Row(room, created_by="")
    return room
