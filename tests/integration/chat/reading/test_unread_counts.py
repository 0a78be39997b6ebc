"""What is unread everywhere: the numbers of the list of rooms, for all of a user's rooms in one call."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages.reactions import AddReaction
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.rooms import ArchiveRoom
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.queries.pages import MAX_PAGE_BYTES
from parley.chat.queries.visibility import key_of
from parley.chat.reading import read_store, room_list, unread_counts
from parley.chat.reading.read_store import CursorKey, CursorPlace
from parley.chat.reading.room_list import ListMyRooms
from parley.chat.reading.unread_counts import ListUnread, RoomUnread
from parley.common.errors import Code
from tests.support.bus import rejected
from tests.support.chat.bulk_rows import fill, plan_of
from tests.support.chat.writing import ANN, BEN, create, running_writer, send


async def counted(pool: Pool, who: Any = BEN, **asked: Any) -> Any:
    return await unread_counts.unread_counts(pool, who, ListUnread(**asked))


async def as_listed(pool: Pool, who: Any = BEN) -> list[RoomUnread]:
    """The same numbers as the list of rooms has them."""
    found = (await room_list.room_list(pool, who, ListMyRooms(limit=1000))).rooms
    numbers = [
        RoomUnread(one.id, one.head, one.read, one.unread, one.mentions, one.unread_threads)
        for one in found
        if one.joined
    ]
    return sorted(numbers, key=lambda one: key_of(one.room))


async def mention(pool: Pool, room: str, user: str, sequence: int, author: str = "u_ann") -> None:
    await pool.fetch("INSERT INTO chat.mentions VALUES ($1, $2, $3, $4, now())", key_of(room), user, sequence, author)


async def test_the_numbers_are_those_of_the_list_whatever_happened_in_a_room(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        rooms: dict[str, str] = {}
        for name in ("never read", "read", "half", "sent last", "set back", "again", "reacted", "archived", "erased"):
            rooms[name] = await create(writer, command_id=name)
            await send(writer, rooms[name], 1)
            await writer.submit(JoinRoom(f"j {name}", rooms[name]), BEN, "")
        at = {name: [await send(writer, room, number) for number in (2, 3)] for name, room in rooms.items()}
        for name in ("read", "half"):
            number = {"read": 3, "half": 2}[name]
            place = CursorPlace(at[name][number - 2], number, datetime.now(UTC))
            await read_store.advance(pool, {CursorKey(key_of(rooms[name]), "u_ben"): place})
        for name in ("never read", "half", "read"):
            await mention(pool, rooms[name], "u_ben", at[name][1])
            await mention(pool, rooms[name], "", at[name][0])
            await mention(pool, rooms[name], "", at[name][1], "u_ben")
        last = await send(writer, rooms["sent last"], 4, BEN)
        await mention(pool, rooms["sent last"], "u_ben", at["sent last"][0])
        await send(writer, rooms["set back"], 4, BEN)
        await read_store.mark(pool, CursorKey(key_of(rooms["set back"]), "u_ben"), at["set back"][0], 2)
        # A cursor of an earlier stay, before what was said since.
        await read_store.mark(pool, CursorKey(key_of(rooms["again"]), "u_ben"), at["again"][0], 2)
        await writer.submit(LeaveRoom("l", rooms["again"]), BEN, "")
        await writer.submit(JoinRoom("back", rooms["again"]), BEN, "")
        await send(writer, rooms["again"], 5)
        await writer.submit(AddReaction("r", rooms["reacted"], at["reacted"][1], "🎉"), ANN, "")
        await writer.submit(ArchiveRoom("z", rooms["archived"]), ANN, "")
        async with pool.acquire() as connection:
            await erasures.request_room(connection, rooms.pop("erased"))
        opened = (await writer.submit(OpenDirect("d", ["u_ben"]), ANN, "")).room
        invited = await create(writer, command_id="invited")
        await writer.submit(InviteUser("i", invited, UserRef("u_ben")), ANN, "")
        await send(writer, invited, 1)

        found = await counted(pool)
        assert found.rooms == await as_listed(pool)
        assert not found.more
        by_room = {one.room: one for one in found.rooms}
        numbers = {name: (by_room[room].unread, by_room[room].mentions) for name, room in rooms.items()}
        assert numbers == {
            "never read": (2, 2), "read": (0, 0), "half": (1, 1), "sent last": (0, 0), "set back": (2, 0),
            "again": (1, 0), "reacted": (2, 0), "archived": (2, 0),
        }  # fmt: skip
        assert by_room[rooms["sent last"]].read == last
        assert opened is not None
        assert opened.id not in {one.room for one in (await counted(pool, ANN)).rooms}
        assert {opened.id, invited} & by_room.keys() == set()
        assert len(by_room) == len(rooms)
        await send(writer, opened.id, 1)
        assert {one.room: one for one in (await counted(pool)).rooms}[opened.id].unread == 1


async def test_a_sent_message_reads_the_room_also_under_reactions_to_it(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await send(writer, room, 1)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await send(writer, room, 2)
        mine = await send(writer, room, 3, BEN)
        await writer.submit(AddReaction("r", room, mine, "🎉"), ANN, "")
        (one,) = (await counted(pool)).rooms
        assert (one.head, one.read, one.unread) == (mine + 1, mine, 0)
        assert [one] == await as_listed(pool)


async def test_a_thousand_rooms_are_one_answer_that_fits(pool: Pool):
    async with pool.acquire() as connection:
        await fill(connection, 1001, 2, member="u_ben")
    found = await counted(pool, limit=1000)
    assert (len(found.rooms), found.more) == (1000, True)
    rest = await counted(pool, after=found.next)
    assert (len({one.room for one in found.rooms + rest.rooms}), rest.more, rest.next) == (1001, False, "")
    # With the longest numbers that JSON clients take.
    largest = [RoomUnread(one.room, 2**53, 2**53, 2**53, 100, unread_threads=True) for one in found.rooms]
    assert len(msgspec.json.encode(largest)) < MAX_PAGE_BYTES


async def test_pages_have_every_room_once_while_rooms_are_left_and_written_to(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, BEN, command_id=f"c{number}") for number in range(11)]
        seen: list[str] = []
        gone = after = ""
        more = True
        while more:
            page = await counted(pool, after=after, limit=3)
            seen += [one.room for one in page.rooms]
            after, more = page.next, page.more
            if len(seen) == 3:
                gone = after
                await writer.submit(LeaveRoom("l", gone), BEN, "")
                await send(writer, seen[0], 1, BEN)
    assert sorted(seen) == sorted({*rooms} - {gone})


@pytest.mark.parametrize("after", ["x", "raaaaaaaaaaaa1", "1.raaaaaaaaaaaaa", "r" + "a" * 12, "\x00", " "])
async def test_an_after_that_nobody_said_is_refused(pool: Pool, after: str):
    assert (await rejected(counted(pool, after=after))).code is Code.INVALID_PAYLOAD


async def test_each_table_is_read_by_its_keys_whatever_is_known_of_it(pool: Pool):
    tables = ("rooms", "events", "members", "reads", "mentions")
    plans: list[str] = []
    async with pool.acquire() as connection:

        async def add_plans() -> None:
            plans.append(await plan_of(connection, unread_counts._UNREAD, "u_ben", -(2**63), 1001, b"u_ben"))
            asked = ("u_ben", *room_list._TOP, 1001, b"u_ben", None)
            plans.append(await plan_of(connection, room_list._ROOM_LIST, *asked))

        for table in tables:
            await connection.execute(f"ALTER TABLE chat.{table} SET (autovacuum_enabled = off)")
        await fill(connection, 1000, 5, member="u_ben")
        await connection.execute(
            """INSERT INTO chat.reads (room_id, user_id, sequence, number)
               SELECT n, 'u_ben', 3, 3 FROM generate_series(1, 1000) n"""
        )
        await connection.execute(
            """INSERT INTO chat.mentions SELECT n, 'u_ben', s, 'u_ann', now()
               FROM generate_series(1, 1000) n, generate_series(1, 5) s"""
        )
        await add_plans()
        await fill(connection, 20_000, 2, member="u_else", first=10_000)
        await connection.execute("ANALYZE chat.rooms, chat.events, chat.members, chat.reads, chat.mentions")
        await add_plans()
        # What is known is now of a time when nobody had called everybody yet.
        await connection.execute(
            """INSERT INTO chat.mentions SELECT n, u, s, 'u_ann', now()
               FROM generate_series(1, 20000) n, generate_series(1, 2) s, unnest(ARRAY['', 'u_else']) u"""
        )
        await add_plans()
        await connection.execute("ANALYZE chat.rooms, chat.events, chat.members, chat.reads, chat.mentions")
        await add_plans()
    for plan in plans:
        for table in (*tables, "levels"):
            assert f"Seq Scan on {table}" not in plan, plan
        # What is looked up in a room is looked up by the room, and not in all that a user, or everybody, has.
        looked_up = re.findall(r"on (?:mentions|reads|events)\w*.*\n +Index Cond: (.*)", plan)
        assert len(looked_up) >= 5, plan
        assert all("room_id = " in condition for condition in looked_up), plan
    numbers = [(one.unread, one.mentions) for one in (await counted(pool)).rooms]
    assert numbers == [(2, 2)] * 1000
