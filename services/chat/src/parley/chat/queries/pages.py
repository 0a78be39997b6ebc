"""How much fits one answer. Events are counted by the bytes that are really sent of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.events import ClientEvent
from parley.chat.log.statements import EVENT_COLUMNS
from parley.common.errors import Code, Reject

MAX_PAGE_BYTES = 384 * 1024
"""Bytes at which a page ends, so that it fits one message of NATS whatever the sizes of texts and names."""
FIRST, LAST = "0", str(2**63 - 1)
"""Sequences before and after all others, as SQL."""

SIZE = "octet_length(e.data) + octet_length(e.actor_name) + 200"
"""About how many bytes are sent of an event, so that a statement does not return events that would be cut off again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = msgspec.json.Encoder()


class PageBytes:
    """The bytes that an answer has left. An event is encoded once, for the count and for the answer."""

    def __init__(self, left: int = MAX_PAGE_BYTES) -> None:
        self.left = left

    def take(self, events: Iterable[Recorded], *, at_least_one: bool) -> list[ClientEvent[msgspec.Raw]]:
        """Return as many of the first events as fit. With `at_least_one`, the first one always does."""
        return self.take_shown((event.client_event() for event in events), at_least_one=at_least_one)

    def take_shown(
        self, events: Iterable[ClientEvent[msgspec.Raw]], *, at_least_one: bool
    ) -> list[ClientEvent[msgspec.Raw]]:
        """Return as many of the first events as fit, as clients are shown them."""
        taken: list[Any] = []
        for event in events:
            encoded = _encoder.encode(event)
            if len(encoded) >= self.left and (taken or not at_least_one):
                self.left = 0
                break
            self.left -= len(encoded) + 1
            # The encoder of the answer copies the bytes of a `Raw` as they are, so to it this is the event.
            taken.append(msgspec.Raw(encoded))
        return taken


def how_many_fit(items: Sequence[Any]) -> int:
    """Return how many of the first of these fit one answer: one at least, if there is one."""
    if len(_encoder.encode(items)) <= MAX_PAGE_BYTES:
        return len(items)
    left = MAX_PAGE_BYTES
    for place, item in enumerate(items):
        left -= len(_encoder.encode(item)) + 1
        if left < 0:
            return max(1, place)
    return len(items)


def moment_text(at: datetime) -> str:
    """Return a moment as a part of what the next page is asked for with: microseconds since 1970."""
    return str(round((at - _EPOCH) / timedelta(microseconds=1)))


def moment(text: str) -> datetime:
    """Return the moment that `moment_text` wrote. Raises `Reject` for any other text."""
    if not text.isdecimal() or not text.isascii() or len(text) > 17:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    # By whole numbers: a float has not enough digits for microseconds.
    return _EPOCH + timedelta(microseconds=int(text))


def events_between(room_id: str, after: str, before: str, limit: str, *, newest_first: bool = False) -> str:
    """Return SQL for a room's events between two sequences, in order.

    `size` is that of all events before each of them.
    """
    order = "DESC" if newest_first else "ASC"
    return f"""SELECT e.*, sum({SIZE}) OVER (ORDER BY e.sequence {order}) - ({SIZE}) AS size FROM (
      SELECT {EVENT_COLUMNS} FROM chat.events e
      WHERE e.room_id = {room_id} AND e.sequence > {after} AND e.sequence < {before}
      ORDER BY e.sequence {order} LIMIT {limit}
    ) e"""
