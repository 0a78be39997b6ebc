"""Consumers on real Postgres and NATS: handed everything once it has happened, again until it is dealt with, by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from parley.chat.consumers import pace as pacing
from parley.chat.consumers import runner as handing
from parley.chat.consumers import store
from parley.chat.consumers.pace import SCAN, Pace, next_scan
from parley.chat.consumers.pattern import matching
from parley.chat.consumers.recipients import OwnConsumer
from parley.chat.consumers.runner import ConsumerRunner, answer_registration
from parley.chat.domain.membership import JoinRoom
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import wait_until_completed
from parley.chat.log.erasure.ledger import Ledger
from parley.cli.database import consumer_rows as commands
from parley.cli.failure import CommandFailure
from parley.common.errors import Code, Reject
from parley.common.wire import subjects
from parley.common.wire.consumers import LogEvent, RegisterConsumer
from parley.framework import Service, ServiceSettings
from tests.support.bus import fresh, rejected, running_bus
from tests.support.chat.writing import BEN, create, running_writer, send
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundredths of a second where it is tenths otherwise."""
    monkeypatch.setattr(handing, "INTERVAL", 0.1)
    monkeypatch.setattr(handing, "IDLE", 0.02)
    monkeypatch.setattr(pacing, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE", 0.05)


class Billing:
    """A service with a consumer: keeps what it was handed, and may fail."""

    def __init__(self, events: str, *, beginning: bool = True) -> None:
        self.name = fresh("billing")
        self.handed: list[LogEvent] = []
        self.batches: list[int] = []
        self.poison = ""
        self.service: Service[None] = Service(self.name)
        self.service.consumer(self.name, events=events, beginning=beginning)(self.consume)

    async def consume(self, events: list[LogEvent]) -> None:
        """Deal with events."""
        self.batches.append(len(events))
        if any(event.type == "message.sent" and event.data["body"] == self.poison for event in events):
            raise ValueError("cannot bill that")
        self.handed += events

    def bodies(self) -> list[str]:
        """The texts that it was handed."""
        return [event.data["body"] for event in self.handed if event.type == "message.sent"]


@asynccontextmanager
async def chat(nats_url: str, url: str, pool: Pool) -> AsyncGenerator[tuple[ConsumerRunner, asyncio.Task[None]]]:
    """The part of a chat that hands over, until it is killed."""
    async with running_bus(nats_url, "chat") as bus:

        async def register(question: RegisterConsumer) -> None:
            await answer_registration(pool, question.name, question.events, beginning=question.beginning)

        await bus.respond(subjects.REGISTER_CONSUMER, RegisterConsumer, register, queue="chat")
        runner = ConsumerRunner(bus, url)
        task = asyncio.create_task(runner.run())
        try:
            yield runner, task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def running(billing: Billing, nats_url: str) -> Any:
    """The service, until the block ends."""
    return billing.service.running(ServiceSettings(nats_url=nats_url, instance=fresh("i")))


async def test_a_consumer_is_handed_all_that_matches_and_goes_on_where_it_was(
    database_url: str, nats_url: str, pool: Pool
):
    billing = Billing("message.*, member.joined")
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await send(writer, room, 1)
        async with chat(nats_url, database_url, pool), running(billing, nats_url):
            await until(lambda: billing.bodies() == ["text 1"])
            await writer.submit(JoinRoom("j", room), BEN, "")
            await send(writer, room, 2, BEN)
            await until(lambda: len(billing.handed) == 3)
        for number in range(3, 9):
            await send(writer, room, number)
        # The service is away, then chat is, and both come back.
        async with chat(nats_url, database_url, pool):
            await asyncio.sleep(0.2)
        async with running(billing, nats_url), chat(nats_url, database_url, pool):
            await until(lambda: len(billing.handed) == 9)
            await asyncio.sleep(0.2)
    assert [event.sequence for event in billing.handed] == list(range(2, 11))
    first = billing.handed[1]
    assert (first.type, first.room, first.actor_id, first.data) == (
        "member.joined", room, "u_ben", {"user": {"id": "u_ben", "name": "Ben"}},
    )  # fmt: skip
    ids = await pool.fetch("SELECT event_id::text FROM chat.events WHERE sequence > 1 ORDER BY sequence")
    assert [event.event_id for event in billing.handed] == [row["event_id"] for row in ids], "the same at every attempt"
    row = await pool.fetchrow("SELECT * FROM chat.consumers WHERE name = $1", billing.name)
    assert row["read_up_to"] == billing.handed[-1].at


async def test_who_keeps_messages_hears_which_of_them_are_erased_and_who_comes_later_never_has_them(
    database_url: str, nats_url: str, pool: Pool, tmp_path: Path
):
    early, late = Billing("message.*"), Billing("*")
    async with running_writer(database_url) as (writer, _), chat(nats_url, database_url, pool):
        room = await create(writer)
        await send(writer, room, 1)
        async with running(early, nats_url):
            await until(lambda: early.bodies() == ["text 1"])
            async with pool.acquire() as connection:
                erasure = await erasures.request_message(connection, room, 2)
            await wait_until_completed(database_url, Ledger(tmp_path / "erasures"), erasure, lambda _: None)
            await until(lambda: [event.type for event in early.handed] == ["message.sent", "events.erased"])
        assert early.handed[1].data == {"ranges": [[2, 2]]}
        async with running(late, nats_url):
            await until(lambda: len(late.handed) == 2)
    assert [event.type for event in late.handed] == ["room.created", "events.erased"]


async def test_one_process_hands_over_and_another_takes_over(database_url: str, nats_url: str, pool: Pool):
    billing = Billing("*")
    async with (
        running_writer(database_url) as (writer, _),
        running(billing, nats_url),
        chat(nats_url, database_url, pool) as (first, task),
    ):
        room = await create(writer)
        await until(lambda: billing.handed)
        async with chat(nats_url, database_url, pool) as (second, _):
            await asyncio.sleep(0.3)
            assert (first.leading, second.leading) == (True, False)
            # It stands still: nothing of it runs, and its connection stays.
            for one in first._running.values():
                assert one.task is not None
                one.task.cancel()
            step, first.step = first.step, cast("Any", lambda: asyncio.sleep(60))
            await send(writer, room, 1)
            await until(lambda: second.leading, seconds=4)
            await until(lambda: billing.bodies() == ["text 1"])
            first.step = step
    assert Counter(event.event_id for event in billing.handed).most_common(1)[0][1] == 1
    assert task.done()


async def test_an_event_that_cannot_be_dealt_with_is_named_alone_and_may_be_skipped(
    database_url: str, nats_url: str, pool: Pool
):
    billing = Billing("message.*")
    billing.poison = "text 7"
    async with (
        running_writer(database_url) as (writer, _),
        chat(nats_url, database_url, pool) as (runner, _),
    ):
        room = await create(writer)
        for number in range(1, 13):
            await send(writer, room, number)
        async with running(billing, nats_url):
            await until(lambda: billing.batches and billing.batches[-1] == 1 and runner.note() != "ok")
            assert billing.bodies() == [f"text {number}" for number in range(1, 7)], (
                "what stands before it was dealt with"
            )
            poison = await pool.fetchval("SELECT event_id FROM chat.events WHERE sequence = 8")

            async def named() -> bool:
                row = await pool.fetchrow("SELECT * FROM chat.consumers WHERE name = $1", billing.name)
                return row["failing_event"] == poison and row["failure"].startswith("internal: ")

            await until(named)
            (line,) = [line for line in await commands.list_consumers(database_url) if billing.name in line]
            assert str(poison) in line
            assert await commands.skip_event(database_url, billing.name, "") == poison
            await until(lambda: len(billing.bodies()) == 11)
            assert billing.bodies()[6:] == [f"text {number}" for number in range(8, 13)]
            await until(lambda: runner.note() == "ok")
            row = await pool.fetchrow("SELECT * FROM chat.consumers WHERE name = $1", billing.name)
            assert (row["skip"], row["failure"], row["attempts"]) == (None, "", 0)


async def test_operators_pause_reset_and_forget_a_consumer(database_url: str, nats_url: str, pool: Pool):
    billing = Billing("message.*", beginning=False)
    async with (
        running_writer(database_url) as (writer, _),
        chat(nats_url, database_url, pool) as (runner, _),
        running(billing, nats_url),
    ):
        room = await create(writer)
        await until(lambda: pool.fetchval("SELECT true FROM chat.consumers WHERE name = $1", billing.name))
        await send(writer, room, 1)
        await until(lambda: billing.bodies() == ["text 1"])
        await commands.set_paused(database_url, billing.name, paused=True)
        await until(lambda: runner._running[billing.name].row.paused)
        await send(writer, room, 2)
        await asyncio.sleep(0.2)
        assert billing.bodies() == ["text 1"]
        (line,) = [line for line in await commands.list_consumers(database_url) if billing.name in line]
        assert "paused, 1 events" in line
        await commands.set_paused(database_url, billing.name, paused=False)
        await until(lambda: billing.bodies() == ["text 1", "text 2"])
        await commands.move(database_url, billing.name, end=False)
        await until(lambda: billing.bodies() == ["text 1", "text 2"] * 2)
        await commands.forget(database_url, billing.name)
    for work in (
        commands.forget(database_url, "nobody"),
        commands.move(database_url, store.ANNOUNCEMENTS, end=True),
        commands.skip_event(database_url, "nobody", "no id"),
    ):
        with pytest.raises(CommandFailure):
            await work


async def test_who_was_replaced_or_overtaken_by_an_operator_moves_a_consumer_nowhere(pool: Pool):
    async with pool.acquire() as connection:
        await store.register(connection, "billing", "*", beginning=True)
        (before,) = await store.load(connection)
        assert await store.save(connection, before, before.position._replace(next=9), "dealt with", [])
        assert not await store.save(connection, before, before.position._replace(next=7), "late", [])
        (after,) = await store.load(connection)
    assert (after.position.next, after.batch) == (9, "dealt with")


async def test_a_pattern_that_matches_nothing_and_a_name_of_chats_own_are_refused(pool: Pool):
    for name, events in (("billing", "massage.*"), ("announcements", "*"), ("", "*")):
        refusal = await rejected(answer_registration(pool, name, events, beginning=True))
        assert refusal.code is Code.INVALID_PAYLOAD


@pytest.mark.parametrize("failure", [OSError("away"), TimeoutError(), KeyError(), Reject(Code.UNAVAILABLE)], ids=repr)
async def test_no_failure_ends_it(
    database_url: str, nats_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, failure: Exception
):
    failures, load = [failure], store.load

    async def fail_once(connection: Any) -> Any:
        if failures:
            raise failures.pop()
        return await load(connection)

    monkeypatch.setattr(store, "load", fail_once)
    async with running_bus(nats_url, "chat") as bus:
        runner = ConsumerRunner(bus, database_url)
        task = asyncio.create_task(runner.run())
        await until(lambda: runner.leading and not failures)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_patterns_name_types_and_parts_of_them():
    assert sorted(matching("*")) == sorted(
        matching("room.*, member.*,message.*,events.*,reaction.*,thread.*,invite.*,permissions.*")
    )
    assert matching("message.sent") == [5, 8], "and what of them is erased"
    assert matching("nothing.*") == []


def test_a_failing_batch_is_halved_until_one_event_is_left_and_grows_again():
    pace = Pace()
    assert [pace.failed() for _ in range(4)] == [pacing.FIRST_PAUSE, 0.02, 0.04, 0.05]
    assert pace.most == pacing.MOST // 8
    for _ in range(9):
        pace.failed()
    assert pace.most == 1
    pace.succeeded()
    assert (pace.most, pace.failures) == (2, 0)
    assert pace.away() == pacing.FIRST_PAUSE
    assert pace.most == 2


def test_a_service_has_one_consumer_of_a_name():
    service: Service[None] = Service("shop")
    service.consumer("billing")(Billing("*").consume)
    with pytest.raises(ValueError, match="billing"):
        service.consumer("billing")


async def test_what_may_wait_does_while_there_is_much_to_commit_and_not_for_longer_than_it_may(
    database_url: str, nats_url: str, pool: Pool
):
    handed: dict[str, list[int]] = {"chat.patient": [], "chat.prompt": [], "chat.nearly": []}

    def own(name: str, may_wait: float) -> OwnConsumer:
        async def consume(events: list[LogEvent]) -> None:
            handed[name] += [event.sequence for event in events]

        return OwnConsumer("message.*", consume, may_wait=may_wait)

    commands = {"chat.patient": own("chat.patient", 3600.0), "chat.prompt": own("chat.prompt", 0.0)}
    commands["chat.nearly"] = own("chat.nearly", 0.3)
    busy = [1_000_000]

    def committed() -> int:
        busy[0] *= 2
        return busy[0]

    async with running_writer(database_url) as (writer, _), running_bus(nats_url, "chat") as bus:
        room = await create(writer)
        await send(writer, room, 1)
        runner = ConsumerRunner(bus, database_url, commands, committed)
        task = asyncio.create_task(runner.run())
        await until(lambda: handed["chat.prompt"] == [2], "who may not wait is handed it at once")
        await until(lambda: handed["chat.nearly"] == [2], "who may wait a little is handed it after that")
        await send(writer, room, 2)
        await until(lambda: handed["chat.nearly"] == handed["chat.prompt"] == [2, 3])
        assert handed["chat.patient"] == []
        busy[0] = 0
        await until(lambda: handed["chat.patient"] == [2, 3], "there is less to commit")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_a_consumer_that_wants_nearly_all_is_looked_through_no_more_for_than_it_takes():
    assert next_scan(SCAN, 500, 500) == 500, "the others of the page would be read again"
    assert next_scan(500, 500, 400) == 500
    assert next_scan(500, 500, 3) == 1000
    assert next_scan(SCAN // 2, 500, 0) == SCAN == next_scan(SCAN, 500, 0)


def test_a_consumer_that_has_failed_is_handed_as_much_as_before_once_it_succeeds():
    pace, scan = Pace(), SCAN

    def hand_over() -> int:
        """A page of a log in which it wants everything."""
        nonlocal scan
        found = min(pace.most, scan)
        scan = next_scan(scan, pace.most, found)
        return found

    for _ in range(12):
        hand_over()
        pace.failed()
    batches: list[int] = []
    for _ in range(11):
        batches.append(hand_over())
        pace.succeeded()
    assert (batches[0], batches[-1]) == (1, pacing.MOST)


def test_large_events_behind_a_page_are_not_looked_through_again_and_again():
    scan, looked_through, handed = SCAN, 0, 0
    while handed < 1000:
        # Eight of them fill a page.
        found = min(8, scan)
        looked_through += scan
        handed += found
        scan = next_scan(scan, pacing.MOST, found, cut=scan > 8)
    assert looked_through < SCAN + 3 * handed


async def test_what_takes_postgres_too_long_is_tried_with_fewer_events(database_url: str, nats_url: str, pool: Pool):
    handed: list[int] = []

    async def consume(events: list[LogEvent]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 200")
            await connection.execute(f"SELECT pg_sleep({max(0, len(events) - 3)})")
        handed.extend(event.sequence for event in events)

    async with running_writer(database_url) as (writer, _), running_bus(nats_url, "chat") as bus:
        room = await create(writer)
        for number in range(8):
            await send(writer, room, number)
        runner = ConsumerRunner(bus, database_url, {"chat.slow": OwnConsumer("message.*", consume)})
        task = asyncio.create_task(runner.run())
        await until(lambda: handed == list(range(2, 10)), "it is handed all of it")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
