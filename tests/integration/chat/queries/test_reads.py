"""Reads of chat on real Postgres: in one statement, cut by what is sent, by index, and nothing that is not visible."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from typing import Any

import msgspec
import pytest

from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.log import database
from parley.chat.log.database import Pool
from parley.chat.queries import history, members, rooms, sync
from parley.chat.queries.history import History
from parley.chat.queries.pages import MAX_PAGE_BYTES
from parley.chat.queries.sync import Sync
from parley.chat.search.terms import folded
from parley.common.errors import Code, Reject
from parley.common.wire.admin import ListRooms
from parley.common.wire.commands import ok_payload
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MAX_BEHIND, Replay
from parley.framework.serving.event_runner import MAX_RESULT_BYTES
from tests.support.bus import rejected
from tests.support.chat.bulk_rows import fill, plan_of
from tests.support.chat.writing import create, running_writer, send

ANN, BEN = Identity("u_ann", "Ann"), Identity("u_ben", "Ben")
EMOJI = "\N{FAMILY}" * 128
"""The longest name that there is, in bytes."""


class Counted:
    """A pool that counts the statements."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.statements = 0

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        self.statements += 1
        return await self._pool.fetch(query, *args)


def sequences(answer: Any) -> list[int]:
    """The sequences of encoded events."""
    return [event["sequence"] for event in msgspec.json.decode(msgspec.json.encode(answer.events))]


async def test_a_thousand_rooms_are_synced_by_one_statement(pool: Pool):
    async with pool.acquire() as connection:
        public = await fill(connection, 1000, 3)
    counted: Any = Counted(pool)
    began = time.perf_counter()
    answer = await sync.missed(counted, Sync(dict.fromkeys(public, 2)), ANN)
    took = time.perf_counter() - began
    assert counted.statements == 1
    assert {room: sequences(found) for room, found in answer.rooms.items()} == {room: [3] for room in public}
    assert not any(found.more or found.reset for found in answer.rooms.values())
    assert took < 1, took


async def test_each_room_is_answered_by_where_its_cursor_is(pool: Pool):
    async with pool.acquire() as connection:
        behind, current, ahead, far, secret, gone = await fill(connection, 6, 5)
        await connection.execute("UPDATE chat.rooms SET head = $1 WHERE room_id = 4", MAX_BEHIND + 100)
        await connection.execute("UPDATE chat.rooms SET kind = 'private' WHERE room_id = 5")
        await connection.execute("UPDATE chat.rooms SET first_sequence = 4 WHERE room_id = 6")
    cursors = {behind: 2, current: 5, ahead: 6, far: 1, secret: 1, gone: 2, "rnowhere": 1}
    answer = (await sync.missed(pool, Sync(cursors), BEN)).rooms
    assert set(answer) == set(cursors)
    assert (sequences(answer[behind]), answer[behind].head) == ([3, 4, 5], 5)
    assert answer[current] == sync.RoomSync(head=5)
    assert answer[ahead] == sync.RoomSync(head=5, reset=True)
    assert answer[far] == sync.RoomSync(head=MAX_BEHIND + 100, reset=True)
    assert answer[gone] == sync.RoomSync(head=5, reset=True)
    assert answer[secret] == answer["rnowhere"]
    assert (answer[secret].error or {})["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "name", "member", "count"),
    [
        ("x" * 330, "Ann", "u_ann", 450),
        ("hello", EMOJI, "u_ann", 450),
        ("hello", "Ann", EMOJI, 450),
        ("\x01" * 300, "Ann", "u_ann", 450),
        ("y" * 60_000, "Ann", "u_ann", 60),
    ],
)
async def test_sync_and_history_fit_an_ack_whatever_makes_them_long_and_end_at_the_head(
    pool: Pool, body: str, name: str, member: str, count: int
):
    async with pool.acquire() as connection:
        one, two = await fill(connection, 2, count, body=body, name=name, member=member)
    cursors, seen, rounds, sum_of_sizes = {one: 0, two: 0}, {one: [], two: []}, 0, 0
    while cursors:
        rounds += 1
        answer = await sync.missed(pool, Sync(dict(cursors)), ANN)
        size = len(ok_payload(answer))
        sum_of_sizes += size
        assert size < MAX_RESULT_BYTES
        for room, found in answer.rooms.items():
            seen[room] += sequences(found)
            cursors[room] = seen[room][-1] if seen[room] else 0
            if not found.more:
                del cursors[room]
        assert any(sequences(found) for found in answer.rooms.values()), "nothing new, and more to come"
    assert seen == {one: list(range(1, count + 1)), two: list(range(1, count + 1))}
    assert rounds <= 1 + sum_of_sizes // (MAX_PAGE_BYTES // 2)
    for start, step in ((History(one, limit=200), "before"), (History(one, after=0, limit=200), "after")):
        query, pages = start, []
        while True:
            page = await history.page(pool, query, ANN)
            assert len(ok_payload(page)) < MAX_RESULT_BYTES
            pages.append(sequences(page))
            if not page.more:
                break
            edge = pages[-1][0] if step == "before" else pages[-1][-1]
            query = History(one, **{step: edge}, limit=200)
        read = [sequence for found in (pages[::-1] if step == "before" else pages) for sequence in found]
        assert read == list(range(1, count + 1))


