"""What a plain message costs now, and what it cost at an earlier revision: the same load on both, in turn.

The files of that revision are taken out of git, and its sources stand before those that are installed where a process
that measures them looks. So both run on the same dependencies, with one load generator, each on its own database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from machine import BenchError
from plan import Plan

Row = dict[str, Any]

TREE = Path(__file__).parents[1]
SOURCES = (
    "libs/common",
    "libs/engineio",
    "libs/framework",
    "services/gateway",
    "services/auth",
    "services/chat",
    "cli",
    "libs/testing",
)
ROOM = 10
IN_FLIGHT = (64, 1_000)
RATES = (1_000,)
PARTS = ("chat", "gateway", "postgres")
"""What is compared: auth sends no messages, and NATS is not ours."""
MOST = 1.1
"""Times the CPU of the earlier revision that a message may cost."""
ROUND_SECONDS = 240.0
# With the modules of the revision, of which a plan may have had fewer fields.
_MEASURE = """
import dataclasses, json, sys
sys.path.insert(0, sys.argv[1])
from persisted import persisted
from plan import Plan
given = json.load(sys.stdin)
fields = [field.name for field in dataclasses.fields(Plan)]
plan = Plan(**{name: tuple(given[name]) if isinstance(given[name], list) else given[name] for name in fields})
print(json.dumps(list(persisted(plan))))
"""


def revision(plan: Plan) -> Iterator[Row]:
    """A row for each load and each of the two; of the ratios within rounds, the median."""
    narrow = replace(
        plan, servers=frozenset({"parley"}), rooms=(ROOM,), databases=("fresh",), rounds=1,
        chat_in_flight=IN_FLIGHT, rates=RATES,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        trees = {plan.revision: _taken_out(plan.revision, Path(directory)), "now": TREE}
        rounds: list[dict[str, list[Row]]] = []
        for number in range(plan.rounds):
            # Each goes first in every other round: what the machine does meanwhile befalls both.
            names = list(trees) if number % 2 == 0 else list(reversed(trees))
            rounds.append({name: _round(trees[name], narrow) for name in names})
    for place, load in enumerate(rounds[0]["now"]):
        for name in trees:
            yield {"load": load["load"], "revision": name, **_figures(rounds, place, name, plan.revision)}


def _figures(rounds: Sequence[dict[str, list[Row]]], place: int, name: str, before: str) -> Row:
    mine, theirs = ([one[side][place] for one in rounds] for side in (name, before))
    problems = [problem for row in mine for problem in row["problems"]]
    if problems:
        return {"problems": problems}
    times = [_cpu(row) / _cpu(other) for row, other in zip(mine, theirs, strict=True)]
    by_part = {
        part: round(median(row["cpu_us_per_message_by_part"][part] for row in mine), 1) for part in (*PARTS, "nats")
    }
    return {
        "cpu_us_per_message": round(median(map(_cpu, mine)), 1),
        "cpu_us_per_message_by_part": by_part,
        "acked_per_s": round(median(row["acked_per_s"] for row in mine)),
        "times": round(median(times), 3),
        "times_of_rounds": [round(one, 3) for one in times],
        "disturbed": sum(row["disturbed"] for row in mine) * 2 > len(mine),
        "problems": [f"{median(times):.2f} times what it was"] if median(times) > MOST else [],
    }


def _cpu(row: Row) -> float:
    return sum(row["cpu_us_per_message_by_part"][part] for part in PARTS)


def _taken_out(revision: str, directory: Path) -> Path:
    """The files of a revision. Raises `BenchError`."""
    archive = subprocess.run(["git", "-C", str(TREE), "archive", revision], capture_output=True, check=False)
    if archive.returncode:
        raise BenchError(archive.stderr.decode(errors="replace").strip())
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    (directory / "bench" / "build").symlink_to(TREE / "bench" / "build")
    return directory


def _round(tree: Path, plan: Plan) -> list[Row]:
    """The loads of `persisted`, in a process of its own that imports these sources. Raises `BenchError`."""
    path = os.pathsep.join(str(tree / source / "src") for source in SOURCES)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, tree / "bench"],
        input=json.dumps(asdict(plan), default=list),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=ROUND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchError(done.stderr[-500:])
    return json.loads(done.stdout)
