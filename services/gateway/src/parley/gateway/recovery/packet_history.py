"""What a gateway sent lately, pure: an offset per event, and what a client lacks that has everything up to an offset.

Socket.IO clients that can be recovered remember the offset of the last event that they received. Offsets count this
gateway's events of a namespace, so one offset marks a point in everything that was sent, whatever the room. Events are
kept per room in the order of their numbers: what a client missed is found by bisecting its own rooms, however much was
sent elsewhere. Socket.IO v5 protocol, "Connection state recovery".
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from parley.common.wire.rooms import UnloggedEvent

LIMIT = 50_000
"""Events that are remembered. A client that was away for longer is not recovered."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of the remembered events that are in no log. Events of a log are read again, so they are not kept."""
OVERHEAD = 256
"""About how many bytes an event takes besides its own."""
COMPACT = 64
"""Forgotten events at the front of a room's list before the list is copied; they must also be half of it."""

Key = str | None
"""The room or the sid to which an event was sent; None for events to everybody."""
PacketT = TypeVar("PacketT")


class RememberedEvent(NamedTuple):
    """An event that is in no log, and the rooms whose members did not get it."""

    event: UnloggedEvent
    except_rooms: Collection[str]


class _Sent(Generic[PacketT]):
    """What was sent to one room or one connection, by number.

    Forgotten events stay at the front of the lists until there are enough to be worth the copy.
    """

    __slots__ = ("_forgotten", "_numbers", "_packets")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._packets: list[PacketT | None] = []
        self._forgotten = 0

    def append(self, number: int, packet: PacketT) -> None:
        self._numbers.append(number)
        self._packets.append(packet)

    @property
    def last(self) -> PacketT | None:
        """The latest event."""
        return self._packets[-1]

    def forget_first(self) -> bool:
        """Forget the oldest event. Returns whether it was the last one."""
        # The packet goes at once, whatever keeps its place: it is what takes the memory.
        self._packets[self._forgotten] = None
        self._forgotten += 1
        if self._forgotten == len(self._numbers):
            return True
        if self._forgotten >= COMPACT and 2 * self._forgotten >= len(self._numbers):
            del self._numbers[: self._forgotten], self._packets[: self._forgotten]
            self._forgotten = 0
        return False

    def until(self, number: int) -> Iterator[PacketT]:
        """Yield the events up to a number."""
        for index in range(self._forgotten, bisect_right(self._numbers, number, self._forgotten)):
            if (packet := self._packets[index]) is not None:
                yield packet

    def after(self, number: int) -> Iterator[tuple[int, PacketT]]:
        """Yield the events after a number, each with its own."""
        for index in range(bisect_right(self._numbers, number, self._forgotten), len(self._numbers)):
            if (packet := self._packets[index]) is not None:
                yield self._numbers[index], packet


