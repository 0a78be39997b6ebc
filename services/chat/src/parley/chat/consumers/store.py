"""Consumers in Postgres: their names, the events they want, and how far in the log each of them is."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.log.position import BEGINNING, Position, Snapshot
from parley.chat.log.tail import ANNOUNCEMENTS

# A registered consumer keeps its place: a service registers its consumers whenever it starts.
_REGISTER = """
INSERT INTO chat.consumers (name, events, position, batch) VALUES ($1, $2, $3, gen_random_uuid()::text)
ON CONFLICT (name) DO UPDATE SET events = excluded.events WHERE chat.consumers.events <> excluded.events
"""
_NOW = "SELECT pg_current_snapshot()::text, transaction_offset FROM chat.log"
_LOAD = f"""
SELECT name, events, position, batch, paused, skip, failure, attempts, failing_event, read_up_to
FROM chat.consumers WHERE name <> '{ANNOUNCEMENTS}' ORDER BY name
"""
_SAVE = """
UPDATE chat.consumers SET position = $3, batch = $4, read_up_to = coalesce($5, read_up_to), failure = '', attempts = 0,
  failing_event = NULL, skip = CASE WHEN skip = ANY($6::uuid[]) THEN NULL ELSE skip END
WHERE name = $1 AND batch = $2 RETURNING true
"""
_FAIL = "UPDATE chat.consumers SET failure = $3, attempts = $4, failing_event = $5 WHERE name = $1 AND batch = $2"


class StoredConsumer(NamedTuple):
    """A consumer's row.

    `batch` names the last batch that was done, or the operator's command that moved the consumer.
    """

    name: str
    events: str
    position: Position
    batch: str
    paused: bool
    skip: UUID | None
    failure: str
    attempts: int
    failing_event: UUID | None
    read_up_to: Any


async def register(connection: Any, name: str, events: str, *, beginning: bool) -> None:
    """Register a consumer that starts now, or at the beginning of the log. A registered one keeps its place."""
    position = BEGINNING if beginning else await now(connection)
    await connection.execute(_REGISTER, name, events, position.encode())


async def forget(connection: Any, names: list[str]) -> None:
    """Forget consumers that there are no more."""
    await connection.execute("DELETE FROM chat.consumers WHERE name = ANY($1::text[])", names)


async def now(connection: Any) -> Position:
    """Return the position at the end of the log."""
    text, offset = await connection.fetchrow(_NOW)
    snapshot = Snapshot.parse(text, offset)
    return Position(snapshot.next, tuple(sorted(snapshot.running)))


async def load(connection: Any) -> list[StoredConsumer]:
    """Return all consumers, in the order of their names."""
    rows = await connection.fetch(_LOAD)
    return [
        StoredConsumer(row["name"], row["events"], Position.decode(row["position"]), *list(row.values())[3:])
        for row in rows
    ]


async def save(
    connection: Any, consumer: StoredConsumer, position: Position, batch: str, events: list[Recorded]
) -> bool:
    """Store that a consumer is done with everything up to a position.

    Returns False if somebody else has moved it meanwhile.
    """
    until = max((event.recorded_at for event in events), default=None)
    passed = [event.event_id for event in events]
    saved = await connection.fetchval(_SAVE, consumer.name, consumer.batch, position.encode(), batch, until, passed)
    return bool(saved)


async def note_failure(connection: Any, consumer: StoredConsumer, failure: str, attempts: int, event: UUID) -> None:
    """Store which event a consumer fails at and why, for operators to see."""
    await connection.execute(_FAIL, consumer.name, consumer.batch, failure[:500], attempts, event)
