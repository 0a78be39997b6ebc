"""What a gateway sent lately, pure: an offset per event, and from one, where each of a connection's rooms was then.

Socket.IO clients that may recover remember the offset of the last event they received. Offsets are this gateway's own
count, so one of them marks a point in everything that it sent, whatever the room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from parley.common.wire.rooms import UnloggedEvent

LIMIT = 50_000
"""Events remembered; who was away for longer than that many is not recovered."""


class SentPacket(NamedTuple):
    """One event: to all members of rooms, or with a sid to that connection alone.

    With a sequence it can be read from the log again; without one, `missed` holds it.
    """

    number: int
    rooms: Collection[str] | None
    sequence: int = 0
    sid: str = ""
    except_rooms: Collection[str] = ()
    missed: UnloggedEvent | None = None

    def reached(self, sid: str, rooms: Collection[str]) -> bool:
        """Whether a connection with this sid and these rooms was sent it."""
        if self.sid:
            return self.sid == sid
        if any(room in rooms for room in self.except_rooms):
            return False
        return self.rooms is None or any(room in rooms for room in self.rooms)


class PacketHistory:
    """The last events of one namespace, in the order they were sent."""

    def __init__(self, run: str) -> None:
        self.number = 0
        self._run = run
        self._sent: deque[SentPacket] = deque(maxlen=LIMIT)

    def add(
        self,
        rooms: Collection[str] | None,
        *,
        sequence: int = 0,
        sid: str = "",
        except_rooms: Collection[str] = (),
        missed: UnloggedEvent | None = None,
    ) -> str:
        """Remember an event that is about to be sent. Returns its offset."""
        self.number += 1
        self._sent.append(SentPacket(self.number, rooms, sequence, sid, except_rooms, missed))
        return f"{self._run}-{self.number:x}"

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
        if number > self.number or (self._sent and self._sent[0].number > number + 1):
            return None
        cursors = dict(heads)
        missed: list[UnloggedEvent] = []
        for sent in reversed(self._sent):
            if sent.number <= number:
                break
            if not sent.reached(sid, rooms):
                continue
            if sent.missed is not None:
                missed.append(sent.missed)
                continue
            for room in sent.rooms or ():
                if room in cursors:
                    cursors[room] = min(cursors[room], sent.sequence - 1)
        return cursors, missed[::-1]


def with_offset(args: bytes, offset: str) -> bytes:
    """An event's arguments, with the offset as the last one."""
    return args[:-1] + (b"," if len(args) > 2 else b"") + b'"' + offset.encode() + b'"]'
