"""What one user wrote, page by page, and nothing of others or of what was erased."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley.chat.domain.messages import SendMessage
from parley.chat.log import user_tables
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures, own_rows
from parley.chat.queries import kept, user_events
from parley.chat.queries.visibility import key_of
from parley.common.errors import Code, Reject
from parley.common.wire.admin import ReadUserEvents
from parley.common.wire.identity import Identity
from tests.support.chat.writing import create, running_writer

ANN, BEN = Identity("u_ann", "Ann"), Identity("u_ben", "Ben")


async def kept_rows(pool: Pool, user: str) -> list[dict[str, Any]]:
    rows: list[Any] = []
    cursor = ""
    while True:
        page = await user_events.page(pool, ReadUserEvents(user, cursor))
        rows += [json.loads(row) for row in page.rows]
        if not (cursor := page.cursor):
            return rows


async def test_what_else_is_kept_of_a_user_is_theirs_to_have(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
    key = key_of(room)
    for user in ("u_ann", "u_ben"):
        for statement in (
            "INSERT INTO chat.reads (room_id, user_id, sequence, number) VALUES ($1, $2, 7, 6)",
            "INSERT INTO chat.levels VALUES ($1, $2, 'none')",
            "INSERT INTO chat.mentions VALUES ($1, $2, 3, 'u_x', now()), ($1, $2, 4, 'u_x', now())",
            "INSERT INTO chat.drafts (room_id, user_id, thread, body) VALUES ($1, $2, 0, 'half a text')",
            "INSERT INTO chat.thread_reads (room_id, user_id, thread, sequence) VALUES ($1, $2, 3, 5)",
        ):
            await pool.fetch(statement, key, user)
        await pool.fetch("INSERT INTO chat.preferences VALUES ($1, true, '{reaction}')", user)
        await pool.fetch(
            """INSERT INTO chat.scheduled (user_id, id, room_id, name, message, due_at)
               VALUES ($1, 's', 1, 'Ann', '{}', now())""",
            user,
        )
        await pool.fetch("INSERT INTO chat.bot_commands VALUES ($1, 0, 'poll', '{}')", user)
        await pool.fetch(
            """INSERT INTO chat.invocations
                 (user_id, id, invocation, room_id, user_name, bot_id, bot_name, name, options, expires_at)
               VALUES ($1, 'i', gen_random_uuid(), 1, 'Ann', 'u_bot', 'Bot', 'poll', '{}', now())""",
            user,
        )
        await pool.fetch(
            """INSERT INTO chat.push_subscriptions (endpoint_hash, user_id, endpoint, p256dh, auth)
               VALUES ($1, $2, 'e', '', '')""",
            user.encode(), user,
        )  # fmt: skip
        await pool.fetch(
            """INSERT INTO chat.notifications (user_id, sequence, event_id, cause, type, room_id, event_sequence,
                 actor_id, actor_name, at)
               SELECT $1, n, gen_random_uuid(), 'reply', 'message.sent', $2, n, 'u_x', 'X', now()
               FROM generate_series(1, 8) n""",
            user, key,
        )  # fmt: skip
    monkeypatch.setattr(kept, "_PAGE", kept._PAGE.replace(f"LIMIT {kept.ROWS}", "LIMIT 3"))
    rows = await kept_rows(pool, "u_ann")
    assert {row["type"] for row in rows} == set(kept.KINDS)
    assert [row["notification"]["sequence"] for row in rows if row["type"] == "notification"] == list(range(1, 9))
    assert next(row for row in rows if row["type"] == "draft")["draft"]["body"] == "half a text"
    assert next(row for row in rows if row["type"] == "read")["read"]["room"] == room
    (thread,) = [row["thread_read"] for row in rows if row["type"] == "thread_read"]
    assert (thread["room"], thread["thread"], thread["sequence"]) == (room, 3, 5)
    assert await kept_rows(pool, "u_nobody") == []
    tables = {table.name for table in user_tables.metadata.sorted_tables if table.info.get("of") == "user"}
    assert {name for name in tables if name != "inboxes"} == {
        statement.partition("chat.")[2].split()[0] for statement in kept.TABLES.values()
    }, "each table of what users have is in the export"
    assert tables == {table for table, column in own_rows.OF_USER if column == "user_id"}, "and is erased"
    for cursor in ("kept:", "kept:99:0", "kept:0:-1", "kept:x:0", "kept:0:" + "9" * 30):
        with pytest.raises(Reject) as refused:
            await user_events.page(pool, ReadUserEvents("u_ann", cursor))
        assert refused.value.code is Code.INVALID_PAYLOAD


async def everything(pool: Pool, user: str) -> tuple[list[Any], int]:
    events: list[Any] = []
    cursor, pages = "", 0
    while True:
        page = await user_events.page(pool, ReadUserEvents(user, cursor))
        events += [json.loads(event) for event in page.events]
        pages += 1
        if not (cursor := page.cursor):
            return events, pages


async def test_a_user_gets_what_they_wrote_in_all_rooms_and_nothing_else(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_events, "LOOKED_THROUGH", 5)
    monkeypatch.setattr(user_events, "FOUND", 3)
    monkeypatch.setattr(user_events, "ROOMS", 2)
    async with running_writer(database_url) as (writer, _):
        rooms = [await create(writer, ANN, f"create-{number}") for number in range(3)]
        for number, room in enumerate(rooms):
            for turn in range(4):
                await writer.submit(SendMessage(f"m{number}-{turn}", room, f"{number}-{turn}"), ANN, "")
        await create(writer, BEN)
        events, _ = await everything(pool, "u_ann")
        assert {event["actor"]["id"] for event in events} == {"u_ann"}
        said = sorted(event["data"]["body"] for event in events if event["type"] == "message.sent")
        assert said == sorted(f"{number}-{turn}" for number in range(3) for turn in range(4))
        assert len(events) == len({(event["room"], event["sequence"]) for event in events})
        assert [event["type"] for event in (await everything(pool, "u_ben"))[0]].count("message.sent") == 0
        assert (await everything(pool, "u_nobody"))[0] == []
        async with pool.acquire() as connection:
            await erasures.request_user(connection, "u_ann")
        assert (await everything(pool, "u_ann"))[0] == []


async def test_long_texts_make_more_pages(database_url: str, pool: Pool) -> None:
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        for number in range(12):
            await writer.submit(SendMessage(f"m{number}", room, "x" * 60_000), ANN, "")
        events, pages = await everything(pool, "u_ann")
    assert [event["type"] for event in events].count("message.sent") == 12
    assert pages >= 2


async def test_what_is_no_cursor_is_refused(pool: Pool) -> None:
    with pytest.raises(Reject) as refused:
        await user_events.page(pool, ReadUserEvents("u_ann", "nonsense"))
    assert refused.value.code is Code.INVALID_PAYLOAD
