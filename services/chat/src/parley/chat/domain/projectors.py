"""What the log is made into for reading and deciding, pure: which rows of which table a room leads to.

There is one projector for each table. The writer stores what it says of the rooms that it has decided on; who rebuilds
or verifies folds a room's events and compares all its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import evolve_recorded
from parley.chat.domain.room import Event
from parley.chat.domain.state import Member, Room

Row = tuple[Any, ...]
STRUCTURAL = tuple(kind.NUMBER for kind in get_args(Event) if kind.CHANGES_DECISIONS)
"""Numbers of the types of events that projections are folded from; the others only move heads and count messages."""

ROOM_COLUMNS = {
    "room_id": "bigint", "name": "text", "kind": "text", "created_by": "text", "created_at": "timestamptz",
    "archived": "boolean", "head": "bigint", "messages": "bigint", "changed": "bigint", "member_count": "bigint",
    "topic": "text",
}  # fmt: skip
"""What a room's row holds of a `Room`, in the order of its fields, and of which types."""
MEMBER_COLUMNS = {
    "room_id": "bigint", "user_id": "text", "name": "text", "state": "text", "role": "text", "sequence": "bigint",
    "invited_by": "text",
}  # fmt: skip
DECLINED_COLUMNS = {"room_id": "bigint", "user_id": "text", "declined_at": "timestamptz"}


@dataclass(slots=True)
class Folded:
    """A room as its events make it, and the sequence of the oldest that is kept."""

    room: Room
    first_sequence: int = 1

    def follow(self, head: int, messages: int, first_sequence: int) -> None:
        """Take in what follows from the last event and the first."""
        self.room.head, self.room.messages, self.first_sequence = head, messages, first_sequence


@dataclass(frozen=True, slots=True)
class Projector:
    """Makes the rows of one table. The first `key` of its columns are the table's key; `columns` have their types."""

    name: str
    columns: dict[str, str]
    key: int
    rows: Callable[[Folded], list[Row]]


def room_row(room: Room) -> Row:
    """What `chat.rooms` holds of a room, in the order of `ROOM_COLUMNS`."""
    return tuple(getattr(room, column) for column in ROOM_COLUMNS)


def member_row(room_id: int, member: Member) -> Row:
    """What `chat.members` holds of a user's place."""
    return room_id, member.user_id, member.name, member.state, member.role, member.sequence, member.invited_by


def declined_row(room_id: int, user_id: str, at: datetime) -> Row:
    """What `chat.declined` holds of a user who declined to come in."""
    return room_id, user_id, at


ROOMS = Projector(
    "rooms",
    ROOM_COLUMNS | {"first_sequence": "bigint"},
    1,
    lambda folded: [(*room_row(folded.room), folded.first_sequence)],
)
MEMBERS = Projector(
    "members",
    MEMBER_COLUMNS,
    2,
    lambda folded: [member_row(folded.room.room_id, member) for member in folded.room.members.values()],
)
DECLINED = Projector(
    "declined",
    DECLINED_COLUMNS,
    2,
    lambda folded: [declined_row(folded.room.room_id, *one) for one in folded.room.declined.items()],
)
PROJECTORS = {projector.name: projector for projector in (MEMBERS, DECLINED, ROOMS)}
"""By name; a room's own row comes last, so that it is right once the others are."""
ALL = tuple(PROJECTORS.values())


def fold(folded: Folded | None, recorded: Recorded) -> Folded:
    """A room after one more of its events. Raises `ValueError` for a room that does not begin with its making."""
    room = evolve_recorded(folded.room if folded is not None else None, recorded)
    return folded or Folded(room)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the log says. `stored` is None where it is missing, `expected` where it is too much."""

    projector: Projector
    key: Row
    stored: Row | None
    expected: Row | None

    def __str__(self) -> str:
        key = ", ".join(f"{name} = {value!r}" for name, value in zip(self.projector.columns, self.key, strict=False))
        where = f"chat.{self.projector.name} ({key})"
        if self.stored is None:
            return f"{where} is missing"
        if self.expected is None:
            return f"{where} is in no event"
        wrong = [
            f"{name} is {stored!r}, by the log {expected!r}"
            for name, stored, expected in zip(self.projector.columns, self.stored, self.expected, strict=True)
            if stored != expected
        ]
        return f"{where}: {'; '.join(wrong)}"


def compare(projector: Projector, folded: Folded | None, stored: list[Row]) -> list[Difference]:
    """How a table's rows of one room differ from what its events lead to; None is a room without any."""
    expected = {row[: projector.key]: row for row in (projector.rows(folded) if folded else [])}
    there = {row[: projector.key]: row for row in stored}
    return [
        Difference(projector, key, there.get(key), expected.get(key))
        for key in sorted(there.keys() | expected.keys())
        if there.get(key) != expected.get(key)
    ]
