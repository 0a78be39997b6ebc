"""Read marks: forward only, never further than anybody said, and with what is unread behind them; pure.

A mark that was acked may be forgotten if something broke before it was stored, which takes a second and some more. So
those near a fault prove only how far a cursor may be, and not how far it has to be.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.history import History, Mark, Room, Standing
from tests.chaos.streams import Finding
from tests.support.room_log import Logged, spans_of

STORED = 3.0
"""Seconds after an ack in which a mark is certainly stored, where nothing is broken."""
COUNTED = 100
"""Mentions are counted up to this."""


def judge_marks(history: History) -> Iterator[Finding]:
    """All marks, and where everybody stands in the end."""
    marks: defaultdict[tuple[str, str], list[Mark]] = defaultdict(list)
    for mark in history.marks:
        marks[mark.user, mark.room].append(mark)
    standings = {(one.user, one.room): one for one in history.standings}
    rooms = {name: _RoomMarks(history, room) for name, room in history.rooms.items()}
    for (user, name), theirs in marks.items():
        if name in rooms:
            yield from rooms[name].of(user, sorted(theirs, key=lambda mark: mark.began))
        else:
            yield Finding("read", "unverified", f"{user} in {name}: no log")
    for name, room in rooms.items():
        users = {user for user, member in history.rooms[name].members.items() if member.state == "joined"}
        for user in sorted(users & set(history.clients.values())):
            if (found := standings.get((user, name))) is None:
                yield Finding("read", "unverified", f"nobody knows where {user} stands in {name}")
            else:
                yield room.standing(found, marks[user, name])


class _RoomMarks:
    """The marks in one room."""

    def __init__(self, history: History, room: Room) -> None:
        self._history = history
        self._log = room.log
        self._numbers = [0, *itertools.accumulate(event.type == "message.sent" for event in room.log)]
        """How many messages there are up to each event."""
        self._began, self._acked = _times(history, room.log)
        self._own: defaultdict[str, list[int]] = defaultdict(list)
        for event in room.log:
            if event.type == "message.sent":
                self._own[event.actor].append(event.sequence)

    def of(self, user: str, marks: Sequence[Mark]) -> Iterator[Finding]:
        """The marks of one user, in the order in which they began."""
        for mark in marks:
            if mark.answered < math.inf:
                outcome, why = self._of(mark, marks)
                yield Finding("read", outcome, f"{mark}: {why}")

    def _of(self, mark: Mark, marks: Sequence[Mark]) -> tuple[str, str]:
        if not mark.asked <= mark.sequence <= len(self._log):
            return "contradicted", f"not between what was asked and {len(self._log)}"
        kept = [
            one.sequence
            for one in marks
            if one.answered + STORED < mark.began and self._stored(one.began, one.answered)
        ]
        if mark.sequence < max(kept, default=0):
            return "lost", f"went back from {max(kept)}"
        furthest = self._furthest(mark.user, [one for one in marks if one.began < mark.answered], mark.answered)
        if mark.sequence > furthest:
            return "foreign", f"nobody read further than {furthest}"
        later = [event for event in self._log[mark.sequence :] if event.type == "message.sent"]
        least = sum(self._acked[event.sequence] < mark.began for event in later)
        most = sum(self._began[event.sequence] < mark.answered for event in later)
        if not least <= mark.unread <= most:
            return "contradicted", f"{least} to {most} are unread"
        return "good", ""

    def standing(self, found: Standing, marks: Sequence[Mark]) -> Finding:
        """Where a user is in the end, by their list of rooms."""
        user, where = found.user, f"{found}: "
        kept = [one.sequence for one in marks if self._stored(one.began, one.answered)]
        kept += [at for at in self._own[user] if self._stored(self._began[at], self._acked[at])]
        furthest = self._furthest(user, marks, math.inf)
        if not max(kept, default=0) <= found.read <= furthest:
            return Finding("read", "contradicted", f"{where}between {max(kept, default=0)} and {furthest} by the marks")
        unread = self._numbers[-1] - self._numbers[found.read]
        mentions = sum(
            user in event.data.get("mentions", ()) and event.actor != user for event in self._log[found.read :]
        )
        if (found.unread, found.mentions) != (unread, min(mentions, COUNTED)):
            return Finding("read", "contradicted", f"{where}{unread} and {mentions} by the log")
        return Finding("read", "good", "")

    def _furthest(self, user: str, marks: Sequence[Mark], until: float) -> int:
        own = [at for at in self._own[user] if self._began[at] < until]
        joins = [span.joined for span in spans_of(self._log, user)]
        return max([0, *(one.asked for one in marks), *own, *joins])

    def _stored(self, began: float, answered: float) -> bool:
        """Whether nothing broke while it was answered and stored."""
        over = answered + STORED
        return answered < math.inf and all(end < began or over < begin for begin, end in self._history.faults)


def _times(history: History, log: Sequence[Logged]) -> tuple[Mapping[int, float], Mapping[int, float]]:
    """When the command of each event began, and when it was first acked."""
    began: dict[int, float] = {}
    acked: dict[int, float] = {}
    for event in log:
        command = history.commands.get(event.command)
        began[event.sequence] = -math.inf if command is None else command.began
        answers = history.answers.get(event.command, ())
        acked[event.sequence] = min((answer.at for answer in answers if answer.ok), default=math.inf)
    return began, acked
