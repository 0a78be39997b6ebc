"""What one user wrote, page by page, and nothing of others or of what was erased."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.queries import written
from parley.common.errors import Code, Reject
from parley.common.wire.admin import ReadWritten
from parley.common.wire.identity import Identity
from tests.support.chat.writing import create, running_writer

ANN, BEN = Identity("u_ann", "Ann"), Identity("u_ben", "Ben")


async def everything(pool: Pool, user: str) -> tuple[list[Any], int]:
    events: list[Any] = []
    cursor, pages = "", 0
    while True:
        page = await written.page(pool, ReadWritten(user, cursor))
        events += [json.loads(event) for event in page.events]
        pages += 1
        if not (cursor := page.cursor):
            return events, pages


async def test_a_user_gets_what_they_wrote_in_all_rooms_and_nothing_else(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "LOOKED_THROUGH", 5)
    monkeypatch.setattr(written, "FOUND", 3)
    monkeypatch.setattr(written, "ROOMS", 2)
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
        await written.page(pool, ReadWritten("u_ann", "nonsense"))
    assert refused.value.code is Code.INVALID_PAYLOAD
