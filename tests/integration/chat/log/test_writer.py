"""Group commit on real Postgres: order, idempotency, isolation of neighbours, replicas, projections."""

from __future__ import annotations

import asyncio
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom, UpdateRoom
from parley.chat.log import database, event_store
from parley.chat.log.database import Pool
from parley.chat.log.writer import LATE_SECONDS, SMALL_BATCH
from parley.chat.projections.rebuild import rebuild
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MembershipChange
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until


async def test_one_senders_messages_get_consecutive_sequences_in_the_order_sent(database_url: str):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        sequences = await asyncio.gather(*(send(writer, room, n) for n in range(700)))
    assert list(sequences) == list(range(2, 702))


async def test_what_waits_is_committed_together_and_more_of_it_where_a_commit_takes_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    append = event_store.append

    async def slow(*args: Any, **options: Any) -> event_store.AppendResult:
        await asyncio.sleep(0.02)
        return await append(*args, **options)

    monkeypatch.setattr(event_store, "append", slow)
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await asyncio.gather(*(send(writer, room, n) for n in range(400)))
    assert [len(decision.appended) for decision in publisher.decisions] == [1, SMALL_BATCH, 400 - SMALL_BATCH]


async def test_the_next_batch_is_with_postgres_while_the_one_before_is_told_and_is_told_after_it(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        publish, gate = publisher.publish, asyncio.Event()

        async def wait(decision: BatchDecision) -> None:
            await gate.wait()
            await publish(decision)

        monkeypatch.setattr(writer, "_publish", wait)
        sent = [asyncio.create_task(send(writer, room, n)) for n in range(2 * SMALL_BATCH)]

        async def committed() -> bool:
            return await pool.fetchval("SELECT head FROM chat.rooms") > 1 + SMALL_BATCH

        await until(committed)
        assert (len(publisher.decisions), [one.done() for one in sent]) == (1, [False] * len(sent))
        gate.set()
        assert await asyncio.gather(*sent) == list(range(2, 2 + len(sent)))
    told = [recorded.sequence for decision in publisher.decisions for recorded in decision.appended]
    assert told == list(range(1, 2 + len(sent)))


async def test_a_resent_command_returns_the_first_result_and_appends_nothing(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        first = await writer.submit(SendMessage("once", room, "hello"), ANN, "a")
        again = await writer.submit(SendMessage("once", room, "hello"), ANN, "b")
        together = await asyncio.gather(*(writer.submit(SendMessage("twin", room, "x"), ANN, "c") for _ in range(3)))
        assert first.recorded is not None
        assert again.recorded is not None
        assert (again.sequence, again.recorded.event_id, again.recorded.recorded_at) == (
            first.sequence,
            first.recorded.event_id,
            first.recorded.recorded_at,
        )
        assert len({accepted.sequence for accepted in together}) == 1
        assert sum(len(decision.appended) for decision in publisher.decisions) == 3
        assert await create(writer) == room
    assert await pool.fetchval("SELECT count(*) FROM chat.events") == 3


async def test_a_resend_is_recognised_by_another_replica(database_url: str, pool: Pool):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        rooms = await asyncio.gather(*(create(writer) for writer in (one, two, one, two)))
        results = await asyncio.gather(*(w.submit(SendMessage("m", rooms[0], "x"), ANN, "") for w in (one, two) * 5))
    assert len(set(rooms)) == 1
    assert {accepted.sequence for accepted in results} == {2}
    assert await pool.fetchval("SELECT count(*) FROM chat.events") == 2


async def test_the_same_id_with_another_body_is_a_conflict(database_url: str):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(SendMessage("m", room, "one"), ANN, "")
        with pytest.raises(Reject) as caught:
            await writer.submit(SendMessage("m", room, "two"), ANN, "")
        assert caught.value.code is Code.ID_CONFLICT


async def test_two_people_may_use_the_same_command_id(database_url: str):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        mine = await writer.submit(SendMessage("m", room, "one"), ANN, "")
        theirs = await writer.submit(SendMessage("m", room, "two"), BEN, "")
    assert theirs.sequence == mine.sequence + 1


async def test_a_rejected_command_leaves_its_neighbours_alone(database_url: str):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        results = await asyncio.gather(
            send(writer, room, 1),
            writer.submit(SendMessage("x", public_room_id(7), "x"), ANN, ""),
            writer.submit(SendMessage("y", room, "x"), BEN, ""),
            send(writer, room, 2),
            return_exceptions=True,
        )
    assert (results[0], results[3]) == (2, 3)
    assert [r.code for r in results if isinstance(r, Reject)] == [Code.NOT_FOUND, Code.NOT_A_MEMBER]


async def test_a_command_that_postgres_refuses_fails_alone(database_url: str, pool: Pool):
    await pool.fetch("ALTER TABLE chat.events ADD CONSTRAINT poison CHECK (data->>'body' IS DISTINCT FROM 'poison')")
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        bodies = ["a", "b", "poison", "c", "d"]
        results = await asyncio.gather(
            *(writer.submit(SendMessage(f"m{n}", room, body), ANN, "") for n, body in enumerate(bodies)),
            return_exceptions=True,
        )
    outcome = [
        r.code if isinstance(r, Reject) else r.sequence
        for r in results
        if not isinstance(r, BaseException) or isinstance(r, Reject)
    ]
    assert outcome == [2, 3, Code.INTERNAL, 4, 5]


async def test_replicas_share_a_room_without_gaps_or_deadlocks(database_url: str, pool: Pool):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        rooms = [await create(one, command_id=f"c{n}") for n in range(5)]
        pick = random.Random(7)
        sends = [send(pick.choice((one, two)), pick.choice(rooms), number) for number in range(600)]
        await asyncio.gather(*sends)
    for room in rooms:
        sequences = [
            row["sequence"]
            for row in await pool.fetch(
                "SELECT sequence FROM chat.events WHERE room_id = $1 ORDER BY sequence", room_key(room)
            )
        ]
        assert sequences == list(range(1, len(sequences) + 1))
        assert await pool.fetchval("SELECT head FROM chat.rooms WHERE room_id = $1", room_key(room)) == len(sequences)


async def test_the_limit_of_rooms_per_user_holds_within_one_batch_too(database_url: str):
    async with running_writer(database_url, chat_max_rooms=5) as (writer, _):
        results = await asyncio.gather(
            *(writer.submit(CreateRoom(f"c{n}", "R"), ANN, "") for n in range(8)), return_exceptions=True
        )
        with pytest.raises(Reject) as caught:
            await create(writer, command_id="later")
    assert [r.code for r in results if isinstance(r, Reject)] == [Code.LIMIT_EXCEEDED] * 3
    assert caught.value.code is Code.LIMIT_EXCEEDED


async def test_more_waiting_commands_than_allowed_are_told_to_come_back(database_url: str):
    async with running_writer(database_url, chat_max_waiting=10) as (writer, _):
        room = await create(writer)
        results = await asyncio.gather(*(send(writer, room, n) for n in range(30)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, Reject)]
    assert len(refused) == 20
    assert all(r.code is Code.OVERLOADED and r.retryable for r in refused)


async def test_one_user_does_not_fill_the_queue_for_all(database_url: str):
    async with running_writer(database_url, chat_max_waiting_per_user=10) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        results = await asyncio.gather(
            *(send(writer, room, n) for n in range(30)), send(writer, room, 1, BEN), return_exceptions=True
        )
        assert sum(isinstance(r, Reject) and r.code is Code.OVERLOADED for r in results) == 20
        assert results[-1] == 13
        assert await send(writer, room, 31) == 14


async def test_projections_rebuilt_from_the_log_come_out_identical(database_url: str, pool: Pool):
    users = [Identity(f"u{n}", f"User {n}") for n in range(6)]
    pick = random.Random(11)
    async with running_writer(database_url) as (writer, _):
        rooms = [
            await create(writer, pick.choice(users), f"c{n}", kind=pick.choice(["public", "private"])) for n in range(6)
        ]
        waiting = await create(writer, users[0], "last")
        await writer.submit(InviteUser("invite", waiting, UserRef("u_away")), users[0], "")
        await writer.submit(InviteUser("invite too", waiting, UserRef("u_no")), users[0], "")
        await writer.submit(LeaveRoom("no", waiting), Identity("u_no", "No"), "")
        for number in range(300):
            room, actor, other = pick.choice(rooms), pick.choice(users), pick.choice(users)
            choices: list[ChatCommand] = [
                JoinRoom(f"x{number}", room),
                LeaveRoom(f"x{number}", room),
                SendMessage(f"x{number}", room, "hi"),
                InviteUser(f"x{number}", room, UserRef(other.user_id)),
                UpdateRoom(f"x{number}", room, "Plans", pick.choice([None, "Summer"])),
                UpdateRoom(f"x{number}", room, None, f"Topic {number}"),
            ]
            if number > 280:
                choices.append(ArchiveRoom(f"x{number}", room))
            command = pick.choice(choices)
            await asyncio.gather(writer.submit(command, actor, ""), return_exceptions=True)
    before = await _projections(pool)
    async with pool.acquire() as connection:
        await connection.execute("UPDATE chat.rooms SET head = 0, member_count = 99")
        await connection.execute("DELETE FROM chat.members WHERE user_id = 'u1'")
        await connection.execute("DELETE FROM chat.declined")
        rebuilt = await rebuild(connection)
        assert rebuilt.rooms == len(rooms) + 1
        assert rebuilt.corrected > len(rooms)
    assert await _projections(pool) == before
    assert any(row["state"] == "invited" for row in before[1])
    assert before[2], "somebody declined"
    assert any(row["topic"] for row in before[0])


async def _projections(pool: Pool) -> tuple[list[Any], list[Any], list[Any]]:
    rooms = await pool.fetch("SELECT * FROM chat.rooms ORDER BY room_id")
    members = await pool.fetch("SELECT * FROM chat.members ORDER BY room_id, user_id")
    return rooms, members, await pool.fetch("SELECT * FROM chat.declined ORDER BY room_id, user_id")


async def test_who_declined_is_not_invited_again_before_a_while_has_passed(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _), running_writer(database_url) as (other, _):
        room = await create(writer, kind="private")
        await writer.submit(InviteUser("i1", room, UserRef("u_ben")), ANN, "")
        shown = await pool.fetch("SELECT name FROM chat.members WHERE user_id = 'u_ben'")
        assert [row["name"] for row in shown] == ["u_ben"], "no name before they say one"
        await writer.submit(LeaveRoom("no", room), BEN, "")
        for number, process in enumerate((writer, other)):
            with pytest.raises(Reject) as caught:
                await process.submit(InviteUser(f"again{number}", room, UserRef("u_ben")), ANN, "")
            assert caught.value.code is Code.FORBIDDEN
        await pool.fetch("UPDATE chat.declined SET declined_at = declined_at - interval '1 day'")
        invited = await other.submit(InviteUser("later", room, UserRef("u_ben")), ANN, "")
        assert invited.sequence == 4


async def test_a_resent_join_or_leave_tells_the_gateways_again(database_url: str):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        joined = await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(JoinRoom("another id", room), BEN, "")
        left = await writer.submit(LeaveRoom("l", room), BEN, "")
        await writer.submit(LeaveRoom("l", room), BEN, "")
        await writer.submit(JoinRoom("j", room), BEN, "")
        said = [move for decision in publisher.decisions for move in decision.confirmed]
    assert said == [
        ("u_ben", MembershipChange(room, True, joined.sequence)),
        ("u_ben", MembershipChange(room, True, joined.sequence)),
        ("u_ben", MembershipChange(room, False, left.sequence)),
    ]


async def test_a_resent_command_has_its_event_published_again(database_url: str):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        sequence = await send(writer, room, 1)
        (sent,) = publisher.decisions[-1].appended
        assert await send(writer, room, 1) == sequence
    assert [repeated.event_id for repeated in publisher.decisions[-1].repeated.values()] == [sent.event_id]
    assert not publisher.decisions[-1].appended


async def test_a_name_longer_than_chat_would_take_from_a_client_harms_nothing(database_url: str, pool: Pool):
    stranger = Identity("u_long", "N" * 300)
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), stranger, "")
        assert publisher.decisions[-1].appended[0].event().TYPE == "member.joined"
        await send(writer, room, 1, stranger)
    async with pool.acquire() as connection:
        assert await rebuild(connection) == (1, 0)


