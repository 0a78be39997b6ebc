"""Keeping one room's events in order, pure: what may be delivered, what is missing, what a late joiner lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parley.common.wire.rooms import RoomEvent

MAX_EARLY = 1000
"""Events kept that arrived ahead of a missing one; further ones are fetched from the log again."""


UNKNOWN = -1
"""The head of a room that nobody has told: it has none, or the first that is heard of will be it."""


class RoomCursor:
    """The place of one gateway in one room: `head` is the sequence delivered last, `known` the last that exists."""

    __slots__ = ("_early", "head", "known")

    def __init__(self, head: int) -> None:
        self.head = head
        self.known = head
        self._early: dict[int, RoomEvent] | None = None

    @property
    def behind(self) -> bool:
        """Whether events are known to exist that were not delivered."""
        return self.known > self.head

    def start(self, head: int) -> None:
        """Begin after `head`, where the room's head was unknown until now."""
        if self.head == UNKNOWN:
            self.head = self.known = head

    def raise_known(self, head: int) -> None:
        """Hear of the room's head from somewhere else than its events."""
        self.start(head)
        self.known = max(self.known, head)

    def reset(self, head: int) -> None:
        """Begin anew after `head`: the log was restored, and what was delivered beyond it never happened."""
        self.head = self.known = head
        self._early = None

    def accept(self, items: Iterable[RoomEvent]) -> list[RoomEvent]:
        """Take events as they arrive and return those that may be delivered now, in order.

        Duplicates vanish; an event that is ahead waits for what is missing; signals without a sequence pass.
        """
        ready: list[RoomEvent] = []
        for item in items:
            if item.sequence == 0:
                ready.append(item)
                continue
            if self.head == UNKNOWN:
                self.start(item.sequence - 1)
            if item.sequence == self.head + 1:
                ready.append(item)
                self.head += 1
                self._take_early(ready)
            elif item.sequence > self.head:
                self._keep_early(item)
            self.known = max(self.known, item.sequence)
        return ready

    def _keep_early(self, item: RoomEvent) -> None:
        early = self._early = self._early or {}
        if len(early) < MAX_EARLY:
            early[item.sequence] = item

    def _take_early(self, ready: list[RoomEvent]) -> None:
        if not self._early:
            return
        while (waiting := self._early.pop(self.head + 1, None)) is not None:
            ready.append(waiting)
            self.head += 1
        if not self._early:
            self._early = None

    def lower_known(self, head: int) -> None:
        """The log itself ends at `head`: nothing later exists, whatever was said."""
        self.known = max(self.head, min(self.known, head))


def following(after: int, replayed: Sequence[RoomEvent], recent: Sequence[RoomEvent], head: int) -> list[RoomEvent]:
    """The events that follow `after` without a gap, from the log's answer and what was delivered live meanwhile.

    At most those up to `head`: what the room has not delivered yet comes to everybody at once.
    """
    found: list[RoomEvent] = []
    for item in (*replayed, *recent):
        if item.sequence == after + len(found) + 1 and item.sequence <= head:
            found.append(item)
    return found
