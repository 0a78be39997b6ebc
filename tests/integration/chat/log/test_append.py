"""The short way of a message into the log: one statement, on what is known of its room, and what may not go wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from parley.chat.domain.batch_state import Accepted, Submission
from parley.chat.domain.draft import Drafts
from parley.chat.domain.encoding.room_ids import LogSecret, room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import ArchiveRoom
from parley.chat.log import event_store, own_connection, statements
from parley.chat.log import writer as writing
from parley.chat.log.database import Pool
from parley.chat.log.writer import COMMANDS_BY_WAY, SMALL_BATCH, Writer
from parley.common.errors import Code, Reject
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.proxy import Proxy
from tests.support.waiting import until


def by_way(way: str) -> float:
    return COMMANDS_BY_WAY.labels(way)._value.get()


class Statements:
    """Counts what is asked of Postgres."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        fetch = asyncpg.Connection.fetch

        async def counted(connection: Any, query: str, *args: Any, **kwargs: Any) -> Any:
            self.asked.append(query)
            return await fetch(connection, query, *args, **kwargs)

        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)


async def refuse(pool: Pool, body: str, code: str) -> None:
    """Have the commit of a message with this text fail."""
    await pool.fetch(
        f"""CREATE FUNCTION chat.refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN
                IF NEW.data->>'body' = '{body}' THEN RAISE 'no' USING ERRCODE = '{code}'; END IF;
                RETURN NULL;
            END$$"""
    )
    await pool.fetch(
        """CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON chat.events
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chat.refuse()"""
    )


async def test_messages_to_a_known_room_are_one_statement(database_url: str, monkeypatch: pytest.MonkeyPatch):
    async with running_writer(database_url) as (writer, _), running_writer(database_url) as (other, _):
        room = await create(writer)
        await send(other, room, 200)
        asked, short = Statements(monkeypatch).asked, by_way("short")
        await asyncio.gather(*(send(writer, room, n) for n in range(SMALL_BATCH)))
        await asyncio.gather(*(send(other, room, 100 + n) for n in range(SMALL_BATCH)))
    assert len(asked) == 2
    assert by_way("short") - short == 2 * SMALL_BATCH