async def test_nothing_is_acked_or_published_before_its_commit(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, publisher), pool.acquire() as blocker:
        room = await create(writer)
        # A deferred trigger runs within COMMIT, and waits there for this lock.
        await blocker.execute(
            """CREATE FUNCTION chat.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END'"""
        )
        await blocker.execute(
            """CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON chat.events
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chat.wait_at_commit()"""
        )
        await blocker.execute("SELECT pg_advisory_lock(42)")
        acked = asyncio.create_task(send(writer, room, 1))
        await until(
            lambda: pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"),
            "the other one waits for the lock",
        )
        assert not acked.done()
        assert len(publisher.decisions) == 1
        await blocker.execute("SELECT pg_advisory_unlock(42)")
        assert await acked == 2
        assert len(publisher.decisions) == 2


@pytest.mark.parametrize("way", ["short", "long"])
async def test_what_a_process_that_stood_still_has_committed_is_left_to_the_announcer_to_tell(
    database_url: str, monkeypatch: pytest.MonkeyPatch, way: str
):
    """It may have been asked to be erased meanwhile, which nobody who publishes looks for."""
    statement = "append" if way == "short" else "save"
    stood = 0.0
    execute = getattr(event_store, statement)

    async def stand_still(*args: Any, **options: Any) -> Any:
        nonlocal stood
        done = await execute(*args, **options)
        stood += LATE_SECONDS
        return done

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + stood)
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await send(writer, room, 1)
        monkeypatch.setattr("parley.chat.log.writer.time", clock)
        monkeypatch.setattr(event_store, statement, stand_still)
        sent = SendMessage("held up", room, "x") if way == "short" else JoinRoom("held up", room)
        accepted = await writer.submit(sent, ANN if way == "short" else BEN, "")
        assert accepted.sequence == 3
        monkeypatch.setattr(event_store, statement, execute)
        assert await send(writer, room, 3) == 4
    assert [event.sequence for decision in publisher.decisions for event in decision.appended] == [1, 2, 4]


async def test_commits_wait_for_the_disk_whatever_the_servers_default_is(database_url: str, pool: Pool):
    await pool.fetch(f"ALTER DATABASE {await pool.fetchval('SELECT current_database()')} SET synchronous_commit = off")
    async with database.connect(database_url, 1) as fresh:
        assert await fresh.fetchval("SHOW synchronous_commit") == "on"


async def test_an_error_of_our_own_over_a_locked_room_ends_neither_the_writer_nor_anybodys_wait(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, _), pool.acquire() as holder:
        room = await create(writer)
        long = writer._write_long

        async def fail(batch: Any, *, wait: bool) -> None:
            if not wait and writer._aside_rooms:
                raise KeyError("a bug")
            await long(batch, wait=wait)

        monkeypatch.setattr(writer, "_write_long", fail)
        async with holder.transaction():
            await holder.execute("SELECT FROM chat.rooms FOR UPDATE")
            with pytest.raises(Reject) as caught:
                await send(writer, room, 1)
            assert caught.value.code is Code.INTERNAL
        assert await send(writer, room, 1) == 2