async def test_sync_gives_no_more_than_a_thousand_events_and_says_where_there_are_more(pool: Pool):
    async with pool.acquire() as connection:
        public = await fill(connection, 4, 300)
    answer = (await sync.missed(pool, Sync(dict.fromkeys(public, 0)), ANN)).rooms
    assert [len(answer[room].events) for room in public] == [300, 300, 300, 100]
    assert [answer[room].more for room in public] == [False, False, False, True]


async def test_a_restored_backup_answers_reset_to_who_says_of_which_log_the_cursors_are(pool: Pool):
    async with pool.acquire() as connection:
        (room,) = await fill(connection, 1, 5)
        before = await sync.missed(pool, Sync({room: 3}), ANN)
        assert (await history.page(pool, History(room), ANN)).incarnation == before.incarnation
        assert not (await sync.missed(pool, Sync({room: 3}, before.incarnation), ANN)).rooms[room].reset
        await connection.execute("UPDATE chat.log SET incarnation = gen_random_uuid()")
    after = await sync.missed(pool, Sync({room: 3}, before.incarnation), ANN)
    assert after.rooms[room] == sync.RoomSync(head=5, reset=True)
    assert after.incarnation != before.incarnation
    # Who says nothing of it is answered by the number alone.
    assert sequences((await sync.missed(pool, Sync({room: 3}), ANN)).rooms[room]) == [4, 5]


async def test_the_rooms_that_a_client_comes_back_to_are_replayed_by_one_statement(pool: Pool):
    async with pool.acquire() as connection:
        public = await fill(connection, 100, 4)
        (long,) = await fill(connection, 1, 700, first=1000, body="z" * 2000)
    requests = [Replay(room, 2, 500) for room in public[:-1]] + [Replay(long, 10, 500), Replay("rnowhere", 0, 500)]
    counted: Any = Counted(pool)
    found = await history.replay(counted, requests)
    assert counted.statements == 1
    for room in public[:-1]:
        replayed = found[Replay(room, 2, 500)]
        assert ([item.sequence for item in replayed.events], replayed.head) == ([3, 4], 4)
    much = found[Replay(long, 10, 500)]
    assert [item.sequence for item in much.events] == list(range(11, 11 + len(much.events)))
    assert 1 < len(much.events) < 200
    assert much.head == 700
    assert Replay("rnowhere", 0, 500) not in found


async def test_rooms_are_listed_newest_first_in_pages_and_once_each(pool: Pool):
    async with pool.acquire() as connection:
        public = await fill(connection, 30, 1)
        private = await fill(connection, 5, 1, first=31, kind="private")
        await fill(connection, 5, 1, first=36, kind="private", member="u_ben")
    listed: list[str] = []
    before, more = "", True
    while more:
        page, more = await rooms.page(pool, ANN, "", before, 7)
        listed += [view.id for view in page]
        before = listed[-1]
        assert all(view.joined for view in page)
    assert listed == [*public, *private][::-1]
    assert [view.name for view in (await rooms.page(pool, ANN, "rOOm 3", "", 10))[0]] == [
        "Room 35", "Room 34", "Room 33", "Room 32", "Room 31", "Room 30", "Room 3",
    ]  # fmt: skip
    assert [view.name for view in (await rooms.page(pool, ANN, "m 12", "", 10))[0]] == ["Room 12"]
    assert [view.name for view in (await rooms.page(pool, ANN, "31", "", 10))[0]] == ["Room 31"]
    assert (await rooms.page(pool, ANN, "r__m", "", 10))[0] == []
    everything = await rooms.page_of_all(pool, ListRooms(limit=500))
    assert (len(everything.rooms), everything.more) == (40, False)
    assert [room.name for room in (await rooms.page_of_all(pool, ListRooms("oom 4"))).rooms] == ["Room 40", "Room 4"]
    assert [room.id for room in (await rooms.page_of_all(pool, ListRooms(public[3]))).rooms] == [public[3]]


