"""Search on real Postgres: only what the searcher may read, newest first, in bounded work, and nothing that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from parley.chat.consumers import store
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import InviteUser, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import EditMessage
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.log.writer import Writer
from parley.chat.search import finder
from parley.chat.search.finder import WAITING_EACH, Finder, Search, SearchPage, newest_hits, place_of, where_to_look
from parley.chat.search.parsed_query import parse
from parley.chat.search.search_statements import BEHIND, FIND, LOOKING, MOST_WALKED, SESSION, WALK, local
from parley.chat.search.term_index import NAME, TermIndex
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.framework import LogEvent
from tests.support.chat.bulk_rows import fill
from tests.support.chat.erasing import erase
from tests.support.chat.writing import ANN, BEN, create, running_writer

_EVENTS = f"SELECT {EVENT_COLUMNS} FROM chat.events e ORDER BY e.room_id, e.sequence"


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writer]:
    async with running_writer(database_url) as (running, _):
        yield running


def bodies(page: SearchPage) -> list[str]:
    return [message["data"]["body"] for message in msgspec.json.decode(msgspec.json.encode(page.messages))]


class World:
    """A writer, an index that is brought up to date on demand, and searches."""

    def __init__(self, pool: Pool, writer: Writer) -> None:
        self.pool, self.writer = pool, writer
        self.index = TermIndex(pool, part=4, private_part=4)
        self.finder = Finder(pool)
        self.count = 0

    async def say(self, room: str, *texts: str, identity: Identity = ANN) -> None:
        for text in texts:
            self.count += 1
            await self.writer.submit(SendMessage(f"m{self.count}", room, text), identity, "")

    async def events(self) -> list[LogEvent]:
        found = [recorded_row(row) for row in await self.pool.fetch(_EVENTS)]
        return [_log_event(one) for one in found if not one.erased]

    async def catch_up(self, *more: LogEvent) -> None:
        """Hand everything over, in batches and again, as a consumer may be handed it."""
        events = [*await self.events(), *more]
        for size in (3, 500):
            for start in range(0, len(events), size):
                await self.index.consume(events[start : start + size])

    async def page(self, query: str, identity: Identity = BEN, **options: Any) -> SearchPage:
        return await self.finder.page(Search(query, **options), identity)

    async def found(self, query: str, identity: Identity = BEN, **options: Any) -> list[str]:
        page = await self.page(query, identity, **options)
        return bodies(page)


def _log_event(one: Recorded) -> LogEvent:
    return LogEvent(
        str(one.event_id), one.type, one.room, one.sequence, one.recorded_at, one.actor_id, one.actor_name, one.data
    )


@pytest.fixture
async def world(pool: Pool, writer: Writer) -> World:
    return World(pool, writer)


async def test_words_signs_phrases_and_filters(world: World):
    room, other = await create(world.writer), await create(world.writer, ANN, "other")
    texts = ["Hello wörld", "the quick brown fox", "東京都に行く", "brown and quick", "see https://example.org"]
    await world.say(room, *texts)
    await world.say(other, "hello again", identity=ANN)
    await world.catch_up()
    assert await world.found("hello") == ["hello again", "Hello wörld"]
    assert await world.found("WORLD Hello") == ["Hello wörld"]
    assert await world.found("quick brown") == ["brown and quick", "the quick brown fox"]
    assert await world.found('"quick brown"') == ["the quick brown fox"]
    for signs in ("京都", "都", "東京都", "行"):
        assert await world.found(signs) == ["東京都に行く"], signs
    assert await world.found("京行") == []
    assert await world.found("has:link") == ["see https://example.org"]
    assert await world.found(f"hello in:{other}") == ["hello again"]
    assert len(await world.found("from:u_ann")) == 6
    assert await world.found("hello from:u_ben") == []
    today = datetime.now(UTC).date()
    assert await world.found(f"hello after:{today}") == []
    assert await world.found(f"hello before:{today}") == []
    assert len(await world.found(f"hello before:{today.replace(year=today.year + 1)}")) == 2


async def test_only_what_the_searcher_may_read_is_found(world: World):
    public, private = await create(world.writer), await create(world.writer, ANN, "p", kind="private")
    await world.say(public, "secret in public")
    await world.say(private, *[f"secret {n}" for n in range(12)])
    await world.catch_up()
    assert await world.found("secret") == ["secret in public"]
    for room in (private, "rnowhere", "x"):
        with pytest.raises(Reject) as caught:
            await world.page(f"secret in:{room}")
        assert caught.value.code is Code.NOT_FOUND
    await world.writer.submit(InviteUser("i", private, UserRef("u_ben")), ANN, "")
    assert await world.found("secret", limit=3) == ["secret 11", "secret 10", "secret 9"]
    assert len(await world.found(f"secret in:{private}", limit=50)) == 12
    await world.writer.submit(LeaveRoom("l", private), BEN, "")
    assert await world.found("secret") == ["secret in public"], "at once, whatever the index has"


async def test_pages_follow_each_other_through_parts_and_rooms(world: World):
    rooms = [await create(world.writer, ANN, f"c{n}", kind=kind) for n, kind in enumerate(("public", "private"))]
    for number in range(15):
        await world.say(rooms[number % 2], f"word {number}")
    await world.catch_up()
    parts = await world.pool.fetch("SELECT scope, part FROM chat.search_parts")
    assert len(parts) == 4, "of four messages each, so that pages cross them"
    for limit in (1, 4, 100):
        seen: list[str] = []
        after = ""
        while True:
            page = await world.page("word", ANN, limit=limit, after=after)
            seen += bodies(page)
            if not page.more:
                break
            assert page.next is not None
            after = page.next
        assert seen == [f"word {number}" for number in reversed(range(15))]


async def test_a_search_before_some_day_looks_only_into_rooms_that_were_lively_then(world: World):
    """However many rooms somebody is in: what none of them has near the day is not looked for in all of them."""
    rooms = [await create(world.writer, ANN, f"c{n}", kind="private") for n in range(40)]
    for number, room in enumerate(rooms):
        await world.say(room, f"word old {number}", f"word new {number}")
    await world.catch_up()
    # Of each room one message is as many days old as its number says, and one is of today.
    await world.pool.fetch(
        """UPDATE chat.search s SET recorded_at = now() - make_interval(days => q.days) FROM (
             SELECT room_id, min(sequence) AS sequence, dense_rank() OVER (ORDER BY room_id)::int AS days
             FROM chat.search GROUP BY room_id
           ) q WHERE s.room_id = q.room_id AND s.sequence = q.sequence"""
    )
    days = await world.pool.fetch(
        "SELECT room_id, min(recorded_at) AS at FROM chat.search GROUP BY room_id ORDER BY at DESC"
    )
    day = days[9]["at"].date()
    asked = await _scopes_of(world, f"word before:{day}", limit=3)
    older = [row["room_id"] for row in days if row["at"].date() < day]
    assert asked == older[:8], "no other room can have anything newer than what these have"
    page = await world.page(f"word before:{day}", ANN, limit=3)
    asked = await _scopes_of(world, "word", limit=3, after=page.next or "")
    assert asked[0] == older[2], "a page far back begins where the one before ended"


async def test_matches_are_the_same_whichever_way_rooms_are_looked_into(world: World, monkeypatch: pytest.MonkeyPatch):
    """By their parts of the index, or message by message where enough newer matches are known."""
    # Three parts of four messages each, so that a walk is in one of them, in two and in more.
    rooms = [await create(world.writer, ANN, f"c{n}", kind="private") for n in range(20)]
    for number in range(240):
        await world.say(rooms[number * 7 % 20], f"word {'even' if number % 2 else 'odd'} {number}")
    await world.catch_up()
    for query in ("word", "even", "word odd"):
        expected = [f"word {'even' if n % 2 else 'odd'} {n}" for n in reversed(range(240))]
        expected = [text for text in expected if query.split()[-1] in text]
        for most in (1, 5, 16):
            monkeypatch.setattr(finder, "MOST_WALKED", most)
            walk = WALK.replace(f"LIMIT {MOST_WALKED}", f"LIMIT {most}").replace(f"THEN {MOST_WALKED}", f"THEN {most}")
            monkeypatch.setattr(finder, "WALK", walk)
            found, after = list[str](), ""
            while page := await world.page(query, ANN, limit=7, after=after):
                found += bodies(page)
                if not page.more:
                    break
                after = page.next or ""
            assert found == expected, (query, most)


async def test_a_walk_says_so_where_it_goes_beyond_two_parts_of_the_index(world: World):
    """It knows the terms of two, so what is older would be missed; such a room is asked by its parts instead."""
    two, three = [await create(world.writer, ANN, f"c{n}", kind="private") for n in range(2)]
    await world.say(two, *(f"word {n}" for n in range(8)))
    await world.say(three, *(f"word {n}" for n in range(9)))
    await world.catch_up()
    async with world.pool.acquire() as connection:
        where = await where_to_look(connection, parse("word", ANN.user_id), ANN, place_of(""))
        rooms = [room_key(two), room_key(three)]
        rows = await connection.fetch(WALK, rooms, where.terms, *place_of(""), where.since, where.until)
    assert [row["seen"] for row in rows if row["scope"] == rooms[0]] == [8] * 8
    assert {row["seen"] for row in rows if row["scope"] == rooms[1]} == {MOST_WALKED}


async def _scopes_of(world: World, query: str, limit: int, after: str = "") -> list[int]:
    """Search as Ann does, and return the private rooms that were looked into, in order."""
    asked: list[int] = []

    def heard(record: Any) -> None:
        if record.query == FIND:
            asked.extend(record.args[0])

    place = place_of(after)
    async with world.pool.acquire() as connection:
        where = await where_to_look(connection, parse(query, ANN.user_id), ANN, place)
        with connection.query_logger(heard):
            await newest_hits(connection, where, place, limit + 1)
    return asked


async def test_edited_deleted_and_erased_texts(world: World, database_url: str, tmp_path: Path):
    room = await create(world.writer)
    await world.say(room, "first words", "second words", "third words")
    await world.catch_up()
    edited = LogEvent(
        "e", "message.edited", room, 99, datetime.now(UTC), "u_ann", "Ann",
        msgspec.json.encode({"message": 2, "body": "other text", "version": 2}),
    )  # fmt: skip
    await world.index.consume([edited])
    row = await world.pool.fetchrow("SELECT text_sequence FROM chat.search WHERE sequence = 2")
    assert row["text_sequence"] == 99
    await world.index.consume([event for event in await world.events() if event.type == "message.sent"])
    row = await world.pool.fetchrow("SELECT text_sequence FROM chat.search WHERE sequence = 2")
    assert row["text_sequence"] == 99, "what comes again does not bring the older text back"
    deleted = LogEvent(
        "d", "message.deleted", room, 100, datetime.now(UTC), "u_ann", "Ann", msgspec.json.encode({"message": 3})
    )
    await world.index.consume([deleted])
    assert await world.found("words") == ["third words"]
    async with world.pool.acquire() as connection:
        erasure = await erasures.request_message(connection, room, 4)
    assert await world.found("third") == [], "from the request on"
    await erase(database_url, Ledger(tmp_path / "ledger"), erasure)
    await world.index.consume([event for event in await world.events() if event.type == "events.erased"])
    left = await world.pool.fetch("SELECT sequence FROM chat.search")
    assert [one["sequence"] for one in left] == [2], "nothing of it is left in the index either"
    erased = LogEvent(
        "x", "events.erased", room, 101, datetime.now(UTC), "", "", msgspec.json.encode({"ranges": [[99, 99]]})
    )
    await world.index.consume([erased])
    assert await world.pool.fetchval("SELECT count(*) FROM chat.search") == 0


async def test_hostile_queries_are_refused_or_bounded(world: World):
    room = await create(world.writer)
    await world.say(room, *["of the people"] * 9)
    await world.catch_up()
    for query in ("a" * 10_000, " ".join(f"w{n}" for n in range(1000)), "%", "' -- ;", "", "\x00"):
        with pytest.raises(Reject) as caught:
            await world.page(query)
        assert caught.value.code is Code.INVALID_PAYLOAD
    for after in ("x", "1.2", "1.2.3.4", "9" * 70, "1.99999999999999999999.1", "1.1.-1"):
        with pytest.raises(Reject) as caught:
            await world.page("people", after=after)
        assert caught.value.code is Code.INVALID_PAYLOAD
    # Both words are in all of the messages, the phrase is in none: a page ends after some of them, and says so.
    seen, after = 0, ""
    while True:
        page = await world.page('"people of"', limit=1, after=after)
        assert page.messages == []
        seen += 1
        if not page.more:
            break
        assert page.next is not None
        after = page.next
    assert 1 < seen < 9


async def test_one_user_who_searches_and_searches_keeps_nobody_else_from_it(world: World):
    room = await create(world.writer)
    await world.say(room, "of the people")
    await world.catch_up()

    async def searched(identity: Identity) -> Code | None:
        try:
            await world.page("people", identity)
        except Reject as refused:
            return refused.code
        return None

    codes = await asyncio.gather(*(searched(BEN) for _ in range(40)), searched(ANN))
    assert codes[:40] == [None] * WAITING_EACH + [Code.RATE_LIMITED] * (40 - WAITING_EACH)
    assert codes[40] is None


async def test_it_is_said_that_messages_are_not_indexed_yet(world: World):
    room = await create(world.writer)
    await world.say(room, "word")
    assert (await world.page("word")).indexing, "nobody indexes"
    async with world.pool.acquire() as connection:
        await store.register(connection, NAME, "message.*", beginning=True)
        await connection.execute("UPDATE chat.events SET recorded_at = now() - interval '1 minute'")

        async def said() -> bool:
            return (await Finder(world.pool).page(Search("word"), BEN)).indexing

        assert await said(), "its index is a minute behind"
        await connection.execute("UPDATE chat.consumers SET position = $1", (await store.now(connection)).encode())
    assert not await said()


async def test_plans_do_not_depend_on_statistics(pool: Pool):
    """By keys, part after part: with tables that Postgres knows nothing of, and with full ones."""
    async with pool.acquire() as connection:
        for filled in (False, True):
            if filled:
                await fill(connection, 20, 50)
                await connection.execute(
                    """INSERT INTO chat.search SELECT room_id, sequence, sequence, recorded_at, 1, ARRAY[7, sequence]
                       FROM chat.events"""
                )
                await connection.execute(
                    "INSERT INTO chat.search_parts SELECT 0, to_timestamp(n), n, now(), 1 FROM generate_series(0, 50) n"
                )
                await connection.execute(
                    """INSERT INTO chat.search SELECT n % 50, n, n, now() - n * interval '1 minute', 1, ARRAY[7, n]
                       FROM generate_series(1000, 20000) n"""
                )
                await connection.execute("ANALYZE chat.search, chat.search_parts")
            async with connection.transaction():
                await connection.execute(local(LOOKING))
                rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {BEHIND}", 7, timedelta(seconds=1))
                behind = "\n".join(row[0] for row in rows)
            assert "Bitmap Index Scan on events_tail_idx" in behind, behind
            async with connection.transaction():
                await connection.execute(local(SESSION))
                end = datetime(9999, 1, 1, tzinfo=UTC)
                await connection.execute(f"PREPARE find AS {FIND}")
                arguments = f"'{{0,1}}', '{{7}}', '{end}', 0, 0, '0001-01-01', '{end}', 20"
                rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE find({arguments})")
                plan = "\n".join(row[0] for row in rows)
                await connection.execute("SET LOCAL random_page_cost = 100000")
                rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE find({arguments})")
                dear = "\n".join(row[0] for row in rows)
                await connection.execute("RESET random_page_cost; DEALLOCATE find")
                await connection.execute(f"PREPARE walk AS {WALK}")
                arguments = f"'{{1}}', '{{7}}', '{end}', 0, 0, '0001-01-01', '{end}'"
                rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE walk({arguments})")
                walk = "\n".join(row[0] for row in rows)
                await connection.execute("DEALLOCATE walk")
            assert "Index Scan Backward using search_room_idx" in walk, walk
            assert "Seq Scan" not in walk, walk
            assert "Bitmap Index Scan on search_terms_idx" in plan, plan
            # As where a million messages make it dear to look at what the terms have found.
            assert "search_room_idx" not in dear, dear
            assert "Index Scan Backward using search_parts_pkey" in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "Hash" not in plan, plan


async def test_a_message_keeps_its_files_when_its_text_is_edited(world: World):
    room, upload = await create(world.writer), UUID(int=1)
    await world.pool.fetch(
        """INSERT INTO chat.uploads (upload_id, user_id, state, name, type, size, sha256, expires_at)
           VALUES ($1, 'u_ann', 'ready', 'a.txt', 'text/plain', 1, '', now() + interval '1 day')""",
        upload,
    )
    sent = await world.writer.submit(SendMessage("f", room, "a file", attachments=(upload,)), ANN, "")
    await world.writer.submit(EditMessage("e", room, sent.sequence, "a plan", 1), ANN, "")
    await world.catch_up()
    assert await world.found("plan has:file") == ["a plan"]
    assert await world.found("has:file") == ["a plan"]
