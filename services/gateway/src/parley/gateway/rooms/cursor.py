"""Keeps one room's events in order, pure: which may be delivered, which are missing, and which a late joiner lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parley.common.wire.rooms import RoomEvent

MAX_EARLY = 1000
"""Events that are kept although an earlier one is missing. Further ones are read from the log again."""


UNKNOWN = -1
"""The head of a room that is not known: the room has no sequence, or the first one that is heard of will be it."""


class RoomCursor:
    """Where one gateway is in one room. `head` is the sequence delivered last, `known` the last one that exists."""

    __slots__ = ("_early", "head", "known")

    def __init__(self, head: int) -> None:
        self.head = head
        self.known = head
        # Few rooms ever have early events, and a gateway has very many rooms.
        self._early: dict[int, RoomEvent] | None = None

    @property
    def behind(self) -> bool:
        """Whether events exist that were not delivered."""
        return self.known > self.head

    def start(self, head: int) -> None:
        """Begin after `head`, if the room's head was unknown until now."""
        if self.head == UNKNOWN:
            self.head = self.known = head

    def raise_known(self, head: int) -> None:
        """Learn the room's head from something else than its events."""
        self.start(head)
        self.known = max(self.known, head)

    def reset(self, head: int) -> None:
        """Begin anew after `head`, because the log was restored, and what was delivered beyond it never happened."""
        self.head = self.known = head
        self._early = None

    def accept(self, events: Iterable[RoomEvent]) -> list[RoomEvent]:
        """Take events as they arrive, and return in order those that may be delivered now.

        Duplicates are dropped. An event that is ahead waits for the missing ones. Signals without a sequence pass.
        """
        ready: list[RoomEvent] = []
        for event in events:
            # A signal, as in a user's own room. It has no place in the order.
            if event.sequence == 0:
                ready.append(event)
                continue
            # The first event of a room whose head nobody told: for this gateway, the room begins with it.
            if self.head == UNKNOWN:
                self.start(event.sequence - 1)
            if event.sequence == self.head + 1:
                ready.append(event)
                self.head += 1
                self._take_early(ready)
            elif event.sequence > self.head:
                self._keep_early(event)
            self.known = max(self.known, event.sequence)
        return ready

    def _keep_early(self, event: RoomEvent) -> None:
        early = self._early = self._early or {}
        # One that is not kept is not lost: `known` says that it exists, and the log has it.
        if len(early) < MAX_EARLY:
            early[event.sequence] = event

    def _take_early(self, ready: list[RoomEvent]) -> None:
        if not self._early:
            return
        while (waiting := self._early.pop(self.head + 1, None)) is not None:
            ready.append(waiting)
            self.head += 1
        if not self._early:
            self._early = None

    def lower_known(self, head: int) -> None:
        """Learn that the log itself ends at `head`, so nothing later exists, whatever was announced."""
        self.known = max(self.head, min(self.known, head))


def following(after: int, replayed: Sequence[RoomEvent], recent: Sequence[RoomEvent], head: int) -> list[RoomEvent]:
    """Return the events after `after` without a gap, from the log's answer and from what was delivered live meanwhile.

    Events beyond `head` are left out, since the room has not delivered them yet, and will deliver them to everybody at
    once.
    """
    found: list[RoomEvent] = []
    # Both may have the same events. Only the one that comes next counts, so none is sent twice or left out.
    for event in (*replayed, *recent):
        if event.sequence == after + len(found) + 1 and event.sequence <= head:
            found.append(event)
    return found
