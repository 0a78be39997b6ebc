"""The events that chat hands to consumers, which services have registered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from parley.common.wire.codec import Wire


class RegisterConsumer(Wire, frozen=True):
    """Register a consumer for the events that match a pattern, from now on or from the beginning of the log.

    A consumer whose name is known goes on where it was.
    """

    name: str
    events: str
    beginning: bool = False


class LogEvent(Wire, frozen=True):
    """An event of a room. `event_id` never changes, so that a consumer recognises an event that comes again.

    `payload` is the event's data as JSON, and `command_id` the id of the command that caused it, chosen by the client.
    An event of type `events.erased` names `ranges` of sequences whose text was erased: a consumer that has copies of
    them has to delete those. The erased events themselves are not handed over any more.
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
        """The decoded payload."""
        return msgspec.json.decode(self.payload)


class ConsumeEvents(Wire, frozen=True):
    """Hand events to a consumer, those of each room in order. It answers once it has dealt with all of them."""

    consumer: str
    events: list[LogEvent]
