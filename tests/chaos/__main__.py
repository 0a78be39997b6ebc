"""`make chaos`: stock clients, faults by a seed, and a ledger of what became of everything."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.clock import COMPILER, SKIPPED
from tests.chaos.report import report, timetable
from tests.chaos.run import Settings, play
from tests.chaos.schedule import KINDS, Plan, schedule, without_jumps
from tests.chaos.stack import Layout


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1, help="of the faults and of what people do (1); the same seed, the same faults")
    add("--seconds", type=float, default=600, help="for which there are faults (600)")
    add("--clients", type=int, default=24, help="that are connected (24): half python-socketio, half socket.io-client")
    add("--rate", type=float, default=15, help="what all people do in a second, all together (15)")
    add("--churn", type=float, default=0.15, help="the share of them that is joins and leaves (0.15)")
    add(
        "--amending", type=float, default=1,
        help="how many times as often as in the mix people edit, delete, react, pin and moderate (1)",
    )  # fmt: skip
    add(
        "--pace", type=float, nargs=2, default=(0.5, 4.0), metavar=("MIN", "MAX"), help="seconds between faults (0.5 4)"
    )
    add("--only", action="append", choices=KINDS, help="this kind of fault; may be given more than once (all)")
    add("--on", action="append", default=[], help="only parts that begin so: chat, nats, gateway1>nats (all)")
    add("--moderation", type=float, default=8, help="seconds between two kicks or bans, on average (8); 0 for none")
    add("--gateways", type=int, default=2, help="(2)")
    add("--chats", type=int, default=2, help="(2)")
    add(
        "--directory", type=Path, help="where ledgers and logs are kept; without it, they are kept after a failure only"
    )
    add("--schedule", action="store_true", help="print the faults, and do nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run, print, and say by the exit code whether all was good."""
    given = parsed(arguments)
    layout = Layout(given.gateways, given.chats)
    plan = Plan(
        given.seed, given.seconds, layout.processes, layout.links, tuple(given.only or KINDS), tuple(given.on),
        tuple(given.pace),
    )  # fmt: skip
    faults = schedule(plan)
    if COMPILER is None:
        print(SKIPPED)
        faults = without_jumps(faults)
    print(timetable(faults), flush=True)
    if given.schedule:
        return 0
    settings = Settings(
        given.seed, given.seconds, given.clients, given.rate, given.churn, given.moderation, given.amending, layout
    )
    directory = given.directory or Path(tempfile.mkdtemp(prefix="parley-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    # As Ctrl-C does: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = asyncio.run(play(settings, faults, directory))
    print(report(settings, outcome))
    if outcome.good and given.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"ledgers and logs: {directory}")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
