"""Notifications on real Postgres and NATS: of what concerns a user, once each, whatever is handed over again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.chat.consumers import runner as handing
from parley.chat.consumers import store
from parley.chat.consumers.recipients import OwnConsumer
from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import wait_until_completed
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.log.writer import Writer
from parley.chat.moderation import blocks
from parley.chat.moderation.blocks import BlockUser
from parley.chat.notifications import inbox, inbox_store
from parley.chat.notifications import notifier as notifying
from parley.chat.notifications.inbox import ListNotifications, ReadNotifications
from parley.chat.notifications.notifier import NAME, WANTED, Notifier
from parley.chat.notifications.rules import EVENTS
from parley.chat.queries.visibility import key_of
from parley.chat.reading.preferences import SetLevel, SetPreferences, set_level, update
from parley.chat.reading.read_cursors import MarkRead, ReadCursors
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Replay, RoomHeads
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until

CARL = Identity("u_carl", "Carl")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundredths of a second where it is tenths otherwise."""
    monkeypatch.setattr(handing, "INTERVAL", 0.1)
    monkeypatch.setattr(handing, "IDLE", 0.02)


async def nobody(_rooms: Any) -> dict[str, list[str]]:
    """Nobody is there."""
    return {}


@asynccontextmanager
async def following(url: str, pool: Pool, bus: Bus, notifier: Notifier) -> AsyncGenerator[ConsumerRunner]:
    """The part of a chat that hands the log over to the notifier."""
    own = {NAME: OwnConsumer(EVENTS, notifier.consume, beginning=False, wanted=WANTED)}
    runner = ConsumerRunner(bus, url, own)
    task = asyncio.create_task(runner.run())
    try:
        await until(lambda: pool.fetchval("SELECT true FROM chat.consumers WHERE name = $1", NAME), "it is registered")
        yield runner
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def scene(url: str, pool: Pool, bus: Bus) -> AsyncGenerator[tuple[Writer, Notifier, str]]:
    """A room of Ann's with Ben and Carl in it, and who notifies them."""
    notifier = Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody)
    async with running_writer(url) as (writer, _):
        room = await create(writer)
        for who in (BEN, CARL):
            await writer.submit(JoinRoom(f"j{who.user_id}", room), who, "")
        async with following(url, pool, bus, notifier):
            yield writer, notifier, room


async def mention(pool: Pool, room: str, sequence: int, *users: str, everybody: bool = False) -> None:
    """Change a message so that it mentions users, as messages do that say whom."""
    data = {"body": f"hello {sequence}", "mentions": list(users)} | ({"mention_all": True} if everybody else {})
    await pool.fetch(
        "UPDATE chat.events SET data = $3::json WHERE room_id = $1 AND sequence = $2",
        key_of(room), sequence, msgspec.json.encode(data).decode(),
    )  # fmt: skip


async def listed(pool: Pool, who: Identity = BEN) -> list[tuple[int, str, int, str, bool]]:
    page = await inbox.page(pool, who, ListNotifications())
    return [
        (one.sequence, one.data.cause, one.data.event, one.data.text, one.data.read)
        for one in reversed(page.notifications)
    ]


async def test_each_cause_is_told_to_whom_it_concerns(database_url: str, pool: Pool, bus: Bus):
    async with scene(database_url, pool, bus) as (writer, _, room):
        bens = await send(writer, room, 1, BEN)
        await writer.submit(SendMessage("r1", room, "an answer", bens), ANN, "")
        await writer.submit(SendMessage("r2", room, "to oneself", bens), BEN, "")
        await send(writer, room, 2)
        await writer.submit(InviteUser("i", room, UserRef("u_dan")), ANN, "")
        private = await create(writer, command_id="p", kind="private")
        await writer.submit(InviteUser("i", private, UserRef("u_ben")), ANN, "")
        await until(lambda: rows(pool, 3), "three are told")
        assert await listed(pool) == [(1, "reply", 5, "an answer", False), (2, "invitation", 2, "", False)]
        page = await inbox.page(pool, BEN, ListNotifications(limit=1))
        assert (page.more, page.unread, page.notifications[0].data.name) == (True, 2, "General")
        assert (await inbox.page(pool, BEN, ListNotifications(after=2))).notifications[0].sequence == 1
        assert [one[1] for one in await listed(pool, Identity("u_dan", ""))] == ["invitation"]
        assert await listed(pool, ANN) == []


