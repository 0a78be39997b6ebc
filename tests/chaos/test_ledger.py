"""Ledgers are on the disk before they are built upon, and one that is not whole says so."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clock import COMPILER, SKIPPED, Clock, compiled
from tests.chaos.evidence import history_of
from tests.chaos.history import Receipt, Room, Standing, View
from tests.chaos.ledger import Evidence, Ledger
from tests.support.room_log import Logged


async def test_what_is_kept_can_be_read_while_the_ledger_is_written_and_is_whole_at_its_end(tmp_path: Path):
    file = tmp_path / "ledger.jsonl"
    async with Ledger.open(file) as ledger:
        ledger.write("begin", users=["ann"])
        await ledger.kept()
        assert [line["kind"] for line in Evidence(file).lines] == ["begin"]
        assert not Evidence(file).whole
        await asyncio.gather(*(keep(ledger, number) for number in range(20)))
        assert len(Evidence(file).lines) == 21
    assert Evidence(file).whole


async def keep(ledger: Ledger, number: int) -> None:
    ledger.write("answer", number=number)
    await ledger.kept()


@pytest.mark.parametrize("damage", ["cut off", "line lost", "line torn", "gone"])
async def test_a_ledger_with_something_missing_is_not_whole_and_nobody_in_it_is_judged_good(
    tmp_path: Path, damage: str
):
    file = tmp_path / "ledger.jsonl"
    async with Ledger.open(file) as ledger:
        ledger.write("begin", users=["ann"])
        for _ in range(3):
            ledger.write("closed", client="ann#1", reason="transport close")
    lines = file.read_text().splitlines(keepends=True)
    match damage:
        case "cut off":
            file.write_text("".join(lines[:-1]))
        case "line lost":
            file.write_text("".join(lines[:2] + lines[3:]))
        case "line torn":
            file.write_text("".join([lines[0], lines[1][:20], "\n", *lines[2:]]))
        case _:
            file.unlink()
    assert not Evidence(file).whole
    assert history_of([Evidence(file)], {}, 0, 1).broken == ({"everybody"} if damage == "gone" else {"ann"})


async def test_what_a_client_reads_when_its_connection_is_gone_came_on_that_connection(tmp_path: Path):
    file = tmp_path / "ledger.jsonl"
    async with Ledger.open(file) as ledger:
        ledger.write("begin", users=["ann"])
        for number in (1, 2):
            ledger.write("opened", client="ann#1", user="ann", cursors={"r": number}, asked=2.5, recovered=False)
            ledger.write("event", client="ann#1", room="r", sequence=number, event_id=f"e{number}")
            if number == 1:
                ledger.write("closed", client="ann#1", reason="transport close")
                ledger.write("event", client="ann#1", room="r", sequence=7, event_id="e7")
                ledger.write("kicked", client="ann#1", code="kicked", reason="loud")
    first, second = history_of([Evidence(file)], {}, 0, 1).stays
    assert [receipt.sequence for receipt in first.receipts] == [1, 7]
    assert first.closed is not None
    assert first.kicked is not None
    assert (second.closed, second.asked, second.kicked) == (None, 2.5, None)
    assert (second.cursors, [type(receipt) for receipt in second.receipts]) == ({"r": 2}, [Receipt])


async def test_marks_standings_views_and_what_a_command_is_about_are_read_from_a_ledger(tmp_path: Path):
    file = tmp_path / "ledger.jsonl"
    view: dict[str, Any] = {
        "client": "ann#1",
        "user": "ann",
        "room": "r",
        "head": 2,
        "events": [],
        "loaded_head": 3,
        "loaded": [],
    }
    standing: dict[str, Any] = {"user": "ann", "room": "r", "read": 2, "unread": 1, "mentions": 0}
    edit = {"message": 2, "version": 1, "body": "b"}
    async with Ledger.open(file) as ledger:
        ledger.write("begin", users=["ann"])
        for mark in ("m1", "m2"):
            ledger.write("mark", id=mark, user="ann", room="r", sequence=2)
        ledger.write("marked", id="m1", answer={"ok": True, "sequence": 3, "unread": 4})
        ledger.write("marked", id="m2", answer={"ok": False})
        ledger.write("view", **view)
        ledger.write("standing", **standing)
        ledger.write("command", id="c1", user="ann", room="r", event="message.edit", fields=edit)
        refusal = {"ok": False, "error": {"code": "conflict", "data": {"version": 5}}}
        ledger.write("answer", id="c1", answer=refusal, attempts=1)
        ledger.write("command", id="c2", user="ann", room="r", event="member.ban", fields={"user": "ben"})
    history = history_of([Evidence(file)], {}, 0, 1)
    answered, unanswered = history.marks
    assert (answered.asked, answered.sequence, answered.unread) == (2, 3, 4)
    assert unanswered.answered == math.inf
    assert history.views == [View(**view)]
    assert history.standings == [Standing(**standing)]
    command = history.commands["c1"]
    assert (command.message, command.version, command.body) == (2, 1, "b")
    assert history.commands["c2"].subject == "ben"
    assert [(one.code, one.version) for one in history.answers["c1"]] == [("conflict", 5)]


async def test_an_event_whose_text_is_gone_is_known_by_the_ack_of_its_command(tmp_path: Path):
    file = tmp_path / "ledger.jsonl"
    async with Ledger.open(file) as ledger:
        ledger.write("begin", users=["ann"])
        ledger.write("command", id="c1", user="ann", room="r", event="message.send", fields={"body": "a"})
        ledger.write("answer", id="c1", answer={"ok": True, "sequence": 1, "event_id": "e1"}, attempts=1)
    gone = [Logged(number, f"e{number}", "message.sent", "ann", "", erased=True) for number in (1, 2)]
    history = history_of([Evidence(file)], {"r": Room(gone, 2, 1, {})}, 0, 1)
    assert [event.command for event in history.rooms["r"].log] == ["c1", ""]


@pytest.mark.skipif(COMPILER is None, reason=SKIPPED)
def test_the_wall_clock_of_a_process_is_set_while_it_runs_and_its_monotonic_clock_is_not(tmp_path: Path):
    clock = Clock(compiled(tmp_path), tmp_path / "clock")
    program = (
        "import sys, time, datetime\n"
        "for line in sys.stdin: print(time.time(), datetime.datetime.now().timestamp(), time.monotonic(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **clock.environment}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for jump in (0, 86_400, -3600, 0):
            clock.set(jump)
            process.stdin.write("\n")
            process.stdin.flush()
            seen = [float(number) for number in process.stdout.readline().split()]
            here = datetime.now(UTC).timestamp()
            assert seen[0] == pytest.approx(here + jump, abs=60)
            assert seen[1] == pytest.approx(here + jump, abs=60)
            assert seen[2] == pytest.approx(time.monotonic(), abs=60)
