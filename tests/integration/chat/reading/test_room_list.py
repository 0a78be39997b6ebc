"""The list of a user's rooms: by activity, with what is unread, in one statement whatever is known of the tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from parley.chat.domain.encoding.compact import pack
from parley.chat.domain.membership import InviteUser, JoinRoom, UserRef
from parley.chat.domain.messages.amending import EditMessage
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.rooms import MAX_CUSTOM, ArchiveRoom, CreateRoom, UpdateRoom
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.projections.verify import verify
from parley.chat.queries.pages import MAX_PAGE_BYTES
from parley.chat.reading import read_cursors, read_store, room_list
from parley.chat.reading.preferences import SetLevel, set_level
from parley.chat.reading.room_list import LastMessage, ListMyRooms
from parley.common.errors import Code
from parley.common.wire.identity import Identity
from tests.support.bus import rejected
from tests.support.chat.bulk_rows import fill, plan_of
from tests.support.chat.writing import ANN, BEN, create, running_writer, send


async def listed(pool: Pool, who: Any = BEN, **asked: Any) -> Any:
    return await room_list.room_list(pool, who, ListMyRooms(**asked))


async def test_rooms_are_asked_for_by_their_custom_data_page_by_page(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        for number in range(12):
            custom = {"team": "ab"[number % 2], "tags": ["x", number], "deep": {"n": number, "s": "it's \\ \""}}
            await create(writer, BEN, command_id=f"c{number}", custom=custom)
        await create(writer, BEN, command_id="none")
        await create(writer, ANN, command_id="not his", custom={"team": "a"})
        everything = (await listed(pool)).rooms
        assert len(everything) == 13
        assert [room.custom for room in everything if room.custom is None] == [None]
        wanted = [room.id for room in everything if room.custom and msgspec.json.decode(room.custom)["team"] == "a"]
        seen: list[str] = []
        page = await listed(pool, limit=4, custom={"team": "a"})
        pages = 1
        while page.more:
            seen += [room.id for room in page.rooms]
            page = await listed(pool, limit=4, custom={"team": "a"}, after=page.next)
            pages += 1
        seen += [room.id for room in page.rooms]
        assert (seen, pages) == (wanted, 2)
        for asked, found in (
            ({"team": "a", "deep": {"n": 2}}, 1), ({"tags": [3]}, 1), ({"tags": ["x"]}, 12), ({"team": "c"}, 0),
            ({"deep": {"s": "it's \\ \""}}, 12), ({"team": None}, 0), ({"deep": {}}, 12), ({}, 13), ({"": 1}, 0),
        ):  # fmt: skip
            assert len((await listed(pool, custom=asked)).rooms) == found, asked
        assert (await listed(pool, ANN, custom={"team": "b"})).rooms == [], "nobody finds rooms that they are not in"
        # A message moves a room and not its data; an update replaces all of them, and an empty object is none.
        await send(writer, wanted[-1], 1, BEN)
        assert [room.id for room in (await listed(pool, custom={"team": "a"})).rooms] == [wanted[-1], *wanted[:-1]]
        await writer.submit(UpdateRoom("u", wanted[0], custom={"team": "b"}), BEN, "")
        await writer.submit(UpdateRoom("e", wanted[1], custom={}), BEN, "")
        assert [room.id for room in (await listed(pool, custom={"team": "a"})).rooms] == [wanted[-1], *wanted[2:-1]]
        assert len((await listed(pool, custom={"team": "b"})).rooms) == 7
        again = await writer.submit(UpdateRoom("same", wanted[0], custom={"team": "b"}), BEN, "")
        assert again.recorded is None, "nothing changes"
        async with pool.acquire() as connection:
            assert (await verify(connection)).first is None
    for custom, code in (
        ({"a": "x" * room_list.MAX_FILTER}, Code.PAYLOAD_TOO_LARGE), ({"a": ["\x00"]}, Code.INVALID_PAYLOAD),
        ({"\ud83d": 1}, Code.INVALID_PAYLOAD),
    ):  # fmt: skip
        assert (await rejected(listed(pool, custom=custom))).code is code


async def test_custom_data_of_a_room_is_bounded_and_set_by_who_may_change_its_name(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        for custom, code in (
            ({"a": "x" * MAX_CUSTOM}, Code.PAYLOAD_TOO_LARGE), ({"a": {"b": ["\x00"]}}, Code.INVALID_PAYLOAD),
            ({"\ud83d": 1}, Code.INVALID_PAYLOAD),
        ):  # fmt: skip
            assert (await rejected(create(writer, custom=custom))).code is code
        room = await create(writer, custom={"a": "x" * (MAX_CUSTOM - 10)})
        await writer.submit(JoinRoom("j", room), BEN, "")

        async def update(who: Identity, custom: dict[str, Any]) -> None:
            await writer.submit(UpdateRoom(f"u{len(custom)}", room, custom=custom), who, "")

        for custom in ({"mine": True}, {}):
            assert (await rejected(update(BEN, custom))).code is Code.FORBIDDEN
        assert (await rejected(update(ANN, {"a": "x" * MAX_CUSTOM}))).code is Code.PAYLOAD_TOO_LARGE
        assert len((await listed(pool)).rooms[0].custom) == MAX_CUSTOM - 2
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "c", "name": "General", "custom": [1]}, CreateRoom)


async def test_rooms_come_by_their_last_message_with_what_is_unread_and_said_last(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        first, second, third = [await create(writer, command_id=name) for name in ("a", "b", "c")]
        for room in (first, second):
            await writer.submit(JoinRoom(f"j{room}", room), BEN, "")
        await writer.submit(InviteUser("i", third, UserRef("u_ben")), ANN, "")
        await send(writer, first, 1)
        await send(writer, second, 2)
        await send(writer, first, 3)
        # What is no message makes no room active that has messages.
        await writer.submit(InviteUser("i2", second, UserRef("u_carl")), ANN, "")
        page = await listed(pool)
        assert not page.more
        assert [(room.id, room.unread, room.joined, room.invited) for room in page.rooms] == [
            (first, 2, True, False), (second, 1, True, False), (third, 0, False, True),
        ]  # fmt: skip
        top = page.rooms[0]
        assert (top.read, top.mentions, top.level) == (2, 0, "")
        assert isinstance(top.last, LastMessage)
        assert (top.last.sequence, top.last.number, top.last.text, top.last.actor.id) == (4, 2, "text 3", "u_ann")
        key = read_cursors.CursorKey(read_cursors.key_of(first), "u_ben")
        await read_store.advance(pool, {key: read_cursors.CursorPlace(3, 1, datetime.now(UTC))})
        await set_level(pool, BEN, SetLevel(first, "mentions"))
        await pool.fetch(
            "INSERT INTO chat.mentions SELECT $1, u, 4, 'u_ann', now() FROM unnest(ARRAY['u_ben', '', 'u_x']) u",
            key.room_id,
        )
        top = (await listed(pool)).rooms[0]
        assert (top.read, top.unread, top.mentions, top.level) == (3, 1, 2, "mentions")
        await writer.submit(ArchiveRoom("z", first), ANN, "")
        assert (await listed(pool)).rooms[0].archived


async def test_pages_have_every_room_once(pool: Pool):
    async with pool.acquire() as connection:
        await fill(connection, 60, 2, member="u_ben")
        # As imported rooms are, all of one moment.
        await fill(connection, 60, 1, member="u_ben", first=500)
    seen: list[str] = []
    after = ""
    while True:
        page = await listed(pool, after=after, limit=25)
        seen += [room.id for room in page.rooms]
        if not page.more:
            break
        after = page.next
    assert len(seen) == 120 == len(set(seen))
    assert page.next == ""


async def test_a_room_that_moves_between_pages_is_before_both_and_no_other_is_doubled_or_missed(
    database_url: str, pool: Pool
):
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, BEN, command_id=f"c{number}") for number in range(9)][::-1]
        first = await listed(pool, limit=3)
        assert [room.id for room in first.rooms] == rooms[:3]
        # One that was listed, and one that was not yet.
        await send(writer, rooms[1], 1, BEN)
        await send(writer, rooms[5], 1, BEN)
        second = await listed(pool, limit=100, after=first.next)
        assert [room.id for room in second.rooms] == [*rooms[3:5], *rooms[6:]]
        assert [room.id for room in (await listed(pool)).rooms][:2] == [rooms[5], rooms[1]]


async def test_one_call_lists_a_thousand_rooms_that_fit_and_else_as_many_as_do(pool: Pool):
    async with pool.acquire() as connection:
        everything = await fill(connection, 1000, 1, member="u_ben")
        await connection.execute(
            "UPDATE chat.events SET data = '{\"body\": \"\"}'; UPDATE chat.rooms SET created_by = ''"
        )
    page = await listed(pool, limit=1000)
    assert [room.id for room in page.rooms] == everything[::-1]
    assert (page.more, page.next) == (False, "")
    async with pool.acquire() as connection:
        await connection.execute(
            "UPDATE chat.rooms SET custom = json_build_object('a', repeat('ä', 500 + room_id::int))"
        )
    seen: list[str] = []
    after, more, pages = "", True, 0
    while more:
        page = await listed(pool, limit=1000, after=after)
        assert len(msgspec.json.encode(page)) < MAX_PAGE_BYTES + 100
        seen += [room.id for room in page.rooms]
        after, more, pages = page.next, page.more, pages + 1
    assert seen == everything[::-1]
    assert pages > 5


async def test_an_erased_last_message_is_shown_as_erased(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        sequence = await send(writer, room, 1)
        async with pool.acquire() as connection:
            await erasures.request_message(connection, room, sequence)
        last = (await listed(pool, ANN)).rooms[0].last
        assert (last.text, last.actor.id, last.erased) == ("", "", True)
        async with pool.acquire() as connection:
            await erasures.request_room(connection, room)
        assert (await listed(pool, ANN)).rooms == []


@pytest.mark.parametrize(
    "after", ["x", "1.2", "-1.raaaaaaaaaaaaa", "9" * 30 + ".raaaaaaaaaaaaa", "1e3.raaaaaaaaaaaaa", "."]
)
async def test_an_after_that_nobody_said_is_refused(pool: Pool, after: str):
    assert (await rejected(listed(pool, after=after))).code is Code.INVALID_PAYLOAD


async def test_a_thousand_rooms_are_listed_by_keys_whatever_is_known_of_the_tables(pool: Pool):
    async with pool.acquire() as connection:
        for table in ("rooms", "events", "members", "reads", "mentions"):
            await connection.execute(f"ALTER TABLE chat.{table} SET (autovacuum_enabled = off)")
        await fill(connection, 1000, 5, member="u_ben")
        plans = [await plan_of(connection, room_list._ROOM_LIST, "u_ben", *room_list._TOP, 51, b"u_ben", None)]
        await fill(connection, 20_000, 2, member="u_else", first=10_000)
        await connection.execute(
            """INSERT INTO chat.reads (room_id, user_id, sequence, number)
               SELECT n, u, 3, 3 FROM generate_series(1, 1000) n, unnest(ARRAY['u_ben', 'u_else']) u"""
        )
        await connection.execute(
            """INSERT INTO chat.mentions SELECT n, 'u_ben', s, 'u_ann', now()
               FROM generate_series(1, 1000) n, generate_series(1, 5) s"""
        )
        plans.append(await plan_of(connection, room_list._ROOM_LIST, "u_ben", *room_list._TOP, 51, b"u_ben", None))
        await connection.execute("ANALYZE chat.rooms, chat.events, chat.members, chat.reads, chat.mentions")
        plans.append(await plan_of(connection, room_list._ROOM_LIST, "u_ben", *room_list._TOP, 51, b"u_ben", None))
    for plan in plans:
        for table in ("rooms", "events", "members", "reads", "mentions", "levels"):
            assert f"Seq Scan on {table}" not in plan, plan
        for index in ("members_user_id_idx", "rooms_pkey", "events_pkey", "reads_pkey"):
            assert index in plan, plan
    page = await listed(pool)
    assert len(page.rooms) == 50
    assert page.rooms[0].unread == 2
    assert page.rooms[0].mentions == 2


async def test_ten_thousand_rooms_are_a_page_as_well(pool: Pool):
    async with pool.acquire() as connection:
        await fill(connection, 10_000, 1, member="u_ben")
    page = await listed(pool, limit=100)
    assert len(page.rooms) == 100
    assert page.more


async def test_a_room_of_reactions_alone_is_as_active_as_its_last_event(pool: Pool):
    async with pool.acquire() as connection:
        (room,) = await fill(connection, 1, 1, member="u_ben")
        await connection.execute(
            """INSERT INTO chat.events (room_id, sequence, number, event_id, fingerprint, type, version, actor_id,
                                        command_id, actor_name, data, recorded_at)
               SELECT 1, n, 1, gen_random_uuid(), 0, 7, 1, $1, $1, '', '{}', now() FROM generate_series(2, 400) n""",
            pack("u_ben"),
        )
        await connection.execute("UPDATE chat.rooms SET head = 400")
    listed_room = (await listed(pool)).rooms[0]
    assert (listed_room.id, listed_room.last, listed_room.unread) == (room, None, 0)


async def test_the_last_message_has_its_present_text_and_a_direct_room_its_people(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        opened = (await writer.submit(OpenDirect("d", ["u_ben"]), ANN, "")).room
        assert opened is not None
        sequence = await send(writer, opened.id, 1)
        await writer.submit(EditMessage("e", opened.id, sequence, "another text", 1), ANN, "")
        room = (await listed(pool)).rooms[0]
        assert (room.last.text, room.users) == ("another text", ("u_ann", "u_ben"))
        slow = await create(writer, BEN)
        await writer.submit(UpdateRoom("u", slow, slow_seconds=5), BEN, "")
        assert (await listed(pool)).rooms[0].slow_seconds == 5
