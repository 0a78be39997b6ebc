"""Schedules are a function of their seed, and take nothing away for longer than they may."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from tests.chaos.schedule import KINDS, LONGEST, LONGEST_OF_ALL, SINGLE, Fault, Plan, schedule, without_jumps
from tests.chaos.stack import Layout

LAYOUT = Layout()
PLAN = Plan(7, 3600, LAYOUT.processes, LAYOUT.links)


def test_the_same_seed_gives_the_same_faults_and_another_seed_others():
    assert schedule(PLAN) == schedule(PLAN)
    assert schedule(PLAN) != schedule(replace(PLAN, seed=8))


def test_all_kinds_happen_to_all_parts_and_sometimes_two_at_once():
    faults = schedule(PLAN)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert {fault.part for fault in faults} == {*LAYOUT.processes, *LAYOUT.links}
    at_once = Counter(fault.at for fault in faults)
    assert set(at_once.values()) == {1, 2}
    assert max(fault.at + fault.seconds for fault in faults) <= PLAN.seconds


def test_what_there_is_one_of_and_two_parts_at_once_are_away_for_a_short_time_only():
    faults = schedule(PLAN)
    at_once = Counter(fault.at for fault in faults)
    for fault in faults:
        alone = at_once[fault.at] == 1 and fault.part not in SINGLE
        assert fault.kind == "jump" or fault.seconds <= (LONGEST if alone else LONGEST_OF_ALL)
    assert max(fault.seconds for fault in faults) > LONGEST_OF_ALL


def test_a_fault_begins_when_the_one_before_is_over():
    groups: dict[float, list[Fault]] = {}
    for fault in schedule(PLAN):
        groups.setdefault(fault.at, []).append(fault)
    for earlier, later in pairwise(groups.values()):
        assert later[0].at >= max(fault.at + fault.seconds for fault in earlier)


def test_kinds_and_parts_can_be_chosen():
    only = schedule(replace(PLAN, kinds=("kill", "stop"), on=("chat", "nats")))
    assert {(fault.kind, fault.part) for fault in only} == {
        (kind, part) for kind in ("kill", "stop") for part in ("chat1", "chat2", "nats")
    }
    assert schedule(replace(PLAN, on=("nothing",))) == []


def test_clocks_jump_everywhere_but_at_nats_and_where_none_can_be_set_nothing_else_moves():
    faults = schedule(PLAN)
    assert {fault.part for fault in faults if fault.kind == "jump"} == {*LAYOUT.services, "postgres"}
    assert [fault for fault in faults if fault.kind != "jump"] == without_jumps(faults)
