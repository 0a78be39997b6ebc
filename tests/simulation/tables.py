"""What the double of Postgres holds: rows, what is committed, and what a transaction will have written."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.session import Session


class Row(dict[str, Any]):
    """A row as asyncpg shows it: by column name, and iterating over its values."""

    def __iter__(self) -> Any:
        return iter(self.values())


EVENT = (
    "room_id", "sequence", "number", "event_id", "type", "version", "actor_id", "actor_name", "command_id",
    "fingerprint", "data", "recorded_at",
)  # fmt: skip
"""The columns of an event, in the order of the statement that appends."""
NO_EVENT = Row(dict.fromkeys(EVENT))


@dataclass
class Tables:
    """What is committed."""

    rooms: dict[int, Row] = field(default_factory=dict)
    events: defaultdict[int, dict[int, Row]] = field(default_factory=lambda: defaultdict(dict))
    """Per room, by sequence."""
    by_id: dict[tuple[int, Any], Row] = field(default_factory=dict)
    """Events by room and event id."""
    members: defaultdict[int, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    commands: dict[tuple[int, Any], Row] = field(default_factory=dict)
    declined: dict[tuple[int, str], datetime] = field(default_factory=dict)
    consumers: dict[str, Row] = field(default_factory=dict)
    erasures: dict[Any, Row] = field(default_factory=dict)
    messages: dict[tuple[int, int], Row] = field(default_factory=dict)
    """What became of messages, by room and sequence."""
    reactions: dict[tuple[int, int, str, str], Row] = field(default_factory=dict)
    replies: dict[tuple[int, int, int], Row] = field(default_factory=dict)
    followers: dict[tuple[int, int, str], Row] = field(default_factory=dict)
    restrictions: dict[tuple[int, str], Row] = field(default_factory=dict)
    reads: dict[tuple[int, str], Row] = field(default_factory=dict)
    """How far users have read, by room and user."""


class Transaction:
    """What one session has locked, and what it will have written."""

    __slots__ = ("alive", "committing", "ended", "locks", "rooms", "session", "writes", "xid")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.alive = True
        self.committing = False
        self.locks: dict[Hashable, None] = {}
        self.rooms: set[int] = set()
        """Keys of rooms that it makes."""
        self.writes: list[Callable[[Tables], None]] = []
        self.xid: int | None = None
        self.ended: list[asyncio.Future[None]] = []
        session.database.transactions[self] = None
