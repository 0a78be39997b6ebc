"""The tail of the log on real Postgres: nothing is skipped, nobody is waited for, and pages end anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.rooms import RoomCreated
from parley.chat.log import tail
from parley.chat.log.database import Pool, PostgresConnection
from parley.chat.log.position import BEGINNING, Position
from parley.chat.log.tail import SETTINGS, Tail
from parley.chat.notifications.notifier import WANTED
from parley.cli.database.incarnation import begin_incarnation
from tests.support.chat.bulk_rows import fill
from tests.support.chat.plans import FILL, plan_nodes
from tests.support.chat.writing import BEN, create, running_writer, send

ALL = (MessageSent.NUMBER, RoomCreated.NUMBER, 3)


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Any]:
    """A connection as those have that follow the log; it may say nothing for longer."""
    settings = SETTINGS | {"idle_session_timeout": "0"}
    connection = await asyncpg.connect(database_url, server_settings=settings, connection_class=PostgresConnection)
    yield connection
    await connection.close()


async def read_all(
    session: Any, position: Position, *, most: int = 100, scan: int = 1000
) -> tuple[list[Recorded], Position]:
    """Everything beyond a position, in pages."""
    reader, events = Tail(), list[Recorded]()
    while True:
        page = await reader.events(session, position, ALL, most=most, scan=scan)
        events += page.events
        position = page.position
        if not page.more:
            return events, position


def in_order(events: list[Recorded]) -> bool:
    """Whether events were first read in the order of their rooms, of which each was read from its beginning."""
    seen: dict[int, int] = {}
    for event in events:
        if event.sequence > seen.get(event.room_id, 0) + 1:
            return False
        seen[event.room_id] = max(event.sequence, seen.get(event.room_id, 0))
    return True


@pytest.mark.parametrize(("most", "scan"), [(100, 1000), (1, 1000), (7, 7), (3, 1), (5, 6)])
async def test_the_log_is_read_once_in_pages_of_any_size(database_url: str, session: Any, most: int, scan: int):
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, command_id=f"c{number}") for number in range(3)]
        for room in rooms:
            await writer.submit(JoinRoom(f"join {room}", room), BEN, "")
        await asyncio.gather(*(send(writer, room, number) for room in rooms for number in range(20)))
    events, position = await read_all(session, BEGINNING, most=most, scan=scan)
    assert len({event.event_id for event in events}) == len(events) == 66
    assert in_order(events)
    assert await read_all(session, position) == ([], position._replace(next=position.next))


async def test_a_page_is_bounded_by_bytes_but_has_one_event(session: Any):
    await fill(session, 2, 12, body="x" * 60_000)
    reader = Tail()
    page = await reader.events(session, BEGINNING, ALL, most=100, scan=1000)
    while not page.events:
        page = await reader.events(session, page.position, ALL, most=100, scan=1000)
    assert len(page.events) == 9
    assert (page.more, page.cut) == (True, True)
    assert not (await reader.events(session, BEGINNING, ALL, most=100, scan=5)).cut
    events, _ = await read_all(session, BEGINNING)
    assert len(events) == 24


async def test_events_of_other_types_are_passed_over(database_url: str, session: Any):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        for number in range(30):
            await send(writer, room, number)
        await writer.submit(JoinRoom(f"join {room}", room), BEN, "")
    page = await Tail().events(session, BEGINNING, [3], most=10, scan=10)
    assert (page.events, page.more) == ([], True)
    while not page.events:
        page = await Tail().events(session, page.position, [3], most=10, scan=10)
    assert [event.type for event in page.events] == ["member.joined"]


async def test_what_commits_late_is_read_late_and_who_does_not_commit_holds_up_nobody(
    database_url: str, pool: Pool, session: Any
):
    async with running_writer(database_url) as (writer, _), pool.acquire() as foreign, pool.acquire() as slow:
        room, other = await create(writer), await create(writer, command_id="other")
        async with foreign.transaction():
            # It has a number, and may keep it for hours.
            await foreign.execute("CREATE TEMPORARY TABLE theirs (n int)")
            transaction = slow.transaction()
            await transaction.start()
            await slow.execute("UPDATE chat.rooms SET head = 2 WHERE room_id = $1", room_key(other))
            await slow.execute(
                """INSERT INTO chat.events SELECT room_id, 2, number, pg_current_xact_id(), now(), gen_random_uuid(),
                   fingerprint, type, version, actor_id, command_id, actor_name, data
                   FROM chat.events WHERE room_id = $1""",
                room_key(other),
            )
            await send(writer, room, 1)
            events, position = await read_all(session, BEGINNING)
            assert {(event.room, event.sequence) for event in events} == {(room, 1), (room, 2), (other, 1)}
            await send(writer, room, 2)
            await transaction.commit()
            events, position = await read_all(session, position)
            assert {(event.room, event.sequence) for event in events} == {(room, 3), (other, 2)}
            assert len(position.running) == 1, "the foreign one"
            # However long it takes, what was read is not read again.
            heads = await Tail().heads(session, position, ())
            assert heads.heads == []


async def test_a_rooms_order_holds_where_transactions_have_another_one(pool: Pool, session: Any):
    async with pool.acquire() as first, pool.acquire() as second:
        await fill(first, 1, 1)
        begun = second.transaction()
        await begun.start()
        # It has its number first, and waits for a room.
        await second.execute("SELECT pg_current_xact_id()")
        insert = """INSERT INTO chat.events (room_id, sequence, number, event_id, fingerprint, type, version, actor_id,
                                             command_id, actor_name, data, recorded_at)
                    SELECT 1, sequence, sequence, gen_random_uuid(), 0, 5, 1, 'u', 'c', 'U', '{"body": "x"}', now()
                    FROM generate_series($1::int, $2) sequence"""
        await first.execute(insert, 2, 4)
        await first.execute(insert, 5, 5)
        await second.execute(insert, 6, 7)
        await begun.commit()
    for most in (1, 2, 3, 100):
        events, _ = await read_all(session, BEGINNING, most=most, scan=most)
        assert in_order(events), most
        assert {event.sequence for event in events} == set(range(1, 8))


async def test_heads_are_read_in_pages_with_the_events_that_were_asked_for(
    database_url: str, session: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tail, "MAX_EVENTS", 10)
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, command_id=f"c{number}") for number in range(5)]
        for room in rooms:
            await asyncio.gather(*(send(writer, room, number) for number in range(6)))
    heads: dict[int, int] = {}
    named: list[Recorded] = []
    reader, position, pages = Tail(), BEGINNING, 0
    while True:
        page = await reader.heads(session, position, [RoomCreated.NUMBER])
        heads.update(page.heads)
        named += page.named
        position, pages = page.position, pages + bool(page.heads)
        if not page.more:
            break
    assert heads == {room_key(room): 7 for room in rooms}
    assert pages >= 4
    assert [event.type for event in named] == ["room.created"] * 5
    assert (await reader.heads(session, position, ())).heads == []
    assert (await reader.heads(session, position, ())).age == 0


async def test_the_tail_is_found_by_its_summaries_whatever_the_statistics(database_url: str, pool: Pool, session: Any):
    arguments = ", ".join(["NULL"] * 8)

    async def plan(name: str) -> list[tuple[str, ...]]:
        given = arguments + ", NULL" * (name != "heads")
        found = await session.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({given})")
        return list(plan_nodes(msgspec.json.decode(found)[0]["Plan"]))

    await session.execute(f"PREPARE heads AS {tail._HEADS}")
    await session.execute(f"PREPARE events AS {tail._EVENTS}")
    await session.execute(f"PREPARE concerning AS {tail._events(WANTED)}")
    await pool.fetch("ALTER TABLE chat.events SET (autovacuum_enabled = off)")
    fresh = await plan("heads"), await plan("events")
    concerning = await plan("concerning")
    assert {node[2] for node in concerning if node[1] == "rooms" or node[2] == "rooms_pkey"} >= {"rooms_pkey"}
    for nodes in fresh:
        # The other one finds the message of an edit by its id, where an erasure of a message is open.
        assert {node[2] for node in nodes if node[2].startswith("events_")} - {"events_event_id_key"} == {
            "events_tail_idx"
        }
        # What is taken of a page is read at its place.
        assert {node[0] for node in nodes if node[1] == "events"} - {"Tid Scan"} == {"Bitmap Heap Scan"}
    for statement in FILL:
        await pool.fetch(statement.format(1, 3))
    await pool.fetch("ANALYZE chat.events, chat.log")
    assert (await plan("heads"), await plan("events")) == fresh, "few rows, analysed"
    for statement in FILL:
        await pool.fetch(statement.format(4, 3000))
    await pool.fetch("ANALYZE chat.events, chat.log")
    assert (await plan("heads"), await plan("events")) == fresh, "many rows, analysed"
    assert await plan("concerning") == concerning, "many rows, analysed"


async def test_a_look_at_the_end_reads_some_blocks_however_long_the_log_is(pool: Pool, session: Any):
    await pool.fetch("ALTER TABLE chat.events SET (autovacuum_enabled = off)")
    for first in range(1, 4):
        await fill(session, 100, 300, first=first * 1000)
    reader, position = Tail(), BEGINNING
    await reader.summarize(session)
    while (page := await reader.events(session, position, (), most=1, scan=100_000)).more:
        position = page.position
    at = tail._from(page.position, 2**60)
    rows = await session.fetch(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON, TIMING OFF) {tail._HEADS}".replace("$8::smallint[]", "'{1}'").replace(
            "$7", "1000").replace("$6", str(at[5])).replace("$5", str(at[4])).replace("$4", f"'{at[3]}'").replace(
            "$3", str(at[2])).replace("$2", str(at[1])).replace("$1::bigint[]", "'{}'::bigint[]")
    )  # fmt: skip
    text = rows[0][0]
    removed = sum(int(part.split(",")[0].split("}")[0]) for part in text.split('"Rows Removed by Index Recheck": ')[1:])
    assert removed < 4_000, "of 90,000 events"


async def test_in_another_server_the_numbers_of_transactions_go_on_behind_those_of_the_log(
    database_url: str, pool: Pool, session: Any
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await send(writer, room, 1)
        # As if the events had been restored from a server that has seen more.
        await pool.fetch("UPDATE chat.events SET transaction_id = '5000000000' WHERE sequence = 2")
        before, after = Position(6_000_000_000), BEGINNING
        await pool.fetch("UPDATE chat.consumers SET position = $1", before.encode())
        await begin_incarnation(database_url, None)
        await send(writer, room, 2)
        reader = Tail()
        heads = await reader.heads(session, before, ())
        while not heads.heads:
            heads = await reader.heads(session, heads.position, ())
        assert heads.heads == [(room_key(room), 3)]
        assert heads.position.next > before.next
        assert (await reader.heads(session, heads.position, ())).heads == []
        await begin_incarnation(database_url, None)
        await send(writer, room, 3)
        assert (await reader.heads(session, heads.position, ())).heads == [(room_key(room), 4)]
        events, _ = await read_all(session, after)
        assert [event.sequence for event in events] == [1, 2, 3, 4]
