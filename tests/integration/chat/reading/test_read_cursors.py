"""Read cursors on real Postgres and NATS: forward only, one write per second, unread as a difference of numbers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import wait_until_completed
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.reading import preferences, read_cursors
from parley.chat.reading.preferences import SetPreferences
from parley.chat.reading.read_cursors import MarkRead, MarkUnread, ReadCursors, ReadState
from parley.chat.reading.receipts import GetReceipts, Receipt, receipts, receipts_room
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected
from tests.support.chat.locking import locked
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until

CARL = Identity("u_carl", "Carl")


class Heard:
    """What is published in some rooms."""

    def __init__(self, bus: Bus, *rooms: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._bus = bus
        for room in rooms:
            self.listen(room)

    def listen(self, room: str) -> None:
        """Hear one more room."""

        def receive(data: bytes) -> None:
            for item in decode(data, Delivery).events:
                assert item.volatile
                self.events.append((room, msgspec.json.decode(item.payload)))

        self._bus.listen(subjects.room(NAMESPACE, room), receive)

    def of(self, room: str) -> list[dict[str, Any]]:
        """What was published in one room."""
        return [event for heard, event in self.events if heard == room]


@asynccontextmanager
async def running(pool: Pool, bus: Bus) -> AsyncGenerator[ReadCursors]:
    """The cursors of one process."""
    cursors = ReadCursors(pool, RoomPublisher(bus, NAMESPACE))
    async with Tasks() as tasks:
        tasks.forever(cursors.run(), name="read cursors")
        yield cursors


async def stored(pool: Pool, room_user: str = "u_ben") -> tuple[int, int] | None:
    row = await pool.fetchrow("SELECT sequence, number FROM chat.reads WHERE user_id = $1", room_user)
    return None if row is None else (row["sequence"], row["number"])


async def talk(writer: Writer, messages: int, *members: Identity) -> str:
    """A room of Ann's with members and messages: events 2 and so on are joins, then follow the messages."""
    room = await create(writer)
    for member in members:
        await writer.submit(JoinRoom(f"j-{member.user_id}", room), member, "")
    for number in range(messages):
        await send(writer, room, number)
    return room


async def test_a_cursor_moves_forward_and_says_what_is_left(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 10, BEN)
        assert await cursors.read(BEN, MarkRead(room, 5)) == ReadState(5, 7, 0)
        assert await cursors.read(BEN, MarkRead(room, 4)) == ReadState(5, 7, 0), "never back"
        await until(lambda: stored_is(pool, (5, 3)), "the cursor is stored")
        assert await cursors.read(BEN, MarkRead(room, 12)) == ReadState(12, 0, 0)
        await until(lambda: stored_is(pool, (12, 10)), "the later one, too")
        assert await cursors.read(BEN, MarkRead(room, 1)) == ReadState(12, 0, 0), "before the join"


async def stored_is(pool: Pool, expected: tuple[int, int]) -> bool:
    return await stored(pool) == expected


async def test_of_many_reads_in_an_interval_the_last_one_is_stored(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    writes: list[int] = []
    advance = read_cursors.read_store.advance

    async def counted(connection: Any, cursors: Any) -> Any:
        writes.extend(place.sequence for place in cursors.values())
        return await advance(connection, cursors)

    monkeypatch.setattr(read_cursors.read_store, "advance", counted)
    # Longer than this takes on any machine, while it is looked for what is due all the time.
    monkeypatch.setattr(read_cursors, "INTERVAL", 60.0)
    monkeypatch.setattr(read_cursors, "TICK", 0.001)
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 40, BEN)
        await cursors.read(BEN, MarkRead(room, 3))
        await until(lambda: writes == [3], "the first at once")
        for sequence in range(4, 40):
            await cursors.read(BEN, MarkRead(room, sequence))
        assert writes == [3], "the next waits for the interval to be over"
    await cursors.flush()
    assert writes == [3, 39]
    assert await stored_is(pool, (39, 37)), "a process that stops stores what waits"


