"""What a log hands over to services that follow it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from parley.common.wire.codec import Wire


class RegisterConsumer(Wire, frozen=True):
    """A service wants the events that match a pattern, from now on or from the beginning of the log.

    Under a name that is known, it goes on where it was.
    """

    name: str
    events: str
    beginning: bool = False


class LogEvent(Wire, frozen=True):
    """An event of a room. `event_id` names it for ever, so that one that comes again is recognised.

    `payload` is its data as JSON; `command_id` was chosen by who caused it. `events.erased` names, in `ranges` of
    sequences, those whose text is gone: who kept a copy deletes that as well. Those are not handed over any more.
    """

    event_id: str
    type: str
    room: str
    sequence: int
    at: datetime
    actor_id: str
    actor_name: str
    payload: bytes
    command_id: str = ""

    @property
    def data(self) -> Any:
        """What the event says."""
        return msgspec.json.decode(self.payload)


class ConsumeEvents(Wire, frozen=True):
    """Events for a consumer, those of each room in order. The answer says that it has dealt with all of them."""

    consumer: str
    events: list[LogEvent]