@pytest.mark.parametrize("search", ["ÄPFEL", "äpf", "москва", "сквА", "100%", "a_b", "\\", "ẞ", "東京"])
async def test_a_name_is_found_by_any_part_of_it_in_any_case(pool: Pool, search: str):
    async with pool.acquire() as connection:
        await fill(connection, 3, 1)
        await connection.execute(
            "UPDATE chat.rooms SET name = $1 WHERE room_id = 2",
            "Äpfel МОСКВА 100% a_b \\ ẞ 東京都",  # noqa: RUF001 - it is Russian
        )
    assert [view.head for view in (await rooms.page(pool, ANN, search, "", 10))[0]] == [1]


@pytest.mark.parametrize(
    "search", ["café", "cafe", "cafe\u0301", "ΟΔΟΣ", "οδός", "οδοσ", "ｃａｆé", "É", "STRASSE", "ße"]
)
@pytest.mark.parametrize("indexed", [False, True])
async def test_a_name_is_found_in_any_spelling_of_its_letters(
    pool: Pool, search: str, indexed: bool, monkeypatch: pytest.MonkeyPatch
):
    async with pool.acquire() as connection:
        await fill(connection, 300, 1)
        await connection.execute("UPDATE chat.rooms SET name = $1 WHERE room_id = 2", "Cafe\u0301 Οδός Straße")
    if indexed:
        for statement in ("_VISIBLE_NAMED_NEWEST", "_ALL_NAMED_NEWEST"):
            newest = getattr(rooms, statement).replace(f"LIMIT {rooms.WALKED}", "LIMIT 100")
            monkeypatch.setattr(rooms, statement, newest)
    expected = ["Cafe\u0301 Οδός Straße"] if not indexed or len(folded(search)) >= rooms.INDEXED_LENGTH else []
    assert [view.name for view in (await rooms.page(pool, ANN, search, "", 10))[0]] == expected
    assert [room.name for room in (await rooms.page_of_all(pool, ListRooms(search))).rooms] == expected


async def test_of_a_text_of_marks_alone_nothing_is_found_and_no_text_too_short_for_the_index_reads_all_rooms(
    pool: Pool,
):
    async with pool.acquire() as connection:
        await fill(connection, 300, 1)
        await connection.execute("UPDATE chat.rooms SET name = 'Cafe\u0301' WHERE room_id = 2")
        plan = await plan_of(connection, rooms._VISIBLE_NAMED, 101, *rooms._NEWEST, "u_ben", "e\u0301\u0301")
    assert "actual rows=300" not in plan, plan
    assert (await rooms.page(pool, ANN, "\u0301\u0301\u0301", "", 10))[0] == []
    assert [view.name for view in (await rooms.page(pool, ANN, "fe\u0301\u0301", "", 10))[0]] == ["Cafe\u0301"]


async def test_names_are_folded_by_the_database_as_messages_are_by_the_search(pool: Pool):
    letters = [chr(code) for code in range(1, 0x30000) if unicodedata.category(chr(code)) not in {"Cn", "Co", "Cs"}]
    texts = [*letters, "Ὀδυσσεύς ᾼ", "Cafe\u0301 İstanbul", "한국어 각", "ﷺ ﬃ Ⅷ", "x\u200d\u00ady"]
    rows = await pool.fetch("SELECT chat.folded(text) AS folded FROM unnest($1::text[]) text", texts)
    # What Python makes the same, in whatever spelling, the database makes the same.
    apart = [text for text, row in zip(texts, rows, strict=True) if folded(row["folded"]) != folded(text)]
    assert apart == []
    by_database: dict[str, set[str]] = {}
    for text, row in zip(texts, rows, strict=True):
        by_database.setdefault(row["folded"], set()).add(folded(text))
    assert [same for same in by_database.values() if len(same) > 1] == []


