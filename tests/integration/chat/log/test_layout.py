"""The log's tables: how many bytes an event takes, that heads move in place, and that no plan follows statistics."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from typing import Any

import asyncpg
import msgspec
import pytest

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import event_id
from parley.chat.domain.projectors import PROJECTORS
from parley.chat.log import event_store, statements
from parley.chat.log.database import Pool
from parley.chat.log.messages import message_statements
from parley.chat.log.own_connection import SETTINGS
from parley.common.wire.identity import Identity
from tests.support.chat.plans import FILL, plan_nodes
from tests.support.chat.writing import create, running_writer, send
from tests.support.waiting import until

STATEMENTS = {
    name: text
    for name, text in (vars(statements) | vars(message_statements)).items()
    if isinstance(text, str) and "$1" in text
}


async def scans(url: str, statement: str) -> list[tuple[str, ...]]:
    """The nodes of a statement's plan that touch our tables, as a writer's connection makes it."""
    connection: Any = await asyncpg.connect(url, server_settings=SETTINGS)
    try:
        parameters = len(set(re.findall(r"\$\d+", statement)))
        await connection.execute(f"PREPARE asked AS {statement}")
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked({', '.join(['NULL'] * parameters)})")
    finally:
        await connection.close()
    return list(plan_nodes(msgspec.json.decode(plan)[0]["Plan"]))


async def test_no_plan_of_a_writer_follows_statistics(database_url: str, pool: Pool):
    async def plans() -> dict[str, list[tuple[str, ...]]]:
        return {name: await scans(database_url, statement) for name, statement in STATEMENTS.items()}

    for table in ("events", "commands", *PROJECTORS):
        await pool.fetch(f"ALTER TABLE chat.{table} SET (autovacuum_enabled = off)")
    fresh = await plans()
    reading = [node for nodes in fresh.values() for node in nodes if node[0] != "ModifyTable"]
    assert {node[0] for node in reading} <= {"Index Scan", "Index Only Scan", "Tid Scan"}
    # What is being erased is in an index of that alone, which is nearly always empty.
    others = [node for node in reading if node[0] != "Tid Scan" and node[2] != "erasures_open_idx"]
    assert all(node[3] for node in others), "by key, never through a whole index"
    for statement in FILL:
        await pool.fetch(statement.format(1, 3))
    await pool.fetch("ANALYZE chat.rooms, chat.events, chat.members, chat.declined, chat.commands")
    assert await plans() == fresh, "few rows, analysed"
    for statement in FILL:
        await pool.fetch(statement.format(4, 3000))
    assert await plans() == fresh, "many rows, and statistics of when they were few"
    await pool.fetch("ANALYZE chat.rooms, chat.events, chat.members, chat.declined, chat.commands")
    assert await plans() == fresh, "many rows, analysed"


async def test_an_event_takes_at_most_350_bytes_with_all_its_indices(database_url: str, pool: Pool):
    pick = random.Random(3)
    users = [f"u_{uuid.UUID(int=pick.getrandbits(128)).hex}" for _ in range(500)]
    heads = {pick.getrandbits(63) * pick.choice((1, -1)): 0 for _ in range(600)}
    rooms, count = list(heads), 60_000
    now = await pool.fetchval("SELECT now()")
    data = msgspec.json.encode({"body": "x" * 90})
    insert = statements.APPEND.partition("UPDATE")[0].replace("WITH appended AS (", "").rstrip(" )\n") + ")"
    for _ in range(0, count, 500):
        batch: list[Recorded] = []
        for _ in range(500):
            room, user, command = pick.choice(rooms), pick.choice(users), str(uuid.UUID(int=pick.getrandbits(128)))
            heads[room] += 1
            key = event_id(room, user, command)
            at = heads[room]
            batch.append(Recorded(room, at, at, key, "message.sent", user, "user1234", command, -12345, data, now))
        rows = sorted(event_store.event_row(event) for event in batch)
        await pool.fetch(insert, *(list(column) for column in zip(*rows, strict=True)))
    assert await pool.fetchval("SELECT pg_total_relation_size('chat.events')") / count <= 350


async def test_a_head_moves_within_its_page_and_writes_no_index(database_url: str, pool: Pool):
    people = [Identity(f"u{n}", f"U{n}") for n in range(20)]
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, person, "create") for person in people]
        for turn in range(30):
            await asyncio.gather(
                *(send(writer, room, turn, person) for room, person in zip(rooms, people, strict=True))
            )
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'chat.rooms'::regclass"
    found = await until(lambda: pool.fetchrow(f"{updates} AND n_tup_upd >= 600"), "the updates are counted", seconds=20)
    assert found["n_tup_hot_upd"] >= 0.97 * found["n_tup_upd"]


@pytest.mark.parametrize("table", ["events", "commands", *PROJECTORS])
async def test_every_table_can_be_partitioned_by_room(database_url: str, pool: Pool, table: str):
    await pool.fetch(f"CREATE TABLE chat.parted (LIKE chat.{table} INCLUDING ALL) PARTITION BY HASH (room_id)")
    await pool.fetch("CREATE TABLE chat.part PARTITION OF chat.parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    assert (
        await pool.fetchval(
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'chat'::regnamespace"
        )
        == 0
    )
