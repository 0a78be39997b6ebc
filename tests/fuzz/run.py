"""Fuzz the pure parts of the gateway's engine.

    python -m tests.fuzz.run --cases 1000000 --seed 1

Every case has its own random numbers, so that `--seed S --target T --first N --cases 1` runs a failed one again.
"""

from __future__ import annotations

import argparse
import time
import traceback
from random import Random

from tests.fuzz.targets import TARGETS


def fuzz(name: str, seed: int, first: int, cases: int) -> int | None:
    """Run so many cases of one target. Returns the number of the first that failed."""
    target = TARGETS[name]
    for number in range(first, first + cases):
        try:
            target(Random(f"{seed}:{name}:{number}"))
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            traceback.print_exc()
            return number
    return None


def main() -> None:
    """Fuzz; the exit status tells whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all, shared by the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", choices=list(TARGETS), action="append")
    options = parser.parse_args()
    names: list[str] = options.target or list(TARGETS)
    cases = -(-options.cases // len(names))
    failed = False
    for name in names:
        began = time.perf_counter()
        number = fuzz(name, options.seed, options.first, cases)
        seconds = time.perf_counter() - began
        if number is None:
            outcome = f"{cases} cases in {seconds:.0f} s"
        else:
            failed = True
            outcome = f"failed; again with --seed {options.seed} --target {name} --first {number} --cases 1"
        print(f"{name}: {outcome}", flush=True)  # noqa: T201
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
