"""The simulation itself: its seeds show nothing wrong, it finds what is planted, and a seed is always the same run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import CreateRoom
from parley.chat.log import statements
from parley.chat.log.writer import Writer
from parley.common.wire.identity import Identity
from tests.simulation.append import settings
from tests.simulation.loop import Broken
from tests.simulation.session import Session
from tests.simulation.tables import Transaction
from tests.simulation.world import World

SEEDS = int(os.environ.get("TEST_SEEDS", "300"))


def simulate(*arguments: str) -> str:
    """Run the simulation in a process of its own, as on the command line; what it says."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--jobs", "1", *arguments],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_some_hundred_seeds_show_nothing_wrong():
    said = simulate("--seeds", str(SEEDS))
    # And they are about something.
    for what in ("kills", "recovered", "resent", "timeouts", "unavailable"):
        assert f" {what}" in said


@pytest.mark.timeout(300)
def test_each_planted_bug_is_found():
    assert "MISSED" not in simulate("--planted", "--enough")


def test_a_seed_is_the_same_run_in_every_process():
    runs = [simulate("--trace", "--from", "6", "--seeds", "4") for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0].count("\n") > 200


def test_a_run_in_which_nothing_goes_on_is_an_error():
    world = World(1)

    async def wait_for_ever() -> None:
        await world.loop.create_future()

    with world.installed(), pytest.raises(Broken, match="deadlock"):
        world.loop.run(wait_for_ever())
    world.finish()


def test_what_waits_aside_is_not_overtaken_by_what_was_sent_after_it(monkeypatch: pytest.MonkeyPatch):
    """A room comes free while what waits for it is tried again, a part at a time."""
    world = World(1)
    decisions: list[BatchDecision] = []

    async def publish(decision: BatchDecision) -> None:
        decisions.append(decision)

    async def send() -> None:
        ann, database = Identity("ann", "Ann"), world.database
        writer = Writer(publish, settings(chat_batch=2))
        await writer.connect()
        running = asyncio.ensure_future(writer.run())
        made = await writer.submit(CreateRoom("c0", "Room"), ann, "")
        assert made.room is not None
        room = made.room.id
        other = Transaction(Session(database, world.loop.physics, 1.0))
        await database.lock(room_key(room) or 0, other)
        looked = database.statements[statements.EXISTING_ROOMS]

        def look_and_let_go(*asked: Any) -> Any:
            # Between two parts of what waits aside, the other process lets go.
            if other.alive and not writer._waiting and not writer._aside and writer._aside_rooms:
                world.loop.call_later(0.0001, database.end, other)
            return looked(*asked)

        monkeypatch.setitem(database.statements, statements.EXISTING_ROOMS, look_and_let_go)
        sent = [writer.submit(SendMessage(f"c{number}", room, "hello"), ann, "") for number in range(1, 7)]
        sequences = [accepted.sequence for accepted in await asyncio.gather(*sent)]
        assert not other.alive
        assert sequences == sorted(sequences)
        running.cancel()

    with world.installed():
        try:
            world.loop.run(send())
        finally:
            world.finish()
    assert decisions


def test_a_writer_that_did_not_get_the_logs_secret_at_first_takes_no_command_without_it():
    """Else its fingerprints are others than every other writer's, and what is sent again is refused."""
    world = World(1)

    async def publish(_plan: BatchDecision) -> None:
        pass

    async def send() -> None:
        ann, command = Identity("ann", "Ann"), CreateRoom("c0", "Room")
        first, second = Writer(publish, settings()), Writer(publish, settings())
        connecting = asyncio.ensure_future(first.connect())
        while not world.database.sessions:
            await asyncio.sleep(0.0001)
        for session in world.database.sessions:
            session.mute_now()
        with pytest.raises(TimeoutError):
            await connecting
        for writer in (first, second):
            await writer.connect()
            running = asyncio.ensure_future(writer.run())
            assert (await writer.submit(command, ann, "")).sequence == 1
            running.cancel()

    with world.installed():
        try:
            world.loop.run(send())
        finally:
            world.finish()