async def test_two_processes_never_move_a_cursor_back(database_url: str, pool: Pool, bus: Bus, other: Bus):
    async with (
        running_writer(database_url) as (writer, _),
        running(pool, bus) as first,
        running(pool, other) as second,
    ):
        room = await talk(writer, 20, BEN)
        await first.read(BEN, MarkRead(room, 20))
        await until(lambda: stored_is(pool, (20, 18)), "the first has stored")
        second._waiting.put(first_key(room), read_cursors.CursorPlace(7, 5, datetime.now(UTC)))
        await second.flush()
        assert await stored_is(pool, (20, 18))


def first_key(room: str) -> Any:
    return read_cursors.CursorKey(read_cursors.key_of(room), "u_ben")


async def test_who_sends_has_read_up_to_it_and_writes_nothing_for_others(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, published), running(pool, bus) as cursors:
        room = await talk(writer, 0, BEN, CARL)
        before = await pool.fetchval("SELECT count(*) FROM chat.reads")
        sequence = await send(writer, room, 1, BEN)
        cursors.sent(published.decisions[-1].appended)
        await until(lambda: stored_is(pool, (sequence, 1)), "the sender's cursor")
        assert await pool.fetchval("SELECT count(*) FROM chat.reads") == before + 1


async def test_a_sender_is_not_told_and_is_stored_less_often_and_what_is_said_goes_on_from_there(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(read_cursors, "SENDERS_INTERVAL", 3600.0)
    async with running_writer(database_url) as (writer, published), running(pool, bus) as cursors:
        heard = Heard(bus, "user:u_ben")
        await bus.flush()
        room = await talk(writer, 0, BEN)
        first = await send(writer, room, 1, BEN)
        cursors.sent(published.decisions[-1].appended)
        await until(lambda: stored_is(pool, (first, 1)), "the first one is stored at once")
        second = await send(writer, room, 2, BEN)
        cursors.sent(published.decisions[-1].appended)
        assert await cursors.read(BEN, MarkRead(room, first)) == ReadState(second, 0, 0), "it is known meanwhile"
        await until(lambda: stored_is(pool, (second, 2)), "what the user says is stored as soon as ever")
        await until(lambda: [event["sequence"] for event in heard.of("user:u_ben")] == [second], "and told, once")
        third = await send(writer, room, 3, BEN)
        cursors.sent(published.decisions[-1].appended)
        await cursors.flush()
        assert await stored_is(pool, (third, 3)), "a process that stops stores what waits"


async def test_a_room_is_marked_as_unread_and_its_devices_are_told(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        heard = Heard(bus, "user:u_ben")
        await bus.flush()
        room = await talk(writer, 10, BEN)
        await cursors.read(BEN, MarkRead(room, 12))
        await until(lambda: heard.events, "the devices are told")
        assert await cursors.mark_unread(BEN, MarkUnread(room, 8)) == ReadState(7, 5, 0)
        await until(lambda: len(heard.events) == 2, "again")
        own = {"room": room, "user": "u_ben"}
        assert heard.of("user:u_ben") == [
            {**own, "sequence": 12, "unread": 0},
            {**own, "sequence": 7, "unread": 5, "back": True},
        ]
        assert await cursors.mark_unread(BEN, MarkUnread(room, 1)) == ReadState(2, 10, 0), "not before the join"
        assert await cursors.read(BEN, MarkRead(room, 12)) == ReadState(12, 0, 0)


async def test_a_read_of_before_does_not_undo_that_a_room_was_marked_as_unread_and_one_of_afterwards_does(
    database_url: str, pool: Pool, bus: Bus, other: Bus
):
    # Nothing is stored before it is flushed here.
    first, second = ReadCursors(pool, RoomPublisher(bus, NAMESPACE)), ReadCursors(pool, RoomPublisher(other, NAMESPACE))
    async with running_writer(database_url) as (writer, published):
        room = await talk(writer, 10, BEN)
        await first.read(BEN, MarkRead(room, 12))
        assert await second.mark_unread(BEN, MarkUnread(room, 8)) == ReadState(7, 5, 0)
        await first.flush()
        assert await stored_is(pool, (7, 5)), "the first process stored what it was told before"
        await first.read(BEN, MarkRead(room, 12))
        assert await second.mark_unread(BEN, MarkUnread(room, 8)) == ReadState(7, 5, 0)
        assert await first.read(BEN, MarkRead(room, 9)) == ReadState(9, 3, 0), "what it knows from before has ended"
        await first.flush()
        assert await stored_is(pool, (9, 7)), "said afterwards"
        await send(writer, room, 20, BEN)
        first.sent(published.decisions[-1].appended)
        await second.mark_unread(BEN, MarkUnread(room, 8))
        await first.flush()
        assert await stored_is(pool, (7, 5)), "who has sent a message has read up to it, and may say otherwise then"
        last = await send(writer, room, 21, BEN)
        first.sent(published.decisions[-1].appended)
        await first.flush()
        assert await stored_is(pool, (last, 12))
    await second.flush()


async def test_what_is_read_after_a_mark_counts_though_storing_an_earlier_read_fails_meanwhile(
    database_url: str, pool: Pool, bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
):
    first, second = ReadCursors(pool, RoomPublisher(bus, NAMESPACE)), ReadCursors(pool, RoomPublisher(other, NAMESPACE))
    advance = read_cursors.read_store.advance
    async with running_writer(database_url) as (writer, _):
        room = await talk(writer, 10, BEN)
        await first.read(BEN, MarkRead(room, 12))

        async def failing(_connection: Any, _cursors: Any) -> Any:
            await second.mark_unread(BEN, MarkUnread(room, 8))
            assert await first.read(BEN, MarkRead(room, 9)) == ReadState(9, 3, 0)
            raise ConnectionError

        monkeypatch.setattr(read_cursors.read_store, "advance", failing)
        await first._store(first._waiting, first._waiting.take_all())
        monkeypatch.setattr(read_cursors.read_store, "advance", advance)
        await first.flush()
        assert await stored_is(pool, (9, 7)), "the failed read of before has not taken its place"
    await second.flush()


async def test_a_mark_of_somebody_who_left_meanwhile_is_not_kept(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    mark = read_cursors.read_store.mark
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 3, BEN)

        async def late(*arguments: Any) -> None:
            await writer.submit(LeaveRoom("l", room), BEN, "")
            await mark(*arguments)

        monkeypatch.setattr(read_cursors.read_store, "mark", late)
        assert (await rejected(cursors.mark_unread(BEN, MarkUnread(room, 4)))).code is Code.NOT_A_MEMBER
        assert await stored(pool) is None, "an erasure has them leave first, and would not find it"


async def test_what_was_read_in_an_earlier_stay_does_not_count(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 3, BEN)
        await cursors.read(BEN, MarkRead(room, 5))
        await writer.submit(LeaveRoom("l", room), BEN, "")
        await send(writer, room, 50)
        joined = await writer.submit(JoinRoom("j2", room), BEN, "")
        last = await send(writer, room, 51)
        assert await cursors.read(BEN, MarkRead(room, 5)) == ReadState(joined.sequence, 1, 0)
        assert await cursors.read(BEN, MarkRead(room, last)) == ReadState(last, 0, 0)


async def test_hostile_cursors_are_refused_and_write_nothing(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 2)
        secret = await create(writer, command_id="secret", kind="private")
        await writer.submit(InviteUser("i", secret, UserRef("u_carl")), ANN, "")
        for who, said, code in (
            (ANN, MarkRead(room, 4), Code.INVALID_PAYLOAD),
            (ANN, MarkRead(room, 2**53 - 1), Code.INVALID_PAYLOAD),
            (BEN, MarkRead(room, 1), Code.NOT_A_MEMBER),
            (BEN, MarkRead(secret, 1), Code.NOT_FOUND),
            (CARL, MarkRead(secret, 1), Code.NOT_A_MEMBER),
            (ANN, MarkRead("r" + "a" * 13, 1), Code.NOT_FOUND),
            (ANN, MarkRead("x", 1), Code.NOT_FOUND),
        ):
            assert (await rejected(cursors.read(who, said))).code is code
            assert (await rejected(cursors.mark_unread(who, MarkUnread(said.room, said.sequence)))).code is code
        await cursors.flush()
        assert await pool.fetchval("SELECT count(*) FROM chat.reads") == 0


async def test_receipts_are_told_to_who_looks_and_to_nobody_who_was_removed(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 5, BEN, CARL)
        await preferences.update(pool, CARL, SetPreferences(private_receipts=True))
        found = await receipts(pool, ANN, GetReceipts(room))
        assert found.receipts == []
        looked_at = receipts_room(room, found.changed)
        heard = Heard(bus, looked_at)
        await bus.flush()
        await cursors.read(CARL, MarkRead(room, 8))
        await cursors.read(BEN, MarkRead(room, 6))
        await until(lambda: heard.events, "the receipt of who shows it")
        assert heard.of(looked_at) == [{"room": room, "user": "u_ben", "sequence": 6}]
        assert (await receipts(pool, ANN, GetReceipts(room))).receipts == [Receipt("u_ben", 6)]
        assert (await receipts(pool, ANN, GetReceipts(room, 6))).readers == 1
        assert (await receipts(pool, ANN, GetReceipts(room, 7))).readers == 0
        # Carl leaves: who looks on without being asked again hears nothing more.
        await writer.submit(LeaveRoom("l", room), CARL, "")
        assert (await receipts(pool, ANN, GetReceipts(room))).changed != found.changed
        await cursors.flush()
        await cursors.read(BEN, MarkRead(room, 8))
        await until(lambda: stored_is(pool, (8, 5)), "it is stored")
        await bus.flush()
        assert len(heard.events) == 1
        assert (await rejected(receipts(pool, CARL, GetReceipts(room)))).code is Code.NOT_A_MEMBER


async def test_receipts_of_large_rooms_are_counted_only(database_url: str, pool: Pool, bus: Bus):
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 1, BEN)
        heard = Heard(bus, receipts_room(room, 2))
        await pool.fetch("UPDATE chat.rooms SET member_count = 101")
        assert (await rejected(receipts(pool, ANN, GetReceipts(room)))).code is Code.LIMIT_EXCEEDED
        await cursors.read(BEN, MarkRead(room, 3))
        await until(lambda: stored_is(pool, (3, 1)), "it is stored")
        assert (await receipts(pool, ANN, GetReceipts(room, 3))).readers == 1
        assert heard.events == []


async def test_an_outage_loses_no_cursor(database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch):
    failures = [ConnectionError("away"), ConnectionError("still away")]
    advance = read_cursors.read_store.advance

    async def failing(connection: Any, cursors: Any) -> Any:
        if failures:
            raise failures.pop()
        return await advance(connection, cursors)

    monkeypatch.setattr(read_cursors.read_store, "advance", failing)
    monkeypatch.setattr(read_cursors, "INTERVAL", 0.05)
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 2, BEN)
        await cursors.read(BEN, MarkRead(room, 4))
        await until(lambda: stored_is(pool, (4, 2)), "it is stored in the end")
    assert failures == []


