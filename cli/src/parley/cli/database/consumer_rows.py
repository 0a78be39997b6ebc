"""The rows of consumers, as `parley consumers` lists and changes them. Chat looks at them twice a second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from parley.chat.consumers import store
from parley.chat.consumers.store import StoredConsumer
from parley.chat.log.position import BEGINNING
from parley.chat.log.tail import ANNOUNCEMENTS, SETTINGS, lag
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure

MOST_COUNTED = 100_000
"""Events that are counted at most to say how far a consumer is behind."""


async def list_consumers(url: str) -> list[str]:
    """Return a line for each consumer. Raises `CommandFailure` if there is no log."""
    async with log_connection(url, **_SETTINGS) as connection:
        return [await _line(connection, consumer) for consumer in await store.load(connection)]


async def set_paused(url: str, name: str, *, paused: bool) -> None:
    """Pause a consumer, or let it go on. Raises `CommandFailure` if nobody has the name."""
    await _change(url, "UPDATE chat.consumers SET paused = $2 WHERE name = $1 RETURNING true", name, paused)


async def skip_event(url: str, name: str, event: str) -> UUID:
    """Let a consumer skip an event, by default the one that it fails at, and return the event's id.

    Raises `CommandFailure` if there is no such event.
    """
    try:
        given = UUID(event) if event else None
    except ValueError:
        raise CommandFailure(f"{event!r} is no event_id") from None
    skipped = await _change(
        url, "UPDATE chat.consumers SET skip = coalesce($2, failing_event) WHERE name = $1 RETURNING skip", name, given
    )
    if skipped is None:
        raise CommandFailure(f"{name} fails over nothing; name the event")
    return skipped


async def move(url: str, name: str, *, end: bool) -> None:
    """Move a consumer to the beginning or the end of the log. Raises `CommandFailure` if nobody has the name."""
    async with log_connection(url) as connection:
        position = await store.now(connection) if end else BEGINNING
    await _change(
        url,
        """UPDATE chat.consumers SET position = $2, batch = $3, failure = '', attempts = 0, failing_event = NULL
           WHERE name = $1 RETURNING true""",
        # Another batch than the running chat knows, which makes it start the consumer anew from its row.
        name, position.encode(), uuid4().hex,
    )  # fmt: skip


async def forget(url: str, name: str) -> None:
    """Forget a consumer. Raises `CommandFailure` if nobody has the name."""
    await _change(url, "DELETE FROM chat.consumers WHERE name = $1 RETURNING true", name)


_SETTINGS = SETTINGS | {
    # Those of the tail end a silent session after 1.5 s, so that its locks get free; this one has none.
    "idle_session_timeout": "0",
    "statement_timeout": "60000",
    "application_name": "parley consumers",
}


async def _change(url: str, statement: str, name: str, *args: Any) -> Any:
    # What it announces are gateways' and no service's: moved, it would say again or leave out what rooms have.
    if name == ANNOUNCEMENTS:
        raise CommandFailure(f"{name} is chat's own")
    async with log_connection(url) as connection:
        rows = await connection.fetch(statement, name, *args)
    if not rows:
        raise CommandFailure(f"there is no consumer {name!r}")
    return rows[0][0]


async def _line(connection: Any, consumer: StoredConsumer) -> str:
    behind, oldest = await lag(connection, consumer.position, MOST_COUNTED)
    if oldest is None:
        state = "up to date"
    else:
        count = f"{behind} events" if behind < MOST_COUNTED else f"{MOST_COUNTED} events or more"
        state = f"{count} of the log to look at, the oldest {(datetime.now(UTC) - oldest).total_seconds():.0f} s old"
    line = f"{consumer.name}  {consumer.events}  {'paused, ' if consumer.paused else ''}{state}"
    if consumer.failure:
        line += f"; failed {consumer.attempts} times over {consumer.failing_event}: {consumer.failure}"
    return line
