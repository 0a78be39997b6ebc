"""How much fits one answer: events are counted by what is really sent of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.events import ClientEvent
from parley.chat.log.statements import EVENT_COLUMNS

MAX_PAGE_BYTES = 384 * 1024
"""Pages end early here, to fit one message of the broker whatever the texts' and the names' sizes."""
FIRST, LAST = "0", str(2**63 - 1)
"""Sequences before and after all others, in SQL."""

SIZE = "octet_length(e.data) + octet_length(e.actor_name) + 200"
"""About what is sent of an event, so that a statement need not return what would be cut off again."""

_encoder = msgspec.json.Encoder()


class PageBytes:
    """What is left of the bytes that an answer may have. Events are encoded once, for the count and for the answer."""

    def __init__(self, left: int = MAX_PAGE_BYTES) -> None:
        self.left = left

    def take(self, events: Iterable[Recorded], *, at_least_one: bool) -> list[ClientEvent[msgspec.Raw]]:
        """As many of the first as fit. With `at_least_one`, one does, however long it is."""
        taken: list[Any] = []
        for event in events:
            encoded = _encoder.encode(event.client_event())
            if len(encoded) >= self.left and (taken or not at_least_one):
                self.left = 0
                break
            self.left -= len(encoded) + 1
            # For the encoder of the answer this is the event; nobody here looks into it.
            taken.append(msgspec.Raw(encoded))
        return taken


def events_between(room_id: str, after: str, before: str, limit: str, *, newest_first: bool = False) -> str:
    """SQL of a room's events between two sequences, in order, with the `size` of all before each of them."""
    order = "DESC" if newest_first else "ASC"
    return f"""SELECT e.*, sum({SIZE}) OVER (ORDER BY e.sequence {order}) - ({SIZE}) AS size FROM (
      SELECT {EVENT_COLUMNS} FROM chat.events e
      WHERE e.room_id = {room_id} AND e.sequence > {after} AND e.sequence < {before}
      ORDER BY e.sequence {order} LIMIT {limit}
    ) e"""