async def test_who_has_blocked_somebody_is_not_notified_of_them(database_url: str, pool: Pool, bus: Bus):
    async with scene(database_url, pool, bus) as (writer, _, room):
        await blocks.block(pool, BEN, BlockUser("u_ann"))
        bens = await send(writer, room, 1, BEN)
        await writer.submit(SendMessage("r1", room, "from who is blocked", bens), ANN, "")
        await writer.submit(SendMessage("r2", room, "from another", bens), CARL, "")
        await until(lambda: rows(pool, 1), "one is told")
        assert [text for _, _, _, text, _ in await listed(pool)] == ["from another"]


async def rows(pool: Pool, count: int) -> bool:
    return await pool.fetchval("SELECT count(*) FROM chat.notifications") == count


async def consumed(pool: Pool, notifier: Notifier, *, mentions: dict[int, tuple[str, ...]], room: str) -> list[Any]:
    """The events of a room as a consumer is handed them."""
    for sequence, users in mentions.items():
        named = tuple(user for user in users if user)
        await mention(pool, room, sequence, *named, everybody="" in users)
    found = await pool.fetch(
        f"SELECT {EVENT_COLUMNS} FROM chat.events e WHERE room_id = $1 ORDER BY sequence", key_of(room)
    )
    return [handing._log_event(recorded_row(row)) for row in found]


async def test_mentions_reactions_and_direct_rooms_are_told_once_and_in_order(database_url: str, pool: Pool, bus: Bus):
    notifier = Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody)
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        for who in (BEN, CARL):
            await writer.submit(JoinRoom(f"j{who.user_id}", room), who, "")
        for number in range(4):
            await send(writer, room, number)
        events = await consumed(
            pool, notifier, room=room, mentions={4: ("u_ben", "u_nobody"), 5: ("",), 6: ("u_ben", "u_carl", "")}
        )
        # Several times, in any pieces, and by two processes at once.
        await notifier.consume(events)
        await notifier.consume(events[3:])
        await asyncio.gather(
            *(Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody).consume(events) for _ in range(2))
        )
    assert await listed(pool) == [(n, "mention", n + 3, f"hello {n + 3}", False) for n in (1, 2, 3)]
    assert [one[2] for one in await listed(pool, CARL)] == [5, 6]
    assert await listed(pool, Identity("u_nobody", "")) == []
    counted = await pool.fetch("SELECT user_id, sequence FROM chat.mentions ORDER BY sequence, user_id")
    assert [tuple(row) for row in counted] == [("u_ben", 4), ("", 5), ("", 6), ("u_ben", 6), ("u_carl", 6)]
    heads = await pool.fetch("SELECT user_id, head FROM chat.inboxes ORDER BY user_id")
    assert [tuple(row) for row in heads] == [("u_ben", 3), ("u_carl", 2)]


