"""Announcing from the log: all that is committed, by one process at a time, whatever becomes of it or the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import asyncpg
import pytest

from parley.chat.delivery import announcer as announcing
from parley.chat.delivery.announcer import Announcer
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.log.database import Pool
from parley.chat.log.tail import Tail
from parley.cli.database.incarnation import begin_incarnation
from parley.common.errors import Code, Reject
from parley.common.wire.rooms import Announcement, MembershipChange
from parley.framework import Bus, RoomPublisher
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.proxy import Proxy
from tests.support.waiting import until


class Gateways:
    """Stands for the gateways: keeps what is announced, while anybody can be told."""

    def __init__(self) -> None:
        self.heard: list[Announcement] = []
        self.hearing = True
        self.raises = True
        """Whether what cannot be told is refused; else it goes nowhere."""
        self.mended = 0

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """Take note, or refuse."""
        if not self.hearing and self.raises:
            raise Reject(Code.UNAVAILABLE)
        self.heard += announcements

    def mend(self) -> None:
        """Rooms are to be read again."""
        self.mended += 1

    @property
    def heads(self) -> dict[str, int]:
        """The last head of each room."""
        return {head.room: head.head for announcement in self.heard for head in announcement.heads}

    def is_chain(self) -> bool:
        """Whether each announcement names the one before."""
        last = self.heard[0].after
        for announcement in self.heard:
            if announcement.after != last:
                return False
            last = announcement.id or last
        return True

    def announcer(self, url: str) -> Announcer:
        """A process that announces to them."""
        return Announcer(cast("RoomPublisher", self), cast("Bus", self), url, self.mend)


@asynccontextmanager
async def running(announcer: Announcer) -> AsyncGenerator[asyncio.Task[None]]:
    """An announcer that runs until the block ends."""
    task = asyncio.create_task(announcer.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def gateways(monkeypatch: pytest.MonkeyPatch) -> Gateways:
    """The gateways, told without a pause."""
    monkeypatch.setattr(announcing, "INTERVAL", 0.05)
    return Gateways()


async def test_what_was_committed_and_never_published_is_announced_with_whom_it_concerns(
    gateways: Gateways, database_url: str
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("in", room), BEN, "")
        await writer.submit(InviteUser("invite", room, UserRef("u_cat")), ANN, "")
        await writer.submit(LeaveRoom("out", room), BEN, "")
        await send(writer, room, 1)
    async with running(gateways.announcer(database_url)):
        await until(lambda: gateways.heads == {room: 5})
    told = [change for announcement in gateways.heard for change in announcement.changes]
    assert told == [
        ("u_ann", MembershipChange(room, True, 1)),
        ("u_ben", MembershipChange(room, True, 2)),
        ("u_ben", MembershipChange(room, False, 4)),
    ]
    ((user, notice),) = [notice for announcement in gateways.heard for notice in announcement.notices]
    assert (user, notice.event, notice.sequence, bool(notice.notice)) == ("u_cat", "member.invited", 0, True)


async def test_the_next_process_goes_on_where_the_last_one_stored_that_it_was(gateways: Gateways, database_url: str):
    async with running_writer(database_url) as (writer, _):
        room, other = await create(writer), await create(writer, command_id="other")
        async with running(gateways.announcer(database_url)):
            await until(lambda: gateways.heads == {room: 1, other: 1})
            await until(lambda: gateways.heard[-1].heads == [])
        await send(writer, room, 1)
        before = len(gateways.heard)
        async with running(gateways.announcer(database_url)):
            await until(lambda: gateways.heads == {room: 2, other: 1})
    assert gateways.is_chain()
    assert [head.room for announcement in gateways.heard[before:] for head in announcement.heads] == [room]


async def test_what_could_not_be_told_is_told_later(gateways: Gateways, database_url: str):
    gateways.hearing = True
    async with running_writer(database_url) as (writer, _), running(gateways.announcer(database_url)):
        await until(lambda: gateways.heard)
        gateways.hearing = False
        room = await create(writer)
        heard = len(gateways.heard)
        await asyncio.sleep(0.3)
        assert len(gateways.heard) == heard
        gateways.hearing = True
        await until(lambda: gateways.heads == {room: 1})


async def test_what_nobody_could_be_told_is_not_passed_over(
    gateways: Gateways, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    refusals, announce = [Reject(Code.UNAVAILABLE)], gateways.announce

    async def refuse_once(announcements: Sequence[Announcement]) -> None:
        if refusals and announcements[0].heads:
            raise refusals.pop()
        await announce(announcements)

    monkeypatch.setattr(gateways, "announce", refuse_once)
    async with running_writer(database_url) as (writer, _), running(gateways.announcer(database_url)):
        room = await create(writer)
        await until(lambda: gateways.heads == {room: 1})
    assert not refusals


async def test_who_stands_still_or_is_cut_off_is_replaced_within_two_seconds(gateways: Gateways, database_url: str):
    async with Proxy.running(database_url) as proxy:
        frozen, cut_off, last = (gateways.announcer(url) for url in (database_url, proxy.url, database_url))
        # As if it had been stopped: nothing runs any more, and its connection stays.
        await frozen.step()
        assert frozen.leading
        began = time.monotonic()
        async with running(cut_off):
            await until(lambda: cut_off.leading)
            assert time.monotonic() - began < 2.3
            async with running(last):
                await asyncio.sleep(0.4)
                assert not last.leading
                assert proxy.swallow() == 1
                began = time.monotonic()
                await until(lambda: last.leading)
                assert time.monotonic() - began < 2.3
        frozen._step_down()


async def test_who_stops_leaves_no_connection_behind(gateways: Gateways, database_url: str):
    async with running(announcer := gateways.announcer(database_url)):
        await until(lambda: announcer.leading)
        connection = await announcer._leadership.connection()
    assert connection.is_closed()


async def test_who_does_not_hear_itself_lets_another_one_announce(gateways: Gateways, database_url: str):
    deaf = Gateways()
    async with running(deaf.announcer(database_url)) as _, running(gateways.announcer(database_url)):
        await until(lambda: deaf.heard or gateways.heard)
        first, second = (deaf, gateways) if deaf.heard else (gateways, deaf)
        first.hearing, first.raises = False, False
        await until(lambda: second.heard)


async def test_who_was_replaced_moves_nothing_when_it_wakes_up(gateways: Gateways, database_url: str, pool: Pool):
    stale = gateways.announcer(database_url)
    async with running_writer(database_url) as (writer, _):
        await create(writer)
        await stale.step()
        connection = await stale._leadership.connection()
        await pool.fetch("UPDATE chat.consumers SET batch = 'of another', position = '9:' WHERE name = 'announcements'")
        await send(writer, await create(writer), 1)

        async def reads_again() -> bool:
            await stale.step()
            return stale._position is None

        await until(reads_again, "it reads again where the other one is")
        assert await connection.fetchval("SELECT position FROM chat.consumers WHERE name = 'announcements'") == "9:"
    stale._step_down()


@pytest.mark.parametrize(
    "failure",
    [OSError("away"), asyncpg.InternalClientError("cannot switch to state 15"), asyncpg.QueryCanceledError("late"),
     asyncpg.AdminShutdownError("over"), KeyError(), Reject(Code.UNAVAILABLE)],
    ids=repr,
)  # fmt: skip
async def test_no_failure_ends_it(
    gateways: Gateways, database_url: str, monkeypatch: pytest.MonkeyPatch, failure: Exception
):
    failures, heads = [failure], Tail.heads

    async def fail_once(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await heads(*args)

    monkeypatch.setattr(Tail, "heads", fail_once)
    async with running_writer(database_url) as (writer, _), running(gateways.announcer(database_url)) as task:
        room = await create(writer)
        await until(lambda: gateways.heads == {room: 1} or task.done())
        assert not task.done()
        assert not failures


async def test_another_log_is_announced_by_its_name_without_a_restart(gateways: Gateways, database_url: str):
    standing_by = gateways.announcer(database_url)
    async with running_writer(database_url) as (writer, _), running(gateways.announcer(database_url)):
        await until(lambda: gateways.heard)
        async with running(standing_by):
            await until(lambda: standing_by.incarnation)
            await create(writer)
            name = str((await begin_incarnation(database_url, None))[0])
            await until(lambda: gateways.heard[-1].incarnation == standing_by.incarnation == name)
            await until(lambda: gateways.mended == 2)
    assert gateways.is_chain()