async def test_erasing_a_user_or_a_room_erases_what_they_read(database_url: str, pool: Pool, bus: Bus, tmp_path: Path):
    ledger = Ledger(tmp_path / "erasures")
    async with running_writer(database_url) as (writer, _), running(pool, bus) as cursors:
        room = await talk(writer, 2, BEN, CARL)
        for who in (ANN, BEN, CARL):
            await cursors.read(who, MarkRead(room, 5))
            await preferences.update(pool, who, SetPreferences(silenced=["reaction"]))
            await preferences.set_level(pool, who, preferences.SetLevel(room, "none"))
        await cursors.flush()
        async with pool.acquire() as connection:
            user = await erasures.request_user(connection, "u_ben")
            await wait_until_completed(database_url, ledger, user, lambda _: None)
            for table in ("reads", "levels", "preferences"):
                left = {row["user_id"] for row in await connection.fetch(f"SELECT user_id FROM chat.{table}")}
                assert left == {"u_ann", "u_carl"}, table
            everything = await erasures.request_room(connection, room)
            await wait_until_completed(database_url, ledger, everything, lambda _: None)
            for table in ("reads", "levels"):
                assert await connection.fetchval(f"SELECT count(*) FROM chat.{table}") == 0, table


async def test_what_is_being_stored_when_a_process_stops_is_stored_by_its_last_act(
    database_url: str, pool: Pool, bus: Bus
):
    async with running_writer(database_url) as (writer, _):
        room = await talk(writer, 3, BEN)
    async with locked(database_url, "chat.reads") as waited_for, running(pool, bus) as cursors:
        await cursors.read(BEN, MarkRead(room, 5))
        await until(waited_for, "it is being stored")
    await cursors.flush()
    assert await stored(pool) == (5, 3)