class PacketHistory:
    """The last events of one namespace, in the order they were sent."""

    def __init__(self, run: str) -> None:
        self.number = 0
        self._run = run
        self._limit = LIMIT
        self._bytes = 0
        self._order: deque[tuple[int, list[tuple[dict[Any, _Sent[Any]], Key]]]] = deque()
        """For each event, its bytes and the lists it is in."""
        self._logged: dict[str, _Sent[int]] = {}
        """By room, the sequences of its events."""
        self._unlogged: dict[Key, _Sent[RememberedEvent]] = {}
        self._own_logged: dict[str, _Sent[tuple[str, int]]] = {}
        """By sid, the events of rooms' logs that only this connection was sent, because it had missed them."""
        self._own_unlogged: dict[str, _Sent[RememberedEvent]] = {}
        self._forgotten = 0
        """The number of the last event that is not remembered any more."""

    @property
    def bytes(self) -> int:
        """About how much memory the remembered events take."""
        return self._bytes

    def add(
        self,
        rooms: Collection[str] | None,
        *,
        sequence: int = 0,
        sid: str = "",
        except_rooms: Collection[str] = (),
        missed: UnloggedEvent | None = None,
    ) -> str:
        """Remember an event that is about to be sent: to all members of rooms, or, with a sid, only to that connection.

        An event with a sequence is read from the log again; one without is kept as `missed`. Returns the event's
        offset.
        """
        self.number += 1
        size = OVERHEAD
        lists: list[tuple[dict[Any, _Sent[Any]], Key]] = []
        if missed is not None:
            size += len(missed.args) + sum(map(len, missed.attachments))
            packet = RememberedEvent(missed, except_rooms)
            if sid:
                self._keep(lists, self._own_unlogged, sid, packet)
            else:
                # Once per room, since a client looks among its own rooms; `missed_after` merges what is in several of
                # them by its number.
                for room in (None,) if rooms is None else set(rooms):
                    self._keep(lists, self._unlogged, room, packet)
        elif sequence:
            for room in rooms or ():
                if sid:
                    self._keep(lists, self._own_logged, sid, (room, sequence))
                else:
                    self._keep(lists, self._logged, room, sequence)
        self._order.append((size, lists))
        self._bytes += size
        # What is older than this cannot be recovered, and such a client starts anew.
        while len(self._order) > self._limit or self._bytes > MAX_BYTES:
            self._forget_oldest()
        return f"{self._run}-{self.number:x}"

    def _keep(
        self, lists: list[tuple[dict[Any, _Sent[Any]], Key]], kept: dict[Any, _Sent[Any]], key: Key, packet: Any
    ) -> None:
        if (sent := kept.get(key)) is None:
            sent = kept[key] = _Sent()
        sent.append(self.number, packet)
        lists.append((kept, key))

    def _forget_oldest(self) -> None:
        size, lists = self._order.popleft()
        self._bytes -= size
        # Numbers have no gaps, so the length says which one was the last to be forgotten.
        self._forgotten = self.number - len(self._order)
        for kept, key in lists:
            if kept[key].forget_first():
                del kept[key]

    def delivered(self, room: str) -> int:
        """Return the last event of a room that its members here were sent, or 0 if that is not remembered."""
        return sent.last or 0 if (sent := self._logged.get(room)) else 0

    def parse(self, offset: str, otherwise: int) -> int:
        """Return the number of an offset, or `otherwise` if it is not an offset of this gateway's run."""
        run, _, number = offset.rpartition("-")
        try:
            return int(number, 16) if run == self._run else otherwise
        except ValueError:
            return otherwise

    def missed_after(
        self, number: int, sid: str, heads: Mapping[str, int], rooms: Collection[str]
    ) -> tuple[dict[str, int], list[UnloggedEvent]] | None:
        """Return what a connection lacks that has everything up to a number; None if that is too long ago.

        `heads` are the sequences up to which it was sent its rooms. The result has per room the sequence up to which
        the client received them, and the events that are in no log.
        """
        # A higher number than any that was given is of nobody's connection here.
        if number > self.number or number < self._forgotten:
            return None
        cursors = dict(heads)
        own = self._own_logged.get(sid)
        # The last one of a room is the highest, since they are in the order in which they were sent. A room that was
        # closed and opened again may have delivered the same events to others later.
        has: dict[str, int] = dict(own.until(number)) if own is not None else {}
        for room in heads:
            # Sequences rise with the numbers, so the first event that it lacks of a room is the lowest.
            if (logged := self._logged.get(room)) and (first := next(logged.after(number), None)):
                cursors[room] = min(cursors[room], max(first[1] - 1, has.get(room, 0)))
        if own is not None:
            for _, (room, sequence) in own.after(number):
                if room in cursors:
                    cursors[room] = min(cursors[room], sequence - 1)
        missed: dict[int, UnloggedEvent] = {}
        for sent in (self._own_unlogged.get(sid), *(self._unlogged.get(room) for room in (None, *rooms))):
            for found, packet in sent.after(number) if sent is not None else ():
                if not any(room in rooms for room in packet.except_rooms):
                    missed[found] = packet.event
        return cursors, [missed[found] for found in sorted(missed)]


def with_offset(args: bytes, offset: str) -> bytes:
    """Return an event's arguments with the offset as the last one."""
    return args[:-1] + (b"," if len(args) > 2 else b"") + b'"' + offset.encode() + b'"]'
