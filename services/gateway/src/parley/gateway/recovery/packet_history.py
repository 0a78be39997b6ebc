"""What a gateway sent lately, pure: an offset per event, and from one, where each of a connection's rooms was then.

Socket.IO clients that may recover remember the offset of the last event they received. Offsets are this gateway's own
count, so one of them marks a point in everything that it sent, whatever the room. Events are kept per room in the order
of their numbers: what somebody lacks is found by bisecting their own rooms, however much was sent elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from parley.common.wire.rooms import UnloggedEvent

LIMIT = 50_000
"""Events remembered; who was away for longer than that many is not recovered."""
MAX_BYTES = 64 * 1024 * 1024
"""The same in bytes of a namespace's events that are in no log; those of a log can be read again, and are not kept."""
OVERHEAD = 256
"""About what an event takes besides its own bytes."""
COMPACT = 64
"""Forgotten events at the front of a room's list before the list is copied, if they are half of it."""

Key = str | None
"""The room in whose list an event is; None for events to everybody."""


class SentPacket(NamedTuple):
    """One event as a room's list has it: with a sequence, or with the event itself if it is in no log."""

    sequence: int
    except_rooms: Collection[str]
    missed: UnloggedEvent | None
    room: str | None


class _Sent:
    """The events sent to one room, or to one connection, by number."""

    __slots__ = ("forgotten", "numbers", "packets")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.packets: list[SentPacket | int] = []
        """An int is the sequence of an event that is in the room's log: nearly all are."""
        self.forgotten = 0

    def forget_first(self) -> bool:
        """Forget the oldest event. Whether that was the last one left."""
        self.packets[self.forgotten] = 0
        self.forgotten += 1
        if self.forgotten == len(self.numbers):
            return True
        if self.forgotten >= COMPACT and 2 * self.forgotten >= len(self.numbers):
            del self.numbers[: self.forgotten], self.packets[: self.forgotten]
            self.forgotten = 0
        return False

    def index_after(self, number: int) -> int:
        """Where the events begin that are later than a number."""
        return bisect_right(self.numbers, number, self.forgotten)


class PacketHistory:
    """The last events of one namespace, in the order they were sent."""

    def __init__(self, run: str) -> None:
        self.number = 0
        self._run = run
        self._limit = LIMIT
        self._bytes = 0
        self._order: deque[tuple[int, Collection[Key], str, int]] = deque()
        """Of each event its number, the lists it is in, and its bytes."""
        self._to_rooms: dict[Key, _Sent] = {}
        self._to_sids: dict[str, _Sent] = {}
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
        """Remember an event that is about to be sent: to all members of rooms, or with a sid to that connection alone.

        With a sequence it can be read from the log again; without one, `missed` holds it. Returns its offset.
        """
        self.number += 1
        number, size = self.number, OVERHEAD
        if missed is not None:
            size += len(missed.args) + sum(map(len, missed.attachments))
        keys: Collection[Key] = (None,) if rooms is None else rooms if len(rooms) < 2 else tuple(dict.fromkeys(rooms))
        if sid:
            room = next(iter(rooms), None) if rooms else None
            _append(self._to_sids, sid, number, SentPacket(sequence, (), missed, room))
        else:
            packet = sequence if missed is None and not except_rooms else None
            for key in keys:
                _append(
                    self._to_rooms, key, number,
                    SentPacket(sequence, except_rooms, missed, key) if packet is None else packet,
                )  # fmt: skip
        self._order.append((number, () if sid else keys, sid, size))
        self._bytes += size
        while len(self._order) > self._limit or self._bytes > MAX_BYTES:
            self._forget_oldest()
        return f"{self._run}-{number:x}"

    def parse(self, offset: str, otherwise: int) -> int:
        """The number of an offset, or another for one that is not from here."""
        run, _, number = offset.rpartition("-")
        try:
            return int(number, 16) if run == self._run else otherwise
        except ValueError:
            return otherwise

    def since(
        self, number: int, sid: str, heads: Mapping[str, int], rooms: Collection[str]
    ) -> tuple[dict[str, int], list[UnloggedEvent]] | None:
        """What a connection lacks that has everything up to a number.

        `heads` are the sequences up to which it was sent its rooms. Returns per room the sequence up to which it
        received them, and the events that are in no log; None when that is too long ago to know.
        """
        if number > self.number or number < self._forgotten:
            return None
        cursors = dict(heads)
        missed: dict[int, UnloggedEvent] = {}
        for key in (None, *rooms):
            if (sent := self._to_rooms.get(key)) is None:
                continue
            for index in range(sent.index_after(number), len(sent.numbers)):
                packet = sent.packets[index]
                if isinstance(packet, SentPacket):
                    if any(room in rooms for room in packet.except_rooms):
                        continue
                    if packet.missed is not None:
                        missed[sent.numbers[index]] = packet.missed
                        continue
                    packet = packet.sequence
                if key in cursors and packet <= cursors[key]:
                    cursors[key] = packet - 1
                if key in heads and packet:
                    # Sequences rise with the numbers: the first one that it lacks is the lowest.
                    break
        if (sent := self._to_sids.get(sid)) is not None:
            self._add_own(sent, number, cursors, missed)
        return cursors, [missed[found] for found in sorted(missed)]

    def _add_own(self, sent: _Sent, number: int, cursors: dict[str, int], missed: dict[int, UnloggedEvent]) -> None:
        """What was sent to this connection alone: what it missed in its rooms once before, for instance."""
        for index in range(sent.index_after(number), len(sent.numbers)):
            packet = sent.packets[index]
            if not isinstance(packet, SentPacket):
                continue
            if packet.missed is not None:
                missed[sent.numbers[index]] = packet.missed
            elif packet.room in cursors:
                cursors[packet.room] = min(cursors[packet.room], packet.sequence - 1)

    def _forget_oldest(self) -> None:
        number, keys, sid, size = self._order.popleft()
        self._forgotten = number
        self._bytes -= size
        if sid:
            if self._to_sids[sid].forget_first():
                del self._to_sids[sid]
            return
        for key in keys:
            if self._to_rooms[key].forget_first():
                del self._to_rooms[key]


def _append(lists: dict[Key, _Sent] | dict[str, _Sent], key: Key, number: int, packet: SentPacket | int) -> None:
    sent = lists.get(key)  # pyright: ignore[reportArgumentType] - a sid's list is looked up by a sid
    if sent is None:
        sent = lists[key] = _Sent()  # pyright: ignore[reportArgumentType]
    sent.numbers.append(number)
    sent.packets.append(packet)


def with_offset(args: bytes, offset: str) -> bytes:
    """An event's arguments, with the offset as the last one."""
    return args[:-1] + (b"," if len(args) > 2 else b"") + b'"' + offset.encode() + b'"]'
