"""Rebuilding and verifying projections on real Postgres: exact, beside writers, stopped and begun again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.projectors import ALL, MEMBERS, PROJECTORS
from parley.chat.domain.rooms import UpdateRoom
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.projections import rebuild as rebuilding
from parley.chat.projections import replay as replaying
from parley.chat.projections.rebuild import rebuild
from parley.chat.projections.replay import SETTINGS
from parley.chat.projections.verify import verify
from parley.common.errors import Reject
from parley.common.wire.identity import Identity
from tests.support.chat.erasing import erase
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until

EVERYBODY = [Identity(f"u{n}", f"User {n}") for n in range(12)]


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """The connection of an operator."""
    opened = await asyncpg.connect(database_url, server_settings=SETTINGS)
    yield opened
    await opened.close()


async def tables(pool: Pool) -> list[list[Any]]:
    """All rows of all projections."""
    return [await pool.fetch(f"SELECT * FROM chat.{name} ORDER BY 1, 2") for name in PROJECTORS]


async def come_and_go(writer: Writer, rooms: list[str], seed: int, done: asyncio.Event) -> list[float]:
    """Join, leave and send until it is done; how long each command took."""
    pick, number, took = random.Random(seed), 0, list[float]()
    while not done.is_set():
        number += 1
        who, room = pick.choice(EVERYBODY), pick.choice(rooms)
        began = time.perf_counter()
        try:
            match pick.randrange(4):
                case 0:
                    await writer.submit(JoinRoom(f"{seed}-{number}", room), who, "")
                case 1:
                    await writer.submit(LeaveRoom(f"{seed}-{number}", room), who, "")
                case _:
                    await send(writer, room, number * 100 + seed, who)
        except Reject:
            continue
        took.append(time.perf_counter() - began)
    return took


async def test_verify_names_the_first_row_that_is_wrong_missing_or_too_much(
    database_url: str, pool: Pool, connection: Any
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
    key = room_key(room)
    assert await verify(connection, ALL) == (1, 0, None)
    for damage, told in {
        "UPDATE chat.rooms SET member_count = 7": f"chat.rooms (room_id = {key}): member_count is 7, by the log 2",
        "UPDATE chat.members SET role = 'owner' WHERE user_id = 'u_ben'": f"chat.members (room_id = {key}, user_id = "
        "'u_ben'): role is 'owner', by the log 'member'",
        "DELETE FROM chat.members WHERE user_id = 'u_ann'": f"chat.members (room_id = {key}, user_id = 'u_ann') is "
        "missing",
        f"INSERT INTO chat.declined VALUES ({key}, 'u_cat', now())": f"chat.declined (room_id = {key}, user_id = "
        "'u_cat') is in no event",
        "INSERT INTO chat.members VALUES (-5, 'u_cat', 'C', 'joined', 'member', 1)": "chat.members (room_id = -5, "
        "user_id = 'u_cat') is in no event",
        "DELETE FROM chat.rooms": f"chat.rooms (room_id = {key}) is missing",
    }.items():
        await pool.fetch(damage)
        found = await verify(connection, ALL)
        assert (found.wrong, str(found.first)) == (1, told)
        assert (await rebuild(connection, ALL)).corrected == 1
        assert (await verify(connection, ALL)).wrong == 0
    assert (await verify(connection, [MEMBERS])).rooms == 1


async def test_projections_are_rebuilt_and_verified_beside_writers_who_do_not_wait(
    database_url: str, pool: Pool, connection: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replaying, "ROOMS_AT_ONCE", 3)
    monkeypatch.setattr(rebuilding, "ROWS_AT_ONCE", 4)
    async with running_writer(database_url) as (writer, _), running_writer(database_url) as (other, _):
        rooms = [await create(writer, command_id=f"c{number}") for number in range(8)]
        done = asyncio.Event()
        pair = enumerate((writer, other))
        working = [asyncio.create_task(come_and_go(each, rooms, seed, done)) for seed, each in pair]
        try:
            for _ in range(6):
                found = await verify(connection, ALL)
                assert found == (8, 0, None), str(found.first)
            for _ in range(4):
                # What writers change while rows are missing is right as well.
                await pool.fetch("DELETE FROM chat.declined")
                await pool.fetch("UPDATE chat.rooms SET messages = messages + 5, topic = 'x' WHERE room_id % 2 = 0")
                await rebuild(connection, ALL)
        finally:
            done.set()
        took = [seconds for each in await asyncio.gather(*working) for seconds in each]
        assert (await verify(connection, ALL)).wrong == 0
        assert took
    before = await tables(pool)
    await pool.fetch("DELETE FROM chat.rooms")
    await pool.fetch("DELETE FROM chat.members")
    await rebuild(connection, ALL)
    assert await tables(pool) == before


async def test_a_rebuild_holds_a_rooms_lock_for_some_rows_at_a_time_and_may_be_killed(
    database_url: str, pool: Pool, connection: Any, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        for number in range(40):
            await writer.submit(JoinRoom(f"j{number}", room), Identity(f"m{number}", "M"), "")
    before = await tables(pool)
    await pool.fetch("DELETE FROM chat.members")
    monkeypatch.setattr(rebuilding, "ROWS_AT_ONCE", 10)
    stores, store = 0, rebuilding._store

    async def stored(*args: Any) -> None:
        nonlocal stores
        stores += 1
        if stores == 3:
            raise ConnectionError("killed")
        await store(*args)

    monkeypatch.setattr(rebuilding, "_store", stored)
    with pytest.raises(ConnectionError):
        await rebuild(connection, ALL)
    assert await pool.fetchval("SELECT count(*) FROM chat.members") == 20, "two pieces stay, the third is undone"
    async with running_writer(database_url) as (writer, _):
        assert await send(writer, room, 1, Identity("m0", "M")) == 42, "nobody holds the room"
    await pool.fetch("UPDATE chat.rooms SET head = 41, messages = 0")
    await pool.fetch("DELETE FROM chat.events WHERE sequence = 42")
    await rebuild(connection, ALL)
    assert await tables(pool) == before
    assert stores == 6


async def test_what_is_mended_is_what_the_log_says_under_the_rooms_lock(database_url: str, pool: Pool, connection: Any):
    async with running_writer(database_url) as (writer, _), pool.acquire() as other:
        room = await create(writer)
        await pool.fetch("UPDATE chat.rooms SET topic = 'of no event'")

        async def replay_before_somebody_joins(*args: Any) -> AsyncIterator[Any]:
            async for chunk in replaying.replay(*args):
                await writer.submit(JoinRoom("j", room), BEN, "")
                yield chunk

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rebuilding, "replay", replay_before_somebody_joins)
            await rebuild(connection, ALL)
        assert (await verify(connection, ALL)).wrong == 0
        await pool.fetch("UPDATE chat.members SET role = 'owner'")
        async with other.transaction():
            await other.fetch("SELECT FROM chat.rooms FOR NO KEY UPDATE")
            mending = asyncio.create_task(rebuild(connection, ALL))
            await until(
                lambda: pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), "it waits for the room"
            )
            assert not mending.done()
        assert (await mending).corrected == 1


async def test_what_is_erased_meanwhile_does_not_come_back(
    database_url: str, pool: Pool, connection: Any, tmp_path: Path
):
    ledger = Ledger(tmp_path / "erasures.jsonl")
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(UpdateRoom("u", room, "Mallory's den"), ANN, "")
        await writer.submit(LeaveRoom("l", room), ANN, "")
        await pool.fetch("UPDATE chat.rooms SET topic = 'of no event'")

        async def replay_before_an_erasure(*args: Any) -> AsyncIterator[Any]:
            async for chunk in replaying.replay(*args):
                await erase(database_url, ledger, await erasures.request_user(connection, ANN.user_id))
                yield chunk

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rebuilding, "replay", replay_before_an_erasure)
            await rebuild(connection, ALL)
        assert not await pool.fetch("SELECT FROM chat.rooms WHERE name LIKE '%Mallory%'")
        assert (await verify(connection, ALL)).wrong == 0


async def test_writers_read_again_what_was_mended(database_url: str, pool: Pool, connection: Any):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await pool.fetch("DELETE FROM chat.members WHERE user_id = 'u_ben'")
        with pytest.raises(Reject):
            await send(writer, room, 1, Identity("u_stranger", "S"))
        assert (await rebuild(connection, ALL)).corrected == 1
        assert await pool.fetchval("SELECT mended FROM chat.log") == 1
        await pool.fetch("DELETE FROM chat.members WHERE user_id = 'u_ann'")
        await send(writer, room, 1)  # it still knows better
        writer.forget_rooms()
        with pytest.raises(Reject):
            await send(writer, room, 2, ANN)
