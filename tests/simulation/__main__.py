"""`python -m tests.simulation`: many seeds, one seed again with its trace, or the table of planted bugs."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

from tests.simulation import scenarios
from tests.simulation.planted import BUGS, planted

CHUNK = 50
SHOWN = 5
"""Problems of one seed that are printed, and failing seeds after which it stops."""
REPORTED = 5000
"""Seeds between two lines that say how far it is."""
_FORKING = multiprocessing.get_context("fork")
"""What `main` has silenced and frozen holds in each process; since Python 3.14 they would start anew by default."""


def main() -> int:
    """Run what the arguments say. The exit code is 1 when a seed shows something wrong, or a planted bug is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--scenario", choices=list(scenarios.SCENARIOS), help="only this; else all take turns")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument("--planted", action="store_true", help="plant each bug, and count the seeds that find it")
    parser.add_argument("--enough", action="store_true", help="with --planted: only until each is found")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # coroutines that were killed have not been awaited to their ends
    sys.unraisablehook = lambda _: None
    gc.collect()
    gc.freeze()
    if args.planted:
        return _planted(args)
    return _traced(args) if args.trace else _many(args)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 - it is a command


def _traced(args: argparse.Namespace) -> int:
    wrong = False
    for seed in range(args.first, args.first + args.seeds):
        outcome = scenarios.run(args.scenario or scenarios.scenario_of(seed), seed, trace=True)
        _say(*outcome.trace, *outcome.problems)
        wrong = wrong or bool(outcome.problems)
    return wrong


def _run_chunk(scenario: str | None, first: int, count: int) -> tuple[list[tuple[str, int, list[str]]], dict[str, int]]:
    failed: list[tuple[str, int, list[str]]] = []
    counts: dict[str, int] = {}
    for seed in range(first, first + count):
        name = scenario or scenarios.scenario_of(seed)
        outcome = scenarios.run(name, seed)
        if outcome.problems:
            failed.append((name, seed, outcome.problems))
        for what, times in outcome.counts.items():
            counts[what] = counts.get(what, 0) + times
    return failed, counts


def _many(args: argparse.Namespace) -> int:
    began, failing, done = time.perf_counter(), 0, 0
    totals: dict[str, int] = {}
    chunks = [
        (first, min(CHUNK, args.first + args.seeds - first))
        for first in range(args.first, args.first + args.seeds, CHUNK)
    ]
    with ProcessPoolExecutor(args.jobs, _FORKING) as pool:
        running = [pool.submit(_run_chunk, args.scenario, *chunk) for chunk in chunks]
        for (_, count), future in zip(chunks, running, strict=True):
            failed, counts = future.result()
            done += count
            for what, times in counts.items():
                totals[what] = totals.get(what, 0) + times
            for scenario, seed, problems in failed:
                failing += 1
                _say(
                    f"seed {seed} of {scenario}: {len(problems)} problems",
                    *(f"  {problem}" for problem in problems[:SHOWN]),
                    f"  again: python -m tests.simulation --scenario {scenario} --from {seed} --seeds 1 --trace",
                )
            if failing >= SHOWN:
                pool.shutdown(cancel_futures=True)
                break
            if done % REPORTED == 0:
                _say(f"{done} seeds, {failing} failed, {time.perf_counter() - began:.0f} s")
    what = ", ".join(f"{times} {name}" for name, times in sorted(totals.items()))
    _say(f"{done} seeds from {args.first}, {failing} failed, {time.perf_counter() - began:.1f} s ({what})")
    return failing > 0


def _plant(number: int, first: int, seeds: int, enough: bool) -> list[int]:
    bug = BUGS[number]
    found: list[int] = []
    with planted(bug):
        for seed in range(first, first + (min(seeds, bug.within) if enough else seeds)):
            if scenarios.run(bug.scenario, seed).problems:
                found.append(seed)
                if enough:
                    break
    return found


def _planted(args: argparse.Namespace) -> int:
    missed = 0
    numbers = [
        number
        for number, bug in enumerate(BUGS)
        if args.scenario in (None, bug.scenario) and (bug.within or not args.enough)
    ]
    with ProcessPoolExecutor(args.jobs, _FORKING) as pool:
        running = [pool.submit(_plant, number, args.first, args.seeds, args.enough) for number in numbers]
        for number, future in zip(numbers, running, strict=True):
            bug, found = BUGS[number], future.result()
            missed += not found
            first = f"first {found[0]}" if found else "MISSED"
            amount = "" if args.enough else f"in {len(found)} of {args.seeds} seeds, "
            _say(f"{bug.scenario:18} {bug.name:36} {amount}{first}")
    return missed > 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of texts have the same order in every process only then.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