async def test_a_name_is_found_however_many_rooms_are_newer(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    async with pool.acquire() as connection:
        await fill(connection, 300, 1)
        await connection.execute("UPDATE chat.rooms SET name = 'Xylophone qz' WHERE room_id = 2")
    for statement in ("_VISIBLE_NAMED_NEWEST", "_ALL_NAMED_NEWEST"):
        newest = getattr(rooms, statement).replace(f"LIMIT {rooms.WALKED}", "LIMIT 100")
        monkeypatch.setattr(rooms, statement, newest)
    for search, found in (("phone", ["Xylophone qz"]), ("qz", []), ("room 300", ["Room 300"]), ("z", [])):
        assert [view.name for view in (await rooms.page(pool, ANN, search, "", 10))[0]] == found
        assert [room.name for room in (await rooms.page_of_all(pool, ListRooms(search))).rooms] == found
    page, more = await rooms.page(pool, ANN, "room", "", 10)
    assert ([view.name for view in page], more) == ([f"Room {n}" for n in range(300, 290, -1)], True)
    page, more = await rooms.page(pool, ANN, "room", page[-1].id, 100)
    assert (len(page), more) == (100, True)


async def test_what_a_user_may_not_see_is_in_no_answer_and_no_error_differs(pool: Pool, database_url: str):
    async with running_writer(database_url) as (writer, _):
        secret = await create(writer, kind="private")
        await send(writer, secret, 1)
        for asked in (secret, "rnowhere", "raaaaaaaaaaaaa", "x\x00", ""):
            refusals = [
                await rejected(rooms.one(pool, asked, BEN)),
                await rejected(members.page(pool, asked, BEN, "", 10)),
                await rejected(history.page(pool, History(asked), BEN)),
            ]
            if asked:
                refusals.append(await rejected(rooms.page(pool, BEN, "", asked, 10)))
            assert {(refusal.code, refusal.message) for refusal in refusals} == {
                (Code.NOT_FOUND, "There is no such room.")
            }
        assert (await rooms.page(pool, BEN, "", "", 10))[0] == []
        assert (await rejected(rooms.page_of_all(pool, ListRooms(before="rnowhere")))).code is Code.NOT_FOUND
        await writer.submit(InviteUser("i", secret, UserRef("u_ben")), ANN, "")
        assert (await rooms.one(pool, secret, BEN)).invited
        assert [view.id for view in (await rooms.page(pool, BEN, "", "", 10))[0]] == [secret]
        await writer.submit(JoinRoom("j", secret), BEN, "")
        assert [member.user_id for member in (await members.page(pool, secret, BEN, "", 10))[0]] == ["u_ann", "u_ben"]
        await writer.submit(LeaveRoom("l", secret), BEN, "")
        assert (await rejected(history.page(pool, History(secret), BEN))).code is Code.NOT_FOUND


async def test_no_plan_reads_all_rooms_or_events_on_fresh_or_on_analysed_tables(pool: Pool):
    async with pool.acquire() as connection:
        await connection.execute("ALTER TABLE chat.rooms SET (autovacuum_enabled = off)")
        public = await fill(connection, 20_000, 1)
        await fill(connection, 5, 1, first=50_000, kind="private")
        keys = list(range(1, 1001))
        newest = rooms._NEWEST
        for analysed in (False, True):
            if analysed:
                await connection.execute("ANALYZE chat.rooms, chat.events, chat.members")
            plans = {
                "rooms": await plan_of(connection, rooms._VISIBLE_ROOMS, 101, *newest, "u_ben"),
                "search": await plan_of(connection, rooms._VISIBLE_NAMED, 101, *newest, "u_ben", "Room 77"),
                "all rooms": await plan_of(connection, rooms._ALL, 101, *newest),
                "search newest": await plan_of(connection, rooms._VISIBLE_NAMED_NEWEST, 101, *newest, "u_ben", "7"),
                "search all": await plan_of(connection, rooms._ALL_NAMED, 101, *newest, "Room 77"),
                "search newest of all": await plan_of(connection, rooms._ALL_NAMED_NEWEST, 101, *newest, "7"),
                "sync": await plan_of(connection, sync._SYNC, "u_ben", keys, [0] * 1000),
                "replay": await plan_of(connection, history._REPLAY, keys[:100], [0] * 100, [500] * 100, 9999),
                "history": await plan_of(connection, history._BEFORE, "u_ben", 7, 2**62, 50),
                "members": await plan_of(connection, members._MEMBERS, "u_ben", 7, "", 50),
                "heads": await plan_of(connection, rooms._HEADS, keys),
            }
            for what, plan in plans.items():
                assert ("rooms_name_idx" in plan) is (what in {"search", "search all"}), (what, analysed, plan)
                assert ("rooms_private_name_idx" in plan) is (what == "search all"), (what, analysed, plan)
                assert "Seq Scan on rooms" not in plan, (what, analysed, plan)
                assert "Seq Scan on events" not in plan, (what, analysed, plan)
                assert "Seq Scan on members" not in plan, (what, analysed, plan)
    assert public


async def test_reads_that_wait_are_bounded_and_hold_up_no_commit(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "MAX_WAITING", 5)
    async with database.connect(database_url, 2) as reads, running_writer(database_url) as (writer, _):
        room = await create(writer)
        slow = [asyncio.create_task(reads.fetchval("SELECT pg_sleep(0.5)")) for _ in range(10)]
        await asyncio.sleep(0)
        began = time.perf_counter()
        await send(writer, room, 1)
        assert time.perf_counter() - began < 0.5
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert [refusal.code for refusal in refused] == [Code.OVERLOADED] * 3