async def test_a_message_to_an_unknown_room_asks_once_and_then_goes_the_short_way(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
    async with running_writer(database_url) as (writer, _):
        asked = Statements(monkeypatch).asked
        assert await send(writer, room, 1) == 2
    assert len(asked) == 2


async def test_commands_of_who_is_no_member_have_nobodys_decided_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    drafted: list[int] = []
    draft = writing.draft

    def counted(submissions: list[Submission], *how: Any) -> Drafts:
        drafted.append(len(submissions))
        return draft(submissions, *how)

    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await send(writer, room, 0)
        monkeypatch.setattr(writing, "draft", counted)
        sent = await asyncio.gather(send(writer, room, 1), send(writer, room, 1, BEN), return_exceptions=True)
    assert (sent[0], type(sent[1]), drafted) == (3, Reject, [2])


async def test_what_is_known_of_a_room_is_not_trusted_when_it_changed_elsewhere(database_url: str):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        room = await create(one)
        await one.submit(JoinRoom("j", room), BEN, "")
        await send(one, room, 1, BEN)
        await send(two, room, 2, BEN)
        await two.submit(LeaveRoom("l", room), BEN, "")
        with pytest.raises(Reject) as caught:
            await send(one, room, 3, BEN)
        assert caught.value.code is Code.NOT_A_MEMBER
        assert await send(one, room, 2, BEN) == 4, "a resend by who has left"
        await two.submit(ArchiveRoom("a", room), ANN, "")
        with pytest.raises(Reject) as caught:
            await send(one, room, 4)
        assert caught.value.code is Code.ROOM_ARCHIVED


async def test_a_no_never_comes_from_what_is_known(database_url: str):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        room = await create(one)
        await one.submit(JoinRoom("j", room), BEN, "")
        await one.submit(LeaveRoom("l", room), BEN, "")
        await two.submit(JoinRoom("j2", room), BEN, "")
        assert await send(one, room, 1, BEN) == 5
        assert (await one.submit(SendMessage("reply", room, "re", 5), ANN, "")).sequence == 6
        await send(two, room, 2)
        assert (await one.submit(SendMessage("reply2", room, "re", 7), ANN, "")).sequence == 8, (
            "a head one has not seen"
        )


async def test_a_commit_that_fails_is_no_ack_and_fails_nobody_else(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await send(writer, room, 1)
        await refuse(pool, "text 3", "23514")
        results = await asyncio.gather(*(send(writer, room, n) for n in (2, 3, 4)), return_exceptions=True)
    assert [r.code if isinstance(r, Reject) else r for r in results] == [3, Code.INTERNAL, 4]
    assert [event.sequence for decision in publisher.decisions for event in decision.appended] == [1, 2, 3, 4]


async def test_what_is_no_commands_fault_is_told_to_all_at_once_and_nothing_is_tried_again(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await refuse(pool, "text 3", "53100")  # disk_full
        asked = Statements(monkeypatch).asked
        results = await asyncio.gather(*(send(writer, room, n) for n in range(SMALL_BATCH)), return_exceptions=True)
        assert {r.code for r in results if isinstance(r, Reject)} == {Code.UNAVAILABLE}
        assert len(asked) == 1
        assert len(publisher.decisions) == 1
        assert await send(writer, room, 60) == 2


@pytest.mark.parametrize("bodies", [("same", "same"), ("one", "other")])
async def test_one_resend_sends_only_itself_the_long_way(
    database_url: str, bodies: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(SendMessage("again", room, bodies[0]), ANN, "")
        long = by_way("long")
        again = writer.submit(SendMessage("again", room, bodies[1]), ANN, "")
        sequences = await asyncio.gather(
            *(send(writer, room, n, BEN) for n in range(20)), *(send(writer, room, n) for n in range(20, 40))
        )
        (resent,) = await asyncio.gather(again, return_exceptions=True)
    assert sorted(sequences) == list(range(4, 44))
    if bodies[0] == bodies[1]:
        assert not isinstance(resent, BaseException)
        assert resent.sequence == 3
        assert [event.sequence for decision in publisher.decisions for event in decision.repeated.values()] == [3]
    else:
        assert isinstance(resent, Reject)
        assert resent.code is Code.ID_CONFLICT
    assert by_way("long") - long == 1


@pytest.mark.parametrize("command", ["join", "message"])
async def test_an_id_that_was_used_for_nothing_is_found_by_the_short_way(
    database_url: str, command: str, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        room = await create(one)
        joined = await one.submit(JoinRoom("m1", room), ANN, "")
        assert joined.recorded is None
        await send(two, room, 0)
        await send(one, room, 2)
        asked = Statements(monkeypatch).asked
        for writer in (one, two):
            if command == "join":
                assert (await writer.submit(JoinRoom("m1", room), ANN, "")).sequence == joined.sequence
                continue
            sent = asyncio.gather(send(writer, room, 1), send(writer, room, 2), return_exceptions=True)
            conflict, resent = await sent
            assert isinstance(conflict, Reject)
            assert (conflict.code, resent) == (Code.ID_CONFLICT, 3)
        del asked[:]
        assert await send(one, room, 3) == 4
    assert len(asked) == 1, "a message that is sent once pays no round trip for it"


async def test_a_resend_tells_again_all_that_its_command_led_to(database_url: str):
    async with running_writer(database_url) as (writer, _), running_writer(database_url) as (other, publisher):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(LeaveRoom("l", room), ANN, "")
        for _ in range(2):
            left = await other.submit(LeaveRoom("l", room), ANN, "")
            told = [event for decision in publisher.decisions for event in decision.repeated.values()]
            assert [(event.type, event.sequence) for event in told] == [("member.left", 3), ("member.changed", 4)]
            assert left.sequence == 3
            publisher.decisions.clear()
            await send(writer, room, 1, BEN)


async def test_a_resend_leaves_no_error_in_postgres(database_url: str, pool: Pool):
    failed = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        room = await create(one)
        await send(one, room, 1)
        before = await pool.fetchval(failed)
        for writer in (one, two):
            assert [await send(writer, room, 1) for _ in range(3)] == [2, 2, 2]
    await pool.fetchval("SELECT pg_stat_clear_snapshot()")
    assert await pool.fetchval(failed) == before


async def test_two_replicas_with_the_same_resends_in_another_order_agree(database_url: str, pool: Pool):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        rooms = [await create(one, command_id=f"c{n}") for n in range(4)]
        sent = [(room, n) for room in rooms for n in range(50)]
        forward = [send(one, room, n) for room, n in sent]
        backward = [send(two, room, n) for room, n in reversed(sent)]
        first = await asyncio.gather(*forward, *backward)
    assert first[:200] == list(reversed(first[200:]))
    for room in rooms:
        found = await pool.fetch(
            "SELECT sequence, number, recorded_at FROM chat.events WHERE room_id = $1 ORDER BY sequence", room_key(room)
        )
        assert [(row["sequence"], row["number"]) for row in found] == [(n + 1, n) for n in range(51)]
        times = [row["recorded_at"] for row in found]
        assert times == sorted(times), "time does not go backwards within a room"


async def test_two_replicas_make_the_same_rooms_in_another_order_without_a_deadlock(database_url: str, pool: Pool):
    names = [f"c{n}" for n in range(40)]
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        made = await asyncio.gather(
            *(create(one, command_id=name) for name in names), *(create(two, command_id=name) for name in names[::-1])
        )
    assert made[:40] == made[40:][::-1]
    assert await pool.fetchval("SELECT count(*) FROM chat.events") == 40
    assert await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def waits(pool: Pool, writers: int = 1) -> None:
    """Until so many writers wait for a lock."""
    waiting = (
        "SELECT count(*) >= $2 FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND application_name ~ $1"
    )
    await until(lambda: pool.fetchval(waiting, "writer", writers), f"{writers} writers wait for a lock")


@pytest.mark.parametrize("turn", [1, -1])
async def test_the_long_way_locks_rooms_in_one_order_whatever_order_commands_come_in(
    database_url: str, pool: Pool, turn: int
):
    async with running_writer(database_url) as (writer, _), pool.acquire() as other:
        rooms = [await create(writer, command_id=f"c{n}") for n in range(2)]
        low, high = sorted(rooms, key=lambda room: room_key(room) or 0)
        async with other.transaction():
            await other.fetch("SELECT FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE", room_key(high))
            joins = [writer.submit(JoinRoom(f"j {room}", room), BEN, "") for room in (low, high)[::turn]]
            await waits(pool)
            free = (
                "SELECT count(*) FROM (SELECT FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE SKIP LOCKED) found"
            )
            assert await pool.fetchval(free, room_key(low)) == 0, "it has the first already"
        assert [accepted.sequence for accepted in await asyncio.gather(*joins)] == [2, 2]


@pytest.mark.parametrize("turn", [1, -1])
async def test_rooms_are_made_in_one_order_whatever_order_commands_come_in(database_url: str, pool: Pool, turn: int):
    making = """INSERT INTO chat.rooms (room_id, head, messages, changed, member_count, created_at, name, kind,
                                        created_by)
                VALUES ($1, 1, 0, 1, 1, now(), '', 'public', '') ON CONFLICT DO NOTHING"""
    async with running_writer(database_url) as (writer, _), pool.acquire() as other, pool.acquire() as third:
        rooms = {
            LogSecret(await event_store.read_secret(other)).new_room(ANN.user_id, name): name for name in ("c1", "c2")
        }
        low, high = sorted(rooms)
        transaction = other.transaction()
        await transaction.start()
        await other.execute(making, high)
        made = [asyncio.ensure_future(create(writer, command_id=rooms[key])) for key in (low, high)[::turn]]
        await waits(pool)
        await third.execute("SET lock_timeout = 20")
        with pytest.raises(asyncpg.LockNotAvailableError):  # for the writer has made the first already
            await third.execute(making, low)
        await transaction.rollback()
        assert len(set(await asyncio.gather(*made))) == 2


@pytest.mark.parametrize("way", ["short", "long"])
async def test_who_waited_for_a_room_appends_behind_what_came_meanwhile_at_the_first_try(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, way: str
):
    async with running_writer(database_url) as (writer, _), pool.acquire() as other:
        room = await create(writer)
        await send(writer, room, 1)
        asked = Statements(monkeypatch).asked
        async with other.transaction():
            await other.execute("UPDATE chat.rooms SET head = 3, messages = 2 WHERE room_id = $1", room_key(room))
            await other.execute(
                """INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name,
                                            command_id, fingerprint, data, recorded_at)
                   SELECT room_id, 3, 2, gen_random_uuid(), type, version, actor_id, actor_name, 'other', fingerprint,
                          data, recorded_at FROM chat.events WHERE room_id = $1 AND sequence = 2""",
                room_key(room),
            )
            command = SendMessage("m2", room, "x") if way == "short" else ArchiveRoom("a", room)
            behind = writer.submit(command, ANN, "")
            await waits(pool)
        assert (await behind).sequence == 4
    assert asked.count(statements.APPEND_KNOWN if way == "short" else statements.LOAD_EARLIER) == 1


async def test_two_replicas_that_append_the_same_command_at_the_same_moment_append_it_once(
    database_url: str, pool: Pool
):
    async with (
        running_writer(database_url) as (one, _),
        running_writer(database_url) as (two, _),
        pool.acquire() as other,
    ):
        room = await create(one)
        for number, writer in enumerate((one, two)):
            await send(writer, room, number)
        async with other.transaction():
            await other.fetch("SELECT FROM chat.rooms FOR NO KEY UPDATE")
            # Neither finds it in the log yet.
            both = [asyncio.ensure_future(send(writer, room, 2)) for writer in (one, two)]
            await waits(pool, 2)
        assert await asyncio.gather(*both) == [4, 4]
    assert await pool.fetchval("SELECT count(*) FROM chat.events") == 4


async def test_an_answer_that_cannot_be_made_harms_no_neighbour(database_url: str):
    def unmade(_accepted: Accepted) -> int:
        raise RuntimeError

    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        first, second = await asyncio.gather(
            writer.submit(SendMessage("m1", room, "x"), ANN, "", unmade), send(writer, room, 2), return_exceptions=True
        )
        assert isinstance(first, Reject)
        assert (first.code, second) == (Code.INTERNAL, 3)
        assert (await writer.submit(SendMessage("m1", room, "x"), ANN, "")).sequence == 2


async def test_the_order_of_an_actor_is_kept_where_some_of_their_commands_go_the_long_way(database_url: str):
    async with running_writer(database_url) as (writer, _):
        room, other = await create(writer), await create(writer, command_id="c2")
        await send(writer, room, 0)
        commands = [
            SendMessage("m1", room, "x"),
            SendMessage("too far", room, "x", 99),
            SendMessage("m2", room, "x"),
            SendMessage("m3", other, "x"),
            LeaveRoom("l", room),
            SendMessage("m4", room, "x"),
        ]
        results = await asyncio.gather(*(writer.submit(one, ANN, "") for one in commands), return_exceptions=True)
    outcome = [r.code if isinstance(r, Reject) else getattr(r, "sequence", r) for r in results]
    assert outcome == [3, Code.INVALID_PAYLOAD, 4, 2, 5, Code.NOT_A_MEMBER]


async def test_a_connection_that_broke_is_replaced_and_what_was_known_is_forgotten(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await send(writer, room, 1, BEN)
        await pool.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'writer'")
        # As after a restore: another history, in which somebody else's join has the same sequence.
        await pool.fetch("DELETE FROM chat.members WHERE user_id = 'u_ben'")
        answers = [await refusal(writer, room, number) for number in (2, 3)]
        assert await send(writer, room, 4) == 4
    assert set(answers) <= {Code.UNAVAILABLE, Code.NOT_A_MEMBER}
    assert answers[-1] is Code.NOT_A_MEMBER


async def refusal(writer: Writer, room: str, number: int) -> Code:
    with pytest.raises(Reject) as caught:
        await send(writer, room, number, BEN)
    return caught.value.code


async def test_one_locked_room_stops_nobody_else_and_keeps_its_order(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _), pool.acquire() as frozen:
        room, other = await create(writer), await create(writer, command_id="c2")
        async with frozen.transaction():
            await frozen.fetch("SELECT FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE", room_key(room))
            held = asyncio.ensure_future(send(writer, room, 0))
            async with asyncio.timeout(5):
                assert [await send(writer, other, n) for n in range(1, 6)] == [2, 3, 4, 5, 6]
                together = asyncio.gather(send(writer, room, 6), send(writer, other, 7))
                await send(writer, other, 8)
                left = writer.submit(LeaveRoom("l", room), ANN, "")
                await send(writer, other, 9)
            assert not held.done()
            assert not left.done()
        async with asyncio.timeout(5):
            assert await held == 2
            assert (await together)[0] == 3
            assert (await left).sequence == 4


async def test_a_room_that_stays_locked_is_unavailable_after_a_while(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("parley.chat.log.writer.ASIDE_SECONDS", 0.3)
    async with running_writer(database_url) as (writer, _), pool.acquire() as frozen:
        room = await create(writer)
        async with frozen.transaction():
            await frozen.fetch("SELECT FROM chat.rooms FOR NO KEY UPDATE")
            with pytest.raises(Reject) as caught:
                await send(writer, room, 1)
        assert (caught.value.code, caught.value.retryable) == (Code.UNAVAILABLE, True)
        assert await send(writer, room, 1) == 2


async def test_a_service_that_stops_commits_and_announces_the_batch_in_hand(database_url: str, pool: Pool):
    async with pool.acquire() as frozen:
        async with running_writer(database_url) as (writer, publisher):
            room = await create(writer)
            await frozen.execute("BEGIN")
            await frozen.fetch("SELECT FROM chat.rooms FOR NO KEY UPDATE")
            sent = asyncio.ensure_future(send(writer, room, 1))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: pool.fetchval(waits), "the writer waits for the room", seconds=5)
            asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(frozen.execute("ROLLBACK")))
        await until(sent.done)
        assert sent.result() == 2
        assert len(publisher.decisions) == 2
    with pytest.raises(Reject):
        writer.submit(SendMessage("late", room, "x"), ANN, "")


async def test_a_connection_that_is_dead_costs_one_batch_and_is_replaced(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(own_connection, "COMMAND_SECONDS", 0.5)
    async with Proxy.running(database_url) as proxy, running_writer(proxy.url) as (writer, _):
        room = await create(writer)
        proxy.freeze()
        sent = asyncio.gather(*(send(writer, room, n) for n in range(20)), return_exceptions=True)
        async with asyncio.timeout(5):
            outcomes = await sent
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Reject)} == {Code.UNAVAILABLE}
        proxy.mend()
        async with asyncio.timeout(5):
            assert await send(writer, room, 0) == 2


async def test_one_user_takes_a_share_of_the_places_and_gives_them_back(database_url: str):
    async with running_writer(database_url, chat_max_waiting_per_user=5) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        sent = [send(writer, room, n) for n in range(7)]
        of_ben = send(writer, room, 0, BEN)
        outcomes = await asyncio.gather(*sent, of_ben, return_exceptions=True)
        assert [str(o.code) if isinstance(o, Reject) else "ok" for o in outcomes] == ["ok"] * 5 + ["overloaded"] * 2 + [
            "ok"
        ]
        assert await send(writer, room, 5) > 0
        assert writer._in_hand_of == {}


async def test_a_service_that_waits_for_postgres_is_not_ready(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("parley.chat.log.writer.STUCK_SECONDS", 0.05)
    async with running_writer(database_url) as (writer, _), pool.acquire() as frozen:
        room = await create(writer)
        assert writer.check() is None
        async with frozen.transaction():
            await frozen.fetch("SELECT FROM chat.rooms FOR NO KEY UPDATE")
            sent = asyncio.ensure_future(send(writer, room, 1))
            await until(lambda: writer.check() is not None)
        await sent
        assert writer.check() is None


async def test_the_isolation_of_the_database_is_not_relied_upon(database_url: str, pool: Pool):
    name = await pool.fetchval("SELECT current_database()")
    await pool.fetch(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await pool.fetch(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with running_writer(database_url) as (writer, _):
        session, _ = await writer._connection.get()
        assert await session.fetchval("SHOW transaction_isolation") == "read committed"
        assert await session.fetchval("SHOW synchronous_commit") == "on"


async def test_who_may_not_see_a_room_neither_locks_it_nor_waits_for_who_has(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        secret, other = await create(writer, kind="private"), await create(writer, BEN)
        async with pool.acquire() as frozen, frozen.transaction():
            await frozen.fetch("SELECT FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE", room_key(secret))
            for attempt in range(2):
                async with asyncio.timeout(0.25):
                    with pytest.raises(Reject) as caught:
                        await writer.submit(JoinRoom(f"j{attempt}", secret), BEN, "")
                assert caught.value.code is Code.NOT_FOUND
            assert await send(writer, other, 1, BEN) == 2
        await writer.submit(JoinRoom("j", secret), ANN, "")


async def test_who_has_left_a_private_room_is_told_again_what_became_of_their_command(database_url: str):
    async with running_writer(database_url) as (writer, _):
        secret = await create(writer, kind="private")
        await writer.submit(InviteUser("i", secret, UserRef("u_ben")), ANN, "")
        joined = await writer.submit(JoinRoom("j", secret), BEN, "")
        again = await writer.submit(JoinRoom("j2", secret), BEN, "")
        left = await writer.submit(LeaveRoom("l", secret), BEN, "")
        assert (await writer.submit(JoinRoom("j", secret), BEN, "")).sequence == joined.sequence
        assert (await writer.submit(JoinRoom("j2", secret), BEN, "")).sequence == again.sequence
        assert (await writer.submit(LeaveRoom("l", secret), BEN, "")).sequence == left.sequence
