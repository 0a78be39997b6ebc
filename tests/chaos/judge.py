"""What became of everything that was meant, acked, delivered and derived: pure, so that it is tested by planted faults.

| outcome        | of a command                           | of a delivery                                         |
|----------------|----------------------------------------|-------------------------------------------------------|
| `good`         | acked, and once in the log as acked;   | once, in order, to who was a member                   |
|                | or refused, and not in the log         |                                                       |
| `lost`         | acked, and not in the log              | due, and never there                                  |
| `doubled`      | more than once in the log              | there a second time                                   |
| `out of order` | before one that was acked before       | after one that follows it                             |
|                | it began                               |                                                       |
| `late`         | not answered in time, or never         | not there in time                                     |
| `contradicted` | the log says otherwise than the ack    | not what the log has at that place                    |
| `foreign`      | in the log, and nobody meant it        | to who had left, was no member yet, or was banned     |
| `unverified`   | its evidence is missing                | its evidence is missing                               |

What is judged of messages and of read marks is in `judge_messages` and `judge_marks`.

Time in which something was broken is nobody's fault: what is late took longer than `IN_TIME` after the last fault.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import Answer, Command, History, Room
from tests.chaos.judge_marks import judge_marks
from tests.chaos.judge_messages import judge_messages, judge_refusals
from tests.chaos.streams import Finding, judge_stays, waited
from tests.support.room_log import Logged, is_move, members_of

IN_TIME = 10.0
"""Seconds to an outcome, and without any ack, that are borne."""
EVENT_OF = {
    "message.send": "message.sent", "room.join": "member.joined", "room.leave": "member.left",
    "room.invite": "member.invited", "room.create": "room.created", "message.edit": "message.edited",
    "message.delete": "message.deleted", "message.pin": "message.pinned", "message.unpin": "message.unpinned",
    "reaction.add": "reaction.added", "reaction.remove": "reaction.removed", "member.role": "member.changed",
    "member.remove": "member.removed", "member.ban": "member.banned", "member.unban": "member.unbanned",
    "member.mute": "member.muted", "member.unmute": "member.unmuted",
}  # fmt: skip
FAULTS = ("lost", "doubled", "out of order", "late", "contradicted", "foreign")
OUTCOMES = ("good", *FAULTS, "unverified")


@dataclass
class Verdict:
    """How many outcomes of each sort there are, and everything that is not good."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By what was judged, and the outcome."""
    findings: list[Finding] = field(default_factory=list[Finding])
    longest_stall: float = 0.0
    stalled_at: float = 0.0
    """Seconds after the load began, at which the longest time without any ack began."""
    resent: int = 0
    """Acks that came after a resend."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, and nothing unproven."""
        return not self.findings and self.longest_stall <= IN_TIME

    def of(self, outcome: str) -> int:
        """How often there was an outcome, whatever it was of."""
        return sum(count for (_, found), count in self.counts.items() if found == outcome)


def judge(history: History) -> Verdict:
    """Classify every outcome of a run."""
    verdict = Verdict()
    for finding in (
        *_commands(history), *_orders(history), *_logs(history), *judge_stays(history, IN_TIME),
        *_readings(history), *_projections(history), *judge_refusals(history), *judge_messages(history),
        *judge_marks(history),
    ):  # fmt: skip
        verdict.counts[finding.subject, finding.outcome] += 1
        if finding.outcome != "good":
            verdict.findings.append(finding)
    verdict.stalled_at, verdict.longest_stall = _longest_stall(history)
    verdict.resent = sum(a.attempts > 1 for answers in history.answers.values() for a in answers if a.ok)
    return verdict


def _commands(history: History) -> Iterator[Finding]:
    logged: dict[tuple[str, str, str, str], list[Logged]] = defaultdict(list)
    for room, state in history.rooms.items():
        for event in state.log:
            logged[room, event.actor, event.command, event.type].append(event)
    for command in history.commands.values():
        answers = history.answers.get(command.id, ())
        found = logged[command.room, command.user, command.id, EVENT_OF[command.event]]
        outcome, why = _outcome(history, command, answers, found)
        yield Finding("command", outcome, f"{command.event} {command.id} of {command.user} in {command.room}: {why}")


def _outcome(history: History, command: Command, answers: Sequence[Answer], found: Sequence[Logged]) -> tuple[str, str]:
    if command.room not in history.rooms:
        return "unverified", "the log of its room could not be read"
    if len(found) > 1:
        return "doubled", f"the log has it at {[event.sequence for event in found]}"
    if not answers:
        if command.user in history.broken:
            return "unverified", "the ledger ends before its answer"
        return "late", f"never answered; in the log: {bool(found)}"
    answer = answers[-1]
    if not answer.ok:
        return ("contradicted", f"refused as {answer.code}, and in the log") if found else ("good", "")
    if found:
        event = found[0]
        if (event.sequence, event.event_id) != (answer.sequence, answer.event_id) or not _says(event, command):
            return "contradicted", f"acked as {answer.sequence} {answer.event_id}, logged as {event}"
    elif answer.event_id:
        return "lost", f"acked as {answer.sequence}"
    elif not _stood_before(history.rooms[command.room], command, answer):
        return "contradicted", f"acked as no news since {answer.sequence}, which is something else"
    seconds = waited(history, command.began, answer.at)
    return ("late", f"acked {seconds:.1f} s after the last fault") if seconds > IN_TIME else ("good", "")


