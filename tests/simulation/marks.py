"""Read marks: users say how far they have read, and set that back; and what they are answered has to fit together.

The rules are those of `tests.chaos.judge_marks`, and one more: what was set back stays, but for what was read by then
and may not have been stored yet. A mark near a fault may be forgotten, or be stored late, so it proves less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.log.event_store import stored_row
from parley.chat.reading.read_cursors import INTERVAL, SENDERS_INTERVAL, MarkRead, MarkUnread
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.devices import Command, Device

STORED = INTERVAL + 2.0
"""Simulated seconds after an ack in which a mark is stored, where nothing is broken."""
SENT_STORED = SENDERS_INTERVAL + 2.0
"""The same where somebody has read because they sent a message."""
BEYOND = 1000
REFUSED = frozenset({"not_a_member", "not_found", "invalid_payload"})


@dataclass
class Mark:
    """What a user said of a room, and was answered. `back` sets the cursor back, so that `asked` is not read."""

    user: str
    room: str
    asked: int
    back: bool
    began: float
    answered: float = math.inf
    sequence: int = 0
    unread: int = 0
    refused: str = ""
    attempts: int = 0
    """How often it was sent. What is sent again may be taken twice, the second time seconds after the answer."""


class Moved(NamedTuple):
    """What moves a cursor to a place: a mark, or a message that its user sent. It is stored by `over`."""

    sequence: int
    began: float
    answered: float
    over: float
    certain: bool
    """Whether nothing was broken meanwhile, so that it is stored, and by then."""
    back: bool = False
    taken: bool = True
    """Whether it was, by the time of the answer."""


class Marks:
    """The marks of one run."""

    def __init__(self, world: World) -> None:
        self.world = world
        # Of its own, so that what is drawn for marks changes nothing of what else a seed does.
        self.rng = Random(f"marks of {world.seed}")
        self.marks: list[Mark] = []
        self.told: list[tuple[float, str, dict[str, Any]]] = []
        """When each user was told of a cursor of theirs."""
        self._faults: list[tuple[float, float]] = []

    def fault(self, seconds: float) -> None:
        """Something is broken for so long that may lose a mark, or hold it up."""
        self._faults.append((self.world.loop.now, self.world.loop.now + seconds))

    # -- what devices say ------------------------------------------------------------------------------------------

    async def say(self, device: Device) -> None:
        """Mark one of the rooms that a device hears, as read or as unread."""
        if not device.cursors:
            return
        rng = self.rng
        room = rng.choice(sorted(device.cursors))
        heard = device.cursors[room]
        draw = rng.random()
        if draw < 0.3:
            await self.mark(device, room, rng.randint(max(1, heard - 5), max(1, heard)), back=True)
        elif draw < 0.35:
            await self.mark(device, room, heard + BEYOND)
        else:
            await self.mark(device, room, rng.choice((heard, heard, max(0, heard - rng.randint(1, 5)), 0)))

    async def mark(self, device: Device, room: str, sequence: int, *, back: bool = False) -> Mark:
        """Say it until there is an answer."""
        said = MarkUnread(room, sequence) if back else MarkRead(room, sequence)
        loop = self.world.loop
        mark = Mark(device.user_id, room, sequence, back, loop.now)
        self.marks.append(mark)

        def trying() -> None:
            mark.attempts += 1

        answer = await device.insist("unread.mark" if back else "read", said, REFUSED, trying)
        self.world.count("set back" if back else "read")
        mark.answered = loop.now
        if answer["ok"]:
            mark.sequence, mark.unread = answer["sequence"], answer["unread"]
        else:
            mark.refused = answer["error"]["code"]
        return mark

    # -- what must hold --------------------------------------------------------------------------------------------

    def check(self, sent: Iterable[Command], authors: dict[str, str]) -> None:
        """Compare all that was said and answered, when everything has its outcome."""
        said = [one for one in sent if isinstance(one.command, SendMessage) and one.acked is not None]
        for user, room in sorted({(one.user, one.room) for one in self.marks}):
            room_messages = [one for one in said if one.room == room]
            own = [one for one in room_messages if authors[one.command.id] == user]
            theirs = [one for one in self.marks if (one.user, one.room) == (user, room)]
            moved = [*map(self._by_mark, theirs), *map(self._by_message, own)]
            joins = self._joins(user, room)
            # A command that was on its way for long may be taken after it was refused when it was sent again.
            late = self._messages(room) - {one.acked for one in room_messages}
            for mark in theirs:
                if not mark.refused:
                    for wrong in (*self._wrong(mark, moved, joins), *_miscounted(mark, room_messages, late)):
                        self.world.require(False, f"{mark}:", wrong)
            for at, whose, change in self.told:
                if (whose, change["room"]) == (user, room):
                    furthest = max([*joins, *(one.sequence for one in moved if one.began < at)], default=0)
                    self.world.require(change["sequence"] <= furthest, whose, "is told", change, "of", furthest)

    def check_stored(self, mark: Mark) -> None:
        """Compare an answer with what is stored, long after the last that was said of the room."""
        row = self.world.database.tables.reads.get((room_key(mark.room) or 0, mark.user))
        stored = max([0 if row is None else row["sequence"], *self._joins(mark.user, mark.room)[-1:]])
        self.world.require(bool(mark.refused) or mark.sequence == stored, f"{mark}: {stored} is stored")

    def _wrong(self, mark: Mark, moved: list[Moved], joins: list[int]) -> Iterator[str]:
        head = self.world.database.tables.rooms[room_key(mark.room) or 0]["head"]
        least = mark.asked - 1 if mark.back else mark.asked
        if not least <= mark.sequence <= head:
            yield f"not between {least} and {head}"
        before = [one for one in moved if one.began < mark.answered]
        furthest = max([*joins, *(one.sequence for one in before)], default=0)
        if mark.sequence > furthest:
            yield f"nobody read further than {furthest}"
        backs = [one for one in before if one.back]
        if mark.back:
            return
        for one in before:
            undone = any(other.began < mark.answered and other.over > one.began for other in backs if other is not one)
            if one.certain and one.over < mark.began and not undone and mark.sequence < one.sequence:
                yield f"went back from {one}"
        for back in backs:
            if back.taken and back.answered < mark.began:
                later = [one.sequence for one in before if one.over > back.began]
                if mark.sequence > max([back.sequence, *later, *joins]):
                    yield f"was set back by {back}, and nobody read further than {later} since"

    def _by_mark(self, mark: Mark) -> Moved:
        once = mark.attempts == 1 and not mark.refused
        certain = once and self._calm(mark.began, mark.answered + STORED)
        # What is answered may be what another one said. One that is refused may have been taken when it was sent first.
        sequence = mark.sequence if mark.back and not mark.refused else mark.asked
        until = mark.answered + STORED if certain else math.inf
        return Moved(sequence, mark.began, mark.answered, until, certain, mark.back, not mark.refused)

    def _by_message(self, sent: Command) -> Moved:
        certain = self._calm(sent.began, over := sent.answered + SENT_STORED)
        return Moved(sent.acked or 0, sent.began, sent.answered, over if certain else math.inf, certain)

    def _calm(self, began: float, over: float) -> bool:
        return over < math.inf and all(end < began or over < begin for begin, end in self._faults)

    def _messages(self, room: str) -> set[int]:
        events = self.world.database.tables.events[room_key(room) or 0]
        return {sequence for sequence, event in events.items() if event["type"] == MessageSent.NUMBER}

    def _joins(self, user: str, room: str) -> list[int]:
        events = self.world.database.tables.events[room_key(room) or 0]
        return [one for one in sorted(events) if stored_row(events[one]).joined_and_left()[0] == user]


def _miscounted(mark: Mark, messages: list[Command], late: set[int]) -> Iterator[str]:
    later = [one for one in messages if (one.acked or 0) > mark.sequence]
    least = sum(one.answered < mark.began for one in later)
    most = sum(one.began < mark.answered for one in later) + sum(one > mark.sequence for one in late)
    if not least <= mark.unread <= most:
        yield f"{least} to {most} are unread"
