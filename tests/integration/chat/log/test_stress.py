"""Four processes write to three rooms, send again what others sent, join, leave, and are killed: the log holds up.

`TEST_STRESS_SECONDS` makes it longer: an hour finds what some seconds do not.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.projections.rebuild import rebuild
from parley.chat.projections.replay import SETTINGS
from tests.support.waiting import until

SECONDS = float(os.environ.get("TEST_STRESS_SECONDS", "4"))
REFUSALS = {"not_a_member", "invalid_payload", "unavailable"}


async def process(url: str, seconds: float, seed: int, output: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.chat.append_stress", url, str(seconds), str(seed), str(output),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def run_and_kill(url: str, directory: Path) -> list[Any]:
    """What the processes noted, of which one was killed in the middle of its work, and another one took its place."""
    files = [directory / f"{n}.jsonl" for n in range(5)]
    running = [await process(url, SECONDS, n, files[n]) for n in range(4)]
    await until(
        lambda: all(file.exists() and file.stat().st_size > 5_000 for file in files[:4]), "all four write", seconds=60
    )
    await asyncio.sleep(SECONDS / 4)
    running[0].kill()
    await running[0].wait()
    running[0] = await process(url, SECONDS / 2, 0, files[4])
    assert [await one.wait() for one in running] == [0, 0, 0, 0]
    lines = [line for file in files for line in file.read_text().splitlines()]
    notes: list[Any] = []
    for line in lines:
        try:
            notes.append(msgspec.json.decode(line))
        except msgspec.DecodeError:
            assert len(notes) < len(lines), "the last line of who was killed"
    return notes


async def test_four_processes_on_three_rooms_leave_a_log_without_gap_double_or_loss(
    database_url: str, pool: Pool, tmp_path: Path
):
    notes = await run_and_kill(database_url, tmp_path)
    # An hour's rows take longer than any statement of chat may.
    connection = await asyncpg.connect(database_url, server_settings=SETTINGS)
    rows = await connection.fetch(f"SELECT {EVENT_COLUMNS} FROM chat.events e ORDER BY e.room_id, e.sequence")
    log = {(event.room, event.sequence): event for event in map(recorded_row, rows)}

    # Every row: gapless, one per command, by who was a member then.
    heads: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    members: defaultdict[str, dict[str, int]] = defaultdict(dict)
    commands: set[tuple[str, str, str]] = set()
    for (room, sequence), event in log.items():
        heads[room] += 1
        assert sequence == heads[room]
        numbers[room] += event.type == "message.sent"
        assert event.number == numbers[room]
        key = room, event.actor_id, event.command_id
        assert key not in commands or event.type == "member.changed"
        commands.add(key)
        joins, leaves = event.joined_and_left()
        if joins:
            assert joins not in members[room]
            members[room][joins] = sequence
        elif event.type != "member.changed":
            assert event.actor_id in members[room], "who wrote was a member"
        if leaves:
            del members[room][leaves]

    # Every ack: the same each time, and what it says is in the log.
    acked: dict[tuple[str, str, str], tuple[int, Any]] = {}
    for room, user, id_, name, sequence, found in (note[1:] for note in notes if note[0] == "acked"):
        assert acked.setdefault((room, user, id_), (sequence, found)) == (sequence, found), (room, user, id_, name)
        if found is not None:
            event = log[room, sequence]
            assert (event.actor_id, event.command_id) == (user, id_)
            assert [event.type, event.number, event.data.decode()] == found
        else:
            assert name == "room.join"
            assert log[room, sequence].joined_and_left()[0] == user
    published = Counter(tuple(note[1:]) for note in notes if note[0] == "published")
    assert set(published.values()) == {1}
    assert all(log[room, sequence].command_id == id_ for room, sequence, _, id_ in published)
    assert {note[2] for note in notes if note[0] == "refused"} <= REFUSALS

    # The projections, as they are and made anew.
    for row in await pool.fetch("SELECT * FROM chat.rooms"):
        room = public_room_id(row["room_id"])
        assert (row["head"], row["messages"], row["member_count"]) == (heads[room], numbers[room], len(members[room]))
    before = (
        await pool.fetch("SELECT * FROM chat.rooms ORDER BY 1"),
        await pool.fetch("SELECT * FROM chat.members ORDER BY 1, 2"),
    )
    assert {(public_room_id(row["room_id"]), row["user_id"]): row["sequence"] for row in before[1]} == {
        (room, user): sequence for room, users in members.items() for user, sequence in users.items()
    }
    owners = Counter(row["room_id"] for row in before[1] if row["role"] == "owner")
    assert set(owners.values()) <= {1}
    assert (await rebuild(connection)).corrected == 0
    await connection.execute("DELETE FROM chat.members")
    await rebuild(connection)
    await connection.close()
    assert before == (
        await pool.fetch("SELECT * FROM chat.rooms ORDER BY 1"),
        await pool.fetch("SELECT * FROM chat.members ORDER BY 1, 2"),
    )
    short, long = (sum(note[way] for note in notes if note[0] == "ways") for way in (1, 2))
    assert short > 0
    print(f"{len(log)} events, {len(acked)} commands acked, {short:.0f} short, {long:.0f} long")  # noqa: T201
