"""Faults of every kind, in which nothing is lost, doubled, out of order or told to who must not hear it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.clock import COMPILER
from tests.chaos.report import report, timetable
from tests.chaos.run import Settings, play
from tests.chaos.schedule import KINDS, Plan, schedule, without_jumps

SECONDS = 40.0
SEED = 11


@pytest.mark.timeout(300)
async def test_faults_of_every_kind(tmp_path: Path):
    settings = Settings(SEED, SECONDS, clients=10, rate=10, amending=6)
    plan = Plan(SEED, SECONDS, settings.layout.processes, settings.layout.links)
    faults = schedule(plan)
    assert {fault.kind for fault in faults} == set(KINDS)
    if not COMPILER:
        faults = without_jumps(faults)
    outcome = await play(settings, faults, tmp_path)
    assert outcome.good, f"{timetable(faults)}\n{report(settings, outcome)}"
    # A run in which nothing happened would be good as well.
    assert outcome.verdict.counts["delivery", "good"] > 500
    assert outcome.verdict.counts["command", "good"] > 100
    assert outcome.verdict.counts["read", "good"] > 50
    assert outcome.verdict.counts["view", "good"] > 5
    done = {command.event for command in outcome.history.commands.values()}
    assert done >= {"message.edit", "message.delete", "reaction.add", "reaction.remove"}