async def test_a_process_that_dies_between_append_and_publication_loses_and_doubles_nothing(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    heard: list[tuple[str, int]] = []

    def receive(data: bytes) -> None:
        heard.extend((item.event, item.sequence) for item in decode(data, Delivery).events if item.sequence)

    bus.listen(subjects.room(NAMESPACE, "user:u_ben"), receive)
    await bus.flush()
    died: list[str] = []
    tell, append = Notifier._tell, inbox_store.append

    async def dies_before_telling(self: Notifier, told: Any) -> None:
        if "telling" not in died:
            died.append("telling")
            raise ConnectionError("killed before the publication")
        await tell(self, told)

    async def dies_before_appending(*args: Any) -> None:
        if "appending" not in died:
            died.append("appending")
            raise ConnectionError("killed before the append")
        await append(*args)

    async def dies_before_saving(*args: Any) -> bool:
        if "saving" not in died:
            died.append("saving")
            raise ConnectionError("killed before the place was stored")
        return await save(*args)

    save = store.save
    monkeypatch.setattr(Notifier, "_tell", dies_before_telling)
    monkeypatch.setattr(inbox_store, "append", dies_before_appending)
    async with scene(database_url, pool, bus) as (writer, _, room):
        monkeypatch.setattr(store, "save", dies_before_saving)
        bens = await send(writer, room, 1, BEN)
        for number in range(5):
            await writer.submit(SendMessage(f"r{number}", room, f"answer {number}", bens), ANN, "")
        await until(lambda: {sequence for _, sequence in heard} == {1, 2, 3, 4, 5}, "all are told")
        await until(lambda: len(died) == 3, "it was killed at each step")
        await writer.submit(SendMessage("last", room, "the last", bens), ANN, "")
        await until(lambda: ("notification", 6) in heard, "it goes on")
    assert [one[0] for one in await listed(pool)] == [1, 2, 3, 4, 5, 6]


async def test_levels_and_silenced_causes_are_heeded(database_url: str, pool: Pool, bus: Bus):
    notifier = Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody)
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        for who in (BEN, CARL):
            await writer.submit(JoinRoom(f"j{who.user_id}", room), who, "")
        bens, carls = await send(writer, room, 1, BEN), await send(writer, room, 2, CARL)
        await writer.submit(SendMessage("a", room, "to Ben", bens), ANN, "")
        await writer.submit(SendMessage("b", room, "to Carl", carls), ANN, "")
        await send(writer, room, 3)
        events = await consumed(pool, notifier, mentions={8: ("u_carl",)}, room=room)
        await set_level(pool, BEN, SetLevel(room, "none"))
        await update(pool, CARL, SetPreferences(silenced=["reply"]))
        await notifier.consume(events)
        assert await listed(pool) == []
        assert [one[1] for one in await listed(pool, CARL)] == ["mention"]
        assert await pool.fetchval("SELECT count(*) FROM chat.mentions") == 1, "what is silent is counted all the same"
        await set_level(pool, BEN, SetLevel(room, "mentions"))
        await notifier.consume(events)
        assert [one[3] for one in await listed(pool)] == ["to Ben"]
        assert (await rejected(set_level(pool, BEN, SetLevel("r" + "a" * 13, "none")))).code is Code.NOT_FOUND


async def test_what_is_read_in_a_room_is_read_as_notification_on_all_devices(database_url: str, pool: Pool, bus: Bus):
    async with scene(database_url, pool, bus) as (writer, notifier, room):
        signals: list[Any] = []

        def receive(data: bytes) -> None:
            items = decode(data, Delivery).events
            signals.extend(msgspec.json.decode(item.payload) for item in items if item.event == "notification.read")

        bus.listen(subjects.room(NAMESPACE, "user:u_ben"), receive)
        await bus.flush()
        cursors = ReadCursors(pool, RoomPublisher(bus, NAMESPACE))
        cursors.on_moved = notifier.cursors_moved
        bens = await send(writer, room, 1, BEN)
        sequences = [
            (await writer.submit(SendMessage(f"r{n}", room, f"answer {n}", bens), ANN, "")).sequence for n in range(4)
        ]
        await until(lambda: rows(pool, 4), "four are told")
        async with Tasks() as tasks:
            tasks.forever(cursors.run(), name="read cursors")
            await cursors.read(BEN, MarkRead(room, sequences[1]))
            await until(lambda: signals, "the devices are told")
        assert signals.pop() == {"unread": 2, "sequences": [1, 2]}
        assert [one[4] for one in await listed(pool)] == [True, True, False, False]
        assert (await notifier.read(BEN, ReadNotifications(sequences=[4, 9]))).unread == 1
        assert (await notifier.read(BEN, ReadNotifications(up_to=99))).unread == 0
        await until(lambda: len(signals) == 2, "each time")
        assert signals == [{"unread": 1, "sequences": [4]}, {"unread": 0, "up_to": 99}]
        assert (await rejected(notifier.read(BEN, ReadNotifications()))).code is Code.INVALID_PAYLOAD
        # What is read before anybody was notified of it is read.
        await cursors.read(BEN, MarkRead(room, sequences[-1]))
        await cursors.flush()
        await pool.fetch("DELETE FROM chat.notifications")
        await notifier.consume(await consumed(pool, notifier, mentions={}, room=room))
        assert {one[4] for one in await listed(pool)} == {True}