def _says(event: Logged, command: Command) -> bool:
    """Whether an event says what its command did. One that is erased says nothing any more."""
    if event.erased:
        return not event.body
    data = event.data
    return (
        event.body == command.body
        and data.get("message", 0) == command.message
        and data.get("emoji", "") == command.emoji
        and (not command.version or data.get("version") == command.version + 1)
        and (not command.subject or event.subject == command.subject)
    )


def _stood_before(room: Room, command: Command, answer: Answer) -> bool:
    """Whether a command that changed nothing was acked with an event that had brought it about before."""
    if not 1 <= answer.sequence <= len(room.log):
        return False
    event, data = room.log[answer.sequence - 1], room.log[answer.sequence - 1].data
    if command.event in {"message.delete", "message.pin", "reaction.add"}:
        theirs = command.event != "reaction.add" or (event.actor, data.get("emoji")) == (command.user, command.emoji)
        return event.type == EVENT_OF[command.event] and data.get("message") == command.message and theirs
    if command.event in {"room.join", "room.leave"}:
        return event.subject == command.user and is_move(event)
    # What was taken back or never was there is answered with any event of the room.
    return is_move(event) if command.event == "room.invite" else True


def _orders(history: History) -> Iterator[Finding]:
    """What one user did one after the other is in the log one after the other."""
    done: dict[tuple[str, str], list[tuple[Command, Answer]]] = defaultdict(list)
    for command in history.commands.values():
        for answer in history.answers.get(command.id, ())[-1:]:
            if answer.ok and answer.event_id:
                done[command.user, command.room].append((command, answer))
    for (user, room), pairs in done.items():
        by_answer = sorted(pairs, key=lambda pair: pair[1].at)
        by_begin = sorted(pairs, key=lambda pair: pair[0].began)
        answered, highest = 0, 0
        for command, answer in by_begin:
            while by_answer[answered][1].at < command.began:
                highest = max(highest, by_answer[answered][1].sequence)
                answered += 1
            if answer.sequence < highest:
                why = f"{command.id} of {user} in {room} is {answer.sequence}, begun after {highest} was acked"
                yield Finding("command", "out of order", why)


def _logs(history: History) -> Iterator[Finding]:
    for name, room in history.rooms.items():
        number = 0
        ids = Counter(event.event_id for event in room.log)
        for place, event in enumerate(room.log, 1):
            number += event.type == "message.sent"
            where = f"{name} {event.sequence}"
            if event.sequence != place:
                yield Finding("log", "lost", f"{where} where {place} should be: a gap")
                break
            if event.type == "message.sent" and event.number != number:
                yield Finding("log", "contradicted", f"{where} is message {event.number}, the {number}th there is")
            if ids[event.event_id] > 1:
                yield Finding("log", "doubled", f"{where}: event {event.event_id} is there {ids[event.event_id]} times")
            command = history.commands.get(event.command)
            if command is None or command.user != event.actor:
                outcome = "unverified" if history.broken else "foreign"
                yield Finding("log", outcome, f"{where}: nobody meant {event}")


def _readings(history: History) -> Iterator[Finding]:
    """Who has left a private room reads nothing in it, unless somebody asked them in again."""
    for reading in history.readings:
        if reading.room not in history.rooms:
            yield Finding("reading", "unverified", f"{reading}: the log of its room could not be read")
            continue
        again = any(
            event.subject == reading.user and event.type in {"member.invited", "member.joined"}
            and event.sequence > reading.left
            and (event.command not in history.commands or history.commands[event.command].began < reading.ended)
            for event in history.rooms[reading.room].log
        )  # fmt: skip
        outcome = "good" if again or not reading.last else "foreign"
        yield Finding("reading", outcome, f"{reading.user} had left {reading.room} and could read it: {reading}")


def _projections(history: History) -> Iterator[Finding]:
    """What chat says of rooms and members is what a replay of the log comes to."""
    for name, room in history.rooms.items():
        due = members_of(room.log)
        said = dict(room.members)
        for user in sorted(due.keys() | said.keys()):
            same = due.get(user) == said.get(user)
            why = f"{name}: {user} is {said.get(user)}, by the log {due.get(user)}"
            yield Finding("membership", "good" if same else "contradicted", why)
        counted = sum(member.state == "joined" for member in due.values())
        same = (room.head, room.member_count) == (len(room.log), counted)
        why = f"{name}: head {room.head} of {len(room.log)}, {room.member_count} members of {counted}"
        yield Finding("room", "good" if same else "contradicted", why)
    verified = history.verified
    if verified is None or verified.rooms < len(history.rooms):
        yield Finding("projections", "unverified", f"`parley verify` said {verified}, of {len(history.rooms)} rooms")
    else:
        why = f"`parley verify` found {verified.wrong} rows that are not what the log says; the first: {verified.first}"
        yield Finding("projections", "contradicted" if verified.wrong else "good", why)


def _longest_stall(history: History) -> tuple[float, float]:
    """When the longest time without any ack began, after the load did, and how long it was."""
    acks = (answer.at for answers in history.answers.values() for answer in answers if answer.ok)
    times = sorted([history.began, *(at for at in acks if history.began < at < history.ended), history.ended])
    seconds, began = max((after - before, before) for before, after in itertools.pairwise(times))
    return began - history.began, seconds
