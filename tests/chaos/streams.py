"""Whether each connection was sent what its user was a member for, once and in order; pure.

A connection is judged by itself: it says with which cursors it came, so all that follows them is due on it, and what it
did not get any more the next one owes. It owes the end of a room only if it was still there when the run was over.
What nothing proves to be due is not claimed: events from before a connection without a cursor, and those of a stay in a
room that may have ended before the connection began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos.history import STILL, History, Receipt, Stay
from tests.support.room_log import Span, spans_of


class Finding(NamedTuple):
    """One outcome."""

    subject: str
    outcome: str
    why: str


def waited(history: History, began: float, ended: float) -> float:
    """How long something took, after the last fault that may have been in its way."""
    over = max((end for begin, end in history.faults if begin < ended), default=began)
    return ended - max(began, over)


def judge_stays(history: History, in_time: float) -> Iterator[Finding]:
    """Every delivery that was made or due."""
    last = {stay.client: stay for stay in history.stays}
    for client in history.clients.keys() - last.keys():
        outcome = "unverified" if history.clients[client] in history.broken else "late"
        yield Finding("connection", outcome, f"{client} was never connected")
    users = {stay.user for stay in history.stays}
    spans = {(room, user): spans_of(state.log, user) for room, state in history.rooms.items() for user in users}
    began: dict[str, float] = {}
    for stay in history.stays:
        # One that is recovered is the one of before.
        began[stay.client] = began.get(stay.client, stay.began) if stay.recovered else stay.began
        if last[stay.client] is stay and stay.closed is not None:
            outcome = "unverified" if stay.user in history.broken else "late"
            yield Finding("connection", outcome, f"{stay.client} did not come back within the run")
        yield from _end(history, stay, began[stay.client], in_time)
        for room in stay.resets:
            yield Finding("delivery", "lost", f"{stay.client} was told to load {room} anew")
        received: dict[str, list[Receipt]] = defaultdict(list)
        for receipt in stay.receipts:
            received[receipt.room].append(receipt)
        for room in history.rooms.keys() | received.keys():
            if room in history.rooms:
                stream = _Stream(history, stay, room, spans[room, stay.user], received[room], in_time)
                yield from stream.findings()
            elif room.startswith("user:"):
                yield from _own(history, stay, room, received[room])
            else:
                yield from (Finding("delivery", "unverified", f"{each}: no log") for each in received[room])


def _own(history: History, stay: Stay, room: str, receipts: Sequence[Receipt]) -> Iterator[Finding]:
    """What came of a user's own room: theirs, as it is stored, once, in order and without a gap."""
    stored = history.notified.get(room, {})
    last = stay.cursors.get(room)
    for receipt in receipts:
        sequence, outcome = receipt.sequence, "good"
        if room != f"user:{stay.user}":
            outcome = "foreign"
        elif stored.get(sequence) != receipt.event_id and (sequence in stored or not _is_gone(history, receipt)):
            outcome = "contradicted"
        elif last is not None and sequence <= last:
            outcome = "doubled"
        elif last is not None and sequence > last + 1:
            outcome = "lost"
        yield Finding("notification", outcome, f"{stay.client} in {room}: {sequence} after {last}")
        last = max(sequence, last or 0)


def _is_gone(history: History, receipt: Receipt) -> bool:
    """Whether a notification is of a message that was deleted, and is gone with it."""
    if receipt.about is None:
        return False
    name, *messages = receipt.about
    log = history.rooms[name].log if name in history.rooms else ()
    return not name or any(event.type == "message.deleted" and event.data["message"] in messages for event in log)


def _end(history: History, stay: Stay, began: float, in_time: float) -> Iterator[Finding]:
    """Whether an administrator ended a connection, where one did and nowhere else.

    Those are meant that gateways have by then, also if they let them in later: `began` is when this one may have begun.
    """
    theirs = [ban for ban in history.bans if ban.user == stay.user]
    if stay.kicked is not None:
        meant = any(ban.began < stay.kicked and began < ban.over for ban in theirs)
        why = f"{stay.client} was ended by an administrator at {stay.kicked - history.began:.2f} s, who did not mean it"
        yield Finding("kick", "good" if meant else "foreign", why)
    for ban in theirs:
        ended = history.ended if stay.closed is None else stay.closed
        if ban.sure and stay.opened < ban.began and waited(history, ban.answered, ended) > in_time:
            yield Finding("kick", "late", f"{stay.client} was still there {ended - ban.answered:.1f} s after its end")