async def test_a_cursor_moves_together_with_what_is_read_by_it_or_not_at_all(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    async with scene(database_url, pool, bus) as (writer, notifier, room):
        bens = await send(writer, room, 1, BEN)
        last = (await writer.submit(SendMessage("r", room, "an answer", bens), ANN, "")).sequence
        await until(lambda: rows(pool, 1), "one is told")
        failures = [ConnectionError("killed between the two")]
        mark = inbox_store.read_in_rooms

        async def dies(*args: Any) -> Any:
            if failures:
                raise failures.pop()
            return await mark(*args)

        monkeypatch.setattr(inbox_store, "read_in_rooms", dies)
        cursors = ReadCursors(pool, RoomPublisher(bus, NAMESPACE))
        cursors.on_moved = notifier.cursors_moved
        async with Tasks() as tasks:
            tasks.forever(cursors.run(), name="read cursors")
            await cursors.read(BEN, MarkRead(room, last))
            await until(lambda: read(pool), "the notification is read")
        assert failures == []


async def read(pool: Pool) -> bool:
    return (await listed(pool))[0][4]


async def test_a_users_own_room_is_replayed_without_gaps_whatever_was_deleted(database_url: str, pool: Pool, bus: Bus):
    async with scene(database_url, pool, bus) as (writer, _, room):
        bens = await send(writer, room, 1, BEN)
        for number in range(5):
            await writer.submit(SendMessage(f"r{number}", room, f"answer {number}", bens), ANN, "")
        await until(lambda: rows(pool, 5), "five are told")
    await pool.fetch("DELETE FROM chat.notifications WHERE sequence IN (2, 5)")
    asked = [
        Replay("user:u_ben", 1, 500),
        Replay("user:u_ben", 0, 2),
        Replay("user:u_ben", 9, 5),
        Replay("user:x", 0, 5),
    ]
    answers = await inbox.replay(pool, asked)
    assert [item.sequence for item in answers[asked[0]].events] == [2, 3, 4, 5]
    events = [msgspec.json.decode(item.payload) for item in answers[asked[0]].events]
    assert [event.get("erased", False) for event in events] == [True, False, False, True]
    assert events[1]["data"] == {
        "cause": "reply", "type": "message.sent", "room": room, "event": 7, "message": 4, "name": "General",
        "text": "answer 2",
    }  # fmt: skip
    assert [item.sequence for item in answers[asked[1]].events] == [1, 2]
    assert (answers[asked[2]].events, answers[asked[2]].head) == ([], 5)
    assert (answers[asked[3]].events, answers[asked[3]].head) == ([], 0)


async def test_who_may_not_see_a_room_any_more_is_shown_nothing_of_it(database_url: str, pool: Pool, bus: Bus):
    async with scene(database_url, pool, bus) as (writer, _, _room):
        private = await create(writer, command_id="p", kind="private")
        await writer.submit(InviteUser("i", private, UserRef("u_ben")), ANN, "")
        await writer.submit(JoinRoom("j", private), BEN, "")
        bens = await send(writer, private, 1, BEN)
        await writer.submit(SendMessage("a", private, "secret", bens), ANN, "")
        await until(lambda: rows(pool, 2), "two are told")
        assert [one[3] for one in await listed(pool)] == ["", "secret"]
        await writer.submit(LeaveRoom("l", private), BEN, "")
        page = await inbox.page(pool, BEN, ListNotifications())
        assert {(one.data.text, one.data.name) for one in page.notifications} == {("", "")}


async def test_erasures_take_mentions_and_notifications_with_them(
    database_url: str, pool: Pool, bus: Bus, tmp_path: Path
):
    ledger = Ledger(tmp_path / "erasures")
    async with scene(database_url, pool, bus) as (writer, _, room):
        bens = await send(writer, room, 1, BEN)
        first = (await writer.submit(SendMessage("a", room, "one", bens), ANN, "")).sequence
        await writer.submit(SendMessage("b", room, "two", bens), CARL, "")
        await writer.submit(SendMessage("c", room, "three", bens), ANN, "")
        await until(lambda: rows(pool, 3), "three are told")
        await pool.fetch("INSERT INTO chat.mentions VALUES ($1, 'u_ben', $2, 'u_ann', now())", key_of(room), first)
        async with pool.acquire() as connection:
            message = await erasures.request_message(connection, room, first)
        assert [one[3] for one in await listed(pool)] == ["", "two", "three"], "hidden at once"
        await wait_until_completed(database_url, ledger, message, lambda _: None)
        await until(lambda: rows(pool, 2), "and then deleted")
        assert await pool.fetchval("SELECT count(*) FROM chat.mentions") == 0
    # Nobody follows the log any more, and so the erasures of users do not wait for anybody who announces.
    async with pool.acquire() as connection:
        author = await erasures.request_user(connection, "u_carl")
        await wait_until_completed(database_url, ledger, author, lambda _: None)
        assert [one[3] for one in await listed(pool)] == ["three"]
        user = await erasures.request_user(connection, "u_ben")
        await wait_until_completed(database_url, ledger, user, lambda _: None)
    assert await pool.fetchval("SELECT count(*) FROM chat.notifications") == 0
    assert await pool.fetchval("SELECT count(*) FROM chat.inboxes WHERE user_id = 'u_ben'") == 0


async def test_old_notifications_are_deleted_and_heads_are_said_again(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notifying, "HEADS_SECONDS", 0.05)
    monkeypatch.setattr(notifying, "TIDY_SECONDS", 0.1)
    heads: list[tuple[str, int]] = []
    bus.listen(
        subjects.advanced_heads(NAMESPACE),
        lambda data: heads.extend((head.room, head.head) for head in decode(data, RoomHeads).heads),
    )
    await bus.flush()
    async with scene(database_url, pool, bus) as (writer, notifier, room), Tasks() as tasks:
        tasks.forever(notifier.run(), name="notifications")
        bens = await send(writer, room, 1, BEN)
        for number in range(2):
            await writer.submit(SendMessage(f"r{number}", room, f"answer {number}", bens), ANN, "")
        await until(lambda: ("user:u_ben", 2) in heads, "the head is said again")
        await pool.fetch("UPDATE chat.notifications SET at = now() - interval '91 days' WHERE sequence = 1")
        await until(lambda: rows(pool, 1), "the old one is deleted")


async def test_plain_messages_are_not_even_read(database_url: str, pool: Pool, bus: Bus):
    handed: list[int] = []

    class Counting(Notifier):
        async def consume(self, events: list[Any]) -> None:
            handed.extend(event.sequence for event in events)
            await super().consume(events)

    notifier = Counting(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody)
    async with running_writer(database_url) as (writer, _), following(database_url, pool, bus, notifier):
        room = await create(writer)
        for number in range(20):
            await send(writer, room, number)
        await writer.submit(SendMessage("a", room, "an answer", 5), ANN, "")
        direct = await create(writer, command_id="d", kind="private")
        await pool.fetch("UPDATE chat.rooms SET kind = 'direct' WHERE room_id = $1", key_of(direct))
        await pool.fetch(
            """INSERT INTO chat.members (room_id, user_id, name, state, role, sequence)
               VALUES ($1, 'u_ben', 'Ben', 'joined', 'member', 1)""",
            key_of(direct),
        )
        await send(writer, direct, 30)
        await until(lambda: rows(pool, 1), "the direct message is told")
    assert sorted(handed) == [2, 22]
    assert [one[1] for one in await listed(pool)] == ["direct"]


async def test_an_edit_is_shown_and_what_was_deleted_is_unread_no_more(database_url: str, pool: Pool, bus: Bus):
    told: list[Any] = []

    async def hear(message: Any) -> None:
        told.extend(msgspec.json.decode(one.payload) for one in decode(message.data, Delivery).events)

    await bus.subscribe(subjects.room(NAMESPACE, "user:u_ben"), hear)
    async with scene(database_url, pool, bus) as (writer, _, room):
        said = [
            (await writer.submit(SendMessage(f"s{n}", room, f"first {n}", mentions=("u_ben",)), ANN, "")).sequence
            for n in range(2)
        ]
        await until(lambda: rows(pool, 2), "both are told")
        await writer.submit(EditMessage("e", room, said[0], "second", 1), ANN, "")
        assert [one[3] for one in await listed(pool)] == ["second", "first 1"]
        await writer.submit(DeleteMessage("d", room, said[1]), ANN, "")
        await until(lambda: rows(pool, 1), "one is gone")
        assert await pool.fetchval("SELECT array_agg(sequence) FROM chat.mentions") == [said[0]]
        assert (await inbox.page(pool, BEN, ListNotifications())).unread == 1
        await until(lambda: {"unread": 1, "sequences": [2]} in told, "and it is told")
