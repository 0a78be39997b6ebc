"""Drafts on real Postgres and NATS: the last text counts, on all devices, within bounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import JoinRoom
from parley.chat.log.database import Pool
from parley.chat.unsent import drafts as keeping
from parley.chat.unsent.drafts import DraftKeeper, ListDrafts, PutDraft
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected
from tests.support.chat.locking import locked
from tests.support.chat.writing import ANN, BEN, create, running_writer
from tests.support.waiting import until


@asynccontextmanager
async def running(pool: Pool, bus: Bus) -> AsyncGenerator[DraftKeeper]:
    keeper = DraftKeeper(pool, RoomPublisher(bus, NAMESPACE), 1000)
    async with Tasks() as tasks:
        tasks.forever(keeper.run(), name="drafts")
        yield keeper
    await keeper.flush()


async def bodies(keeper: DraftKeeper, who: Any = BEN) -> list[tuple[int | None, str]]:
    return [(draft.thread, draft.body) for draft in (await keeper.listed(who, ListDrafts())).drafts]


async def test_the_last_text_is_kept_and_told_and_an_empty_one_is_none(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    told: list[dict[str, Any]] = []
    bus.listen(
        subjects.room(NAMESPACE, "user:u_ben"),
        lambda data: told.extend(msgspec.json.decode(item.payload) for item in decode(data, Delivery).events),
    )
    await bus.flush()
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        async with running(pool, bus) as keeper:
            await keeper.put(BEN, PutDraft(room, "h", reply_to=1))
            await until(lambda: told, "the first is stored at once")
            for text in ("hi", "hi the", "hello"):
                await keeper.put(BEN, PutDraft(room, text))
            await keeper.put(BEN, PutDraft(room, "in a thread", thread=7))
            assert await bodies(keeper) == [(None, "h")]
        # A process that stops stores what waits.
        assert sorted(await bodies(keeper), key=str) == [(7, "in a thread"), (None, "hello")]
        await until(lambda: len(told) == 3, "the other devices are told")
        assert sorted(one["body"] for one in told) == ["h", "hello", "in a thread"]
        await keeper.put(BEN, PutDraft(room, ""))
        await keeper.flush()
        assert await bodies(keeper) == [(7, "in a thread")]
        assert await bodies(keeper, ANN) == []


async def test_drafts_are_bounded_and_only_for_rooms_that_one_may_see(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keeping, "MAX_DRAFTS", 3)
    keeper = DraftKeeper(pool, RoomPublisher(bus, NAMESPACE), 1000)
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        secret = await create(writer, command_id="s", kind="private")
    for number in range(5):
        await keeper.put(ANN, PutDraft(room, f"text {number}", thread=number + 1))
        await keeper.flush()
    assert await bodies(keeper, ANN) == [(5, "text 4"), (4, "text 3"), (3, "text 2")]
    for said, code in (
        (PutDraft(room, "x" * 1001), Code.PAYLOAD_TOO_LARGE),
        (PutDraft(room, "é" * 501), Code.PAYLOAD_TOO_LARGE),
        (PutDraft(room, "\x00"), Code.INVALID_PAYLOAD),
        (PutDraft(secret, "x"), Code.NOT_FOUND),
        (PutDraft("nowhere", "x"), Code.NOT_FOUND),
    ):
        assert (await rejected(keeper.put(BEN, said))).code is code
    monkeypatch.setattr(keeper._waiting, "_most", 1)
    await keeper.put(ANN, PutDraft(room, "x"))
    assert (await rejected(keeper.put(BEN, PutDraft(room, "x")))).code is Code.OVERLOADED


async def test_what_is_being_stored_when_a_process_stops_is_stored_by_its_last_act(
    database_url: str, pool: Pool, bus: Bus
):
    keeper = DraftKeeper(pool, RoomPublisher(bus, NAMESPACE), 1000)
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
    async with locked(database_url, "chat.drafts") as waited_for, Tasks() as tasks:
        tasks.forever(keeper.run(), name="drafts")
        await keeper.put(ANN, PutDraft(room, "nearly done"))
        await until(waited_for, "it is being stored")
    await keeper.flush()
    assert await bodies(keeper, ANN) == [(None, "nearly done")]