class _Stream:
    """The events of one room on one connection."""

    def __init__(
        self, history: History, stay: Stay, room: str, spans: Sequence[Span], receipts: Sequence[Receipt],
        in_time: float,
    ) -> None:  # fmt: skip
        self._history = history
        self._stay = stay
        self._room = room
        self._log = history.rooms[room].log
        self._spans = spans
        self._receipts = receipts
        self._in_time = in_time
        self._cursor = stay.cursors.get(room)
        self._seen: set[int] = set()

    def findings(self) -> Iterator[Finding]:
        """Those of what came, and of what did not."""
        highest = 0
        for receipt in self._receipts:
            if self._is_invitation(receipt):
                # It is for who is not in the room, outside of its order, as often as it is sent.
                yield self._finding("good", "")
                continue
            outcome, why = self._of(receipt, highest)
            yield self._finding(outcome, f"{receipt.sequence} {why}")
            self._seen.add(receipt.sequence)
            highest = max(highest, receipt.sequence)
        broken = self._stay.user in self._history.broken
        for sequence in sorted(self._due() - self._seen):
            yield self._finding("unverified" if broken else "lost", f"{sequence} never came")

    def _finding(self, outcome: str, why: str) -> Finding:
        stay = self._stay
        since = stay.opened - self._history.began
        until = "the end" if stay.closed is None else f"{stay.closed - self._history.began:.2f} s"
        where = f"{stay.client} in {self._room}, connected {since:.2f} s to {until}"
        came = ", recovered" if stay.recovered else "" if self._cursor is None else f", cursor {self._cursor}"
        spans = [tuple(span) for span in self._spans]
        return Finding("delivery", outcome, why if outcome == "good" else f"{where}{came}, member {spans}: {why}")

    def _of(self, receipt: Receipt, highest: int) -> tuple[str, str]:
        sequence, at = receipt.sequence, receipt.at
        when = f"at {at - self._history.began:.2f} s"
        if not 1 <= sequence <= len(self._log) or self._log[sequence - 1].event_id != receipt.event_id:
            return "contradicted", f"{when} is not what the log has there"
        member = self._is_member(sequence)
        if sequence in self._seen or (self._cursor is not None and sequence <= self._cursor):
            return "doubled", when
        if sequence < highest:
            return "out of order", f"{when} after {highest}"
        if not member and not self._resumed_over(sequence, at):
            return "foreign", f"{when}, no member"
        began = self._began(sequence)
        if began is not None and self._banned(began, at):
            return "foreign", f"{when}, banned"
        if began is not None:
            if max(began, self._stay.opened) < self._history.last_words - STILL and at > self._history.last_words:
                return "late", f"{when}, when something later was said in the room"
            seconds = waited(self._history, max(began, self._stay.opened), at)
            if seconds > self._in_time:
                return "late", f"{when}, {seconds:.1f} s after the last fault"
        return "good", ""

    def _is_invitation(self, receipt: Receipt) -> bool:
        sequence = receipt.sequence
        if not 1 <= sequence <= len(self._log) or self._is_member(sequence):
            return False
        event = self._log[sequence - 1]
        invited = event.type == "member.invited" and event.subject == self._stay.user
        return invited and event.event_id == receipt.event_id

    def _is_member(self, sequence: int) -> bool:
        return any(s.joined <= sequence and (s.left is None or sequence <= s.left) for s in self._spans)

    def _resumed_over(self, sequence: int, at: float) -> bool:
        """Whether it is what a cursor from before a leave brings to who has come in again."""
        if self._cursor is None or self._stay.recovered:
            return False
        return any(span.joined > sequence and (self._began(span.joined) or 0.0) < at for span in self._spans)

    def _banned(self, began: float, at: float) -> bool:
        """Whether it was said after its reader's ban was answered, and read before that was lifted."""
        for ban in self._history.bans:
            if not ban.sure:
                continue
            over = ban.answered
            if ban.unanswered:
                over = max([over, *(end for begin, end in self._history.faults if begin < over)]) + self._in_time
            if ban.user == self._stay.user and over < began and at < ban.lifted:
                return True
        return False

    def _began(self, sequence: int) -> float | None:
        """When the command was begun that led to an event; None if nobody noted it."""
        command = self._history.commands.get(self._log[sequence - 1].command)
        return None if command is None else command.began

    def _due(self) -> set[int]:
        """What must have come on this connection."""
        due: set[int] = set()
        for number, span in enumerate(self._spans):
            end = len(self._log) if span.left is None else span.left
            came = sorted(sequence for sequence in self._seen if span.joined <= sequence <= end)
            later = any(sequence > end for sequence in self._seen) and number + 1 < len(self._spans)
            if span.left is not None and (self._began(span.left) or 0.0) < self._stay.opened:
                # It may have been over before this connection began: what came of it came without a gap.
                if came:
                    due |= set(range(came[0], came[-1] + 1))
                continue
            first = self._first_due(span, end, came)
            if self._stay.closed is not None and not later:
                end = came[-1] if came else 0
            due |= set(range(first, end + 1))
        return due

    def _first_due(self, span: Span, end: int, came: Sequence[int]) -> int:
        joined = self._began(span.joined)
        if joined is not None and joined > self._stay.opened:
            return span.joined
        if self._cursor is not None:
            return max(span.joined, self._cursor + 1)
        after = next((s for s in range(span.joined, end + 1) if (self._began(s) or 0.0) > self._stay.opened), end + 1)
        return min([after, *came[:1]])
