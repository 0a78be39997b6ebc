"""Events of chat's log, in the form in which a consumer is handed them, for tests without chat."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from parley.framework import LogEvent, Service

# Rooms count on over all tests of a process, as ids do: a consumer must not rely on where a room begins.
_sequences: defaultdict[str, count[int]] = defaultdict(lambda: count(1))


def log_event(type: str, data: Any, *, room: str = "general", actor: str = "u_ann") -> LogEvent:  # noqa: A002 - its name
    """Make an event with the next sequence of its room and an id of its own."""
    return LogEvent(
        str(uuid.uuid4()), type, room, next(_sequences[room]), datetime.now(UTC), actor, actor,
        msgspec.json.encode(data), uuid.uuid4().hex,
    )  # fmt: skip


async def consume(service: Service[Any], consumer: str, *events: LogEvent) -> None:
    """Hand events to a service's consumer, as chat does. Raises what the consumer raises; chat would try again."""
    await service.consumers[consumer].consume(list(events))
