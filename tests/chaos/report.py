"""What is printed of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.judge import IN_TIME, OUTCOMES
from tests.chaos.run import Outcome, Settings
from tests.chaos.schedule import Fault

SHOWN = 40
"""Findings that are printed; the ledgers have them all."""


def timetable(schedule: Sequence[Fault]) -> str:
    """The faults, one a line."""
    return "\n".join(map(str, schedule)) or "no faults"


def report(settings: Settings, outcome: Outcome) -> str:
    """Figures, and what is not good."""
    return "\n".join(_lines(settings, outcome))


def _lines(settings: Settings, outcome: Outcome) -> Iterator[str]:
    verdict, history = outcome.verdict, outcome.history
    kinds = Counter(fault.kind for fault in outcome.made)
    yield (
        f"seed {settings.seed}, {settings.seconds:g} s, {settings.clients} clients, {len(outcome.made)} faults: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    )
    acked = sum(answer.ok for answers in history.answers.values() for answer in answers)
    received = sum(len(stay.receipts) for stay in history.stays)
    recovered = sum(stay.recovered for stay in history.stays)
    yield f"{acked} acks, {verdict.resent} of them after a resend; {received} events received"
    events = Counter(command.event for command in history.commands.values())
    yield ", ".join(f"{count} {event}" for event, count in events.most_common())
    refused = Counter(answers[-1].code for answers in history.answers.values() if not answers[-1].ok)
    yield f"{len(history.marks)} read marks; refused: " + (
        ", ".join(f"{count} {code}" for code, count in refused.most_common()) or "none"
    )
    yield f"{len(history.stays)} connections, {recovered} of them recovered; {len(history.bans)} bans"
    yield ""
    yield " ".join([f"{'':<12}", *(f"{name:>12}" for name in OUTCOMES)])
    for subject in dict.fromkeys(subject for subject, _ in sorted(verdict.counts)):
        yield " ".join([f"{subject:<12}", *(f"{verdict.counts[subject, name]:>12}" for name in OUTCOMES)])
    yield ""
    yield (
        f"longest time without any ack: {verdict.longest_stall:.1f} s, from {verdict.stalled_at:.1f} s on "
        f"(at most {IN_TIME:g} s)"
    )
    yield from (f"ended: {death}" for death in outcome.deaths)
    for finding in verdict.findings[:SHOWN]:
        yield f"{finding.outcome}: {finding.subject} {finding.why}"
    if len(verdict.findings) > SHOWN:
        yield f"and {len(verdict.findings) - SHOWN} more"
    yield "GOOD" if outcome.good else "NOT GOOD"
