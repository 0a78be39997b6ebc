"""`@here` on real Postgres and NATS: who is there is notified, and nobody else later, whatever is handed over again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from parley.chat.consumers import runner as handing
from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.notifications import inbox, inbox_store
from parley.chat.notifications.inbox import ListNotifications
from parley.chat.notifications.notifier import Notifier, Online
from parley.chat.notifications.rules import CALL_SECONDS
from parley.chat.queries.visibility import key_of
from parley.common.nats.bus import Bus
from parley.common.wire.consumers import LogEvent
from parley.common.wire.identity import Identity
from parley.framework import RoomPublisher
from tests.support.chat.writing import ANN, BEN, create, running_writer, send

CARL = Identity("u_carl", "Carl")


class There:
    """Who is online each time that one asks, in turn; the last of it from then on."""

    def __init__(self, *times: tuple[str, ...]) -> None:
        self.times = list(times)
        self.asked: list[list[str]] = []

    async def __call__(self, rooms: Sequence[str]) -> dict[str, list[str]]:
        """Say who is online in each of these rooms."""
        self.asked.append(list(rooms))
        online = self.times.pop(0) if len(self.times) > 1 else self.times[0]
        return {room: list(online) for room in rooms}


def notifier(pool: Pool, bus: Bus, there: Online) -> Notifier:
    return Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, there)


@asynccontextmanager
async def called(url: str, pool: Pool) -> AsyncGenerator[list[LogEvent]]:
    """The events of a room of Ann's with Ben and Carl, in which she calls who is there in answer to Ben."""
    async with running_writer(url) as (writer, _):
        room = await create(writer)
        for who in (BEN, CARL):
            await writer.submit(JoinRoom(f"j{who.user_id}", room), who, "")
        bens = await send(writer, room, 1, BEN)
        await writer.submit(SendMessage("h", room, "@here", bens, mention_here=True), ANN, "")
        rows = await pool.fetch(
            f"SELECT {EVENT_COLUMNS} FROM chat.events e WHERE room_id = $1 ORDER BY sequence", key_of(room)
        )
        yield [handing._log_event(recorded_row(row)) for row in rows]


async def causes(pool: Pool, who: Identity) -> list[str]:
    page = await inbox.page(pool, who, ListNotifications())
    return [one.data.cause for one in page.notifications]


async def test_who_is_there_is_called_once_whoever_comes_before_it_is_handed_over_again(
    database_url: str, pool: Pool, bus: Bus
):
    there = There(("u_ann", "u_ben", "u_stranger"), ("u_ben", "u_carl"))
    async with called(database_url, pool) as events:
        for _ in range(3):
            await notifier(pool, bus, there).consume(events)
    assert there.asked[0] == [events[0].room]
    # Mentioned, though it answers one of his: the cause that counts for more.
    assert await causes(pool, BEN) == ["mention"]
    for other in (ANN, CARL, Identity("u_stranger", "")):
        assert await causes(pool, other) == []
    assert [tuple(row) for row in await pool.fetch("SELECT user_id, sequence FROM chat.mentions")] == [("", 5)]


async def test_of_two_that_meet_a_call_at_once_and_know_of_others_one_decides(database_url: str, pool: Pool, bus: Bus):
    told = [There(("u_ben",)), There(("u_carl",))]
    async with called(database_url, pool) as events:
        await asyncio.gather(*(notifier(pool, bus, there).consume(events) for there in told))
    found = [await causes(pool, who) for who in (BEN, CARL)]
    # Ben was answered in any case.
    assert found in ([["mention"], []], [["reply"], ["mention"]])


async def test_a_call_that_was_not_stored_is_made_with_who_is_there_the_next_time(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    append, failures = inbox_store.append, [ConnectionError("killed before the commit")]

    async def dies(connection: Any, dues: Any, push_after: float) -> None:
        await append(connection, dues, push_after)
        if dues and failures:
            raise failures.pop()

    monkeypatch.setattr(inbox_store, "append", dies)
    there = There(("u_ben",), ("u_carl",))
    async with called(database_url, pool) as events:
        with pytest.raises(ConnectionError):
            await notifier(pool, bus, there).consume(events)
        await notifier(pool, bus, there).consume(events)
    assert (await causes(pool, BEN), await causes(pool, CARL)) == (["reply"], ["mention"])


async def test_an_old_call_calls_nobody_not_even_when_it_comes_again(database_url: str, pool: Pool, bus: Bus):
    there = There(("u_ben", "u_carl"))
    async with called(database_url, pool) as events:
        old = [msgspec.structs.replace(one, at=one.at - timedelta(seconds=CALL_SECONDS)) for one in events]
        for batch in (old, events):
            await notifier(pool, bus, there).consume(batch)
    assert (await causes(pool, BEN), await causes(pool, CARL)) == (["reply"], [])
