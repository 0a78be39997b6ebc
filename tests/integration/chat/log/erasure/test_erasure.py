"""Erasure on real Postgres: what is hidden when, what is left, and what a writer that races with it gets to keep."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.erasure import Erasure
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, TransferRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom, UpdateRoom
from parley.chat.log import database, event_store
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import (
    EXECUTING,
    ErasureRunner,
    compare,
    erasure_connection,
    execute_open,
)
from parley.chat.log.erasure.executor import Executor
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.projections import rebuild as projections
from parley.chat.projections.verify import verify
from parley.chat.queries import history, members, rooms, sync
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Replay
from tests.support.chat.erasing import ANN, BEN, CAT, connected, conversation, erase, say
from tests.support.chat.writing import create, running_writer, send
from tests.support.waiting import until

SECRETS = ("Mallory", "my address", "u_ann")
"""What Ann wrote, what she is called, and her id."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "erasures.jsonl")


async def ask(url: str, user_id: str = "u_ann") -> Erasure:
    async with connected(url) as connection:
        return await erasures.request_user(connection, user_id)


async def everything(url: str) -> str:
    """All that the tables of chat hold as text."""
    async with connected(url) as connection:
        found = await connection.fetch(
            """SELECT row_to_json(e)::text || encode(actor_id || command_id, 'escape') FROM chat.events e
               UNION ALL SELECT row_to_json(r)::text FROM chat.rooms r
               UNION ALL SELECT row_to_json(m)::text FROM chat.members m"""
        )
    return "\n".join(row[0] for row in found)


async def projected(pool: Pool) -> list[Any]:
    return [
        tuple(row.values())
        for table in ("rooms", "members", "declined")
        for row in await pool.fetch(f"SELECT * FROM chat.{table} ORDER BY 1, 2")
    ]


async def test_nothing_of_an_erased_user_is_left_and_the_rest_of_the_log_stays(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        before = (await history.page(pool, history.History(room, raw=True), BEN)).events
        stored = await everything(database_url)
        assert all(secret in stored for secret in SECRETS)
        done = await erase(database_url, ledger, await ask(database_url))
        assert (done.state, done.events) == ("completed", 11)
        left = await everything(database_url)
        assert not [secret for secret in SECRETS if secret in left]
        events = msgspec.json.decode(
            msgspec.json.encode((await history.page(pool, history.History(room, raw=True), BEN)).events)
        )
        older = msgspec.json.decode(msgspec.json.encode(before))
        assert [event["sequence"] for event in events] == list(range(1, len(older) + 3))
        for old, new in zip(older, events, strict=False):
            if old["actor"]["id"] == "u_ann" or old["data"].get("user", {}).get("id") == "u_ann":
                kept = {key: old[key] for key in ("type", "room", "sequence", "event_id", "at", "number") if key in old}
                assert new == kept | {"actor": {"id": ""}, "data": {}, "id": "", "erased": True}
            else:
                assert new == old
        assert events[-1]["type"] == "events.erased"
        assert events[-1]["data"] == {"ranges": [[1, 3], [5, 11], [14, 14]]}
        after = await projected(pool)
        async with connected(database_url) as connection:
            await projections.rebuild(connection)
        assert await projected(pool) == after
        found = {
            member.user_id: (member.name, member.role) for member in (await members.page(pool, room, BEN, "", 9))[0]
        }
        assert found == {"u_ben": ("Ben", "owner"), "u_cat": ("Cat", "member"), "u_dan": ("u_dan", "member")}


async def test_whatever_is_asked_for_is_hidden_from_the_moment_of_the_request(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, publisher):
        room = await conversation(writer)
        await ask(database_url)

        page = await history.page(pool, history.History(room, raw=True), BEN)
        missed = await sync.missed(pool, sync.Sync({room: 0}), BEN)
        replayed = await history.replay(pool, [request := Replay(room, 0, 500)])
        people = await members.page(pool, room, BEN, "", 9)
        shown = [await rooms.one(pool, room, BEN), await rooms.page(pool, BEN, "", "", 9)]
        with pytest.raises(Reject) as caught:
            await say(writer, room, "one more")
        assert caught.value.code is Code.FORBIDDEN
        with pytest.raises(Reject):
            await writer.submit(InviteUser("again", room, UserRef("u_ann")), BEN, "")
        # What Ann sent before is sent again, by a process that knows nothing of the request.
        again = await say(writer, room, "my address is 7 Elm Street")
        joined = await writer.submit(JoinRoom("j4", room), Identity("u_eve", "Eve"), "")
        repeated = [
            recorded.room_event() for decision in publisher.decisions[-2:] for recorded in decision.repeated.values()
        ]
        assert again == 5
        assert joined.room is not None
        answers = [page, missed, people, shown, repeated, joined.room.created_by, replayed[request]]
        # To gateways alone an event still says whom it moves.
        text = msgspec.json.encode([msgspec.json.decode(msgspec.json.encode(answers[:4])), joined.room.created_by])
        text += b"".join(item.payload for item in (*repeated, *replayed[request].events))
        assert not [secret for secret in SECRETS if secret.encode() in text]
        assert b"hello" in text
        assert b'"erased":true' in text
        assert "my address" in await everything(database_url), "hidden, and not executed yet"
    before = await projected(pool)
    async with connected(database_url) as connection:
        await projections.rebuild(connection)
    assert await projected(pool) == before, "projections are made of what there is"


async def test_a_message_is_erased_alone_and_sending_it_again_adds_nothing(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, publisher):
        room = await create(writer)
        for text in ("one", "two", "three"):
            await say(writer, room, text)
        async with connected(database_url) as connection:
            for nothing in ((room, 1), (room, 9), ("rnobody", 1)):
                with pytest.raises(Reject, match="no such message"):
                    await erasures.request_message(connection, *nothing)
            asked = await erasures.request_message(connection, room, 3)
            assert (await erasures.request_message(connection, room, 3)).id == asked.id, "one that is open is taken"
        assert b"two" not in msgspec.json.encode(await history.page(pool, history.History(room, raw=True), ANN))
        assert (await erase(database_url, ledger, asked)).events == 1
        found = msgspec.json.decode(
            msgspec.json.encode((await history.page(pool, history.History(room, raw=True), ANN)).events)
        )
        assert [event["data"].get("body") for event in found] == [None, "one", None, "three", None]
        assert [event.get("number") for event in found] == [None, 1, 2, 3, None]
        again = await writer.submit(SendMessage("say two", room, "two"), ANN, "")
        assert again.sequence == 3
        assert again.recorded is not None
        assert again.recorded.erased
        assert b"two" not in b"".join(one.room_event().payload for one in publisher.decisions[-1].repeated.values())
        other = await writer.submit(SendMessage("say two", room, "another text, of which nothing is known"), ANN, "")
        assert other.sequence == 3
        assert await pool.fetchval("SELECT head FROM chat.rooms") == 5


async def test_an_erased_room_exists_for_nobody_from_the_request_on(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        other = await create(writer, BEN, "other")
        async with connected(database_url) as connection:
            asked = await erasures.request_room(connection, room)

        async def hidden() -> None:
            with pytest.raises(Reject, match="no such room"):
                await history.page(pool, history.History(room), BEN)
            with pytest.raises(Reject, match="no such room"):
                await rooms.one(pool, room, BEN)
            with pytest.raises(Reject, match="no such room"):
                await members.page(pool, room, BEN, "", 9)
            with pytest.raises(Reject, match="no such room"):
                await writer.submit(JoinRoom("x", room), Identity("u_eve", "Eve"), "")
            with pytest.raises(Reject):
                await say(writer, room, "still here?", BEN)
            assert [one.id for one in (await rooms.page(pool, BEN, "", "", 9))[0]] == [other]
            assert (await sync.missed(pool, sync.Sync({room: 0}), BEN)).rooms[room].error is not None

        await hidden()
        assert (await erase(database_url, ledger, asked)).state == "completed"
        await hidden()
        left = await everything(database_url)
        assert not [secret for secret in (*SECRETS, "Cat", "hello") if secret in left]
        after = await projected(pool)
        async with connected(database_url) as connection:
            await projections.rebuild(connection)
        assert await projected(pool) == after
        assert await pool.fetchval("SELECT count(*) FROM chat.events WHERE room_id = $1", room_key(room)) >= 10


async def test_no_text_of_a_user_who_goes_on_writing_is_left_when_their_erasure_is_completed(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        mine = [await create(one, ANN, f"c{n}") for n in range(4)]
        for room in mine:
            await two.submit(JoinRoom("j", room), BEN, "")
        stopped = asyncio.Event()
        sent, refused = 0, 0
        longest = 0.0

        async def write(writer: Writer, which: int) -> None:
            nonlocal sent, refused
            number = 0
            while not stopped.is_set():
                number += 1
                results = await asyncio.gather(
                    *(say(writer, room, f"my address {which} {number}") for room in mine),
                    writer.submit(CreateRoom(f"new{which} {number}", "my address"), ANN, ""),
                    return_exceptions=True,
                )
                sent += sum(isinstance(result, int) for result in results)
                refused += sum(isinstance(result, Reject) for result in results)

        async def others() -> None:
            nonlocal longest
            number = 0
            while not stopped.is_set():
                number += 1
                began = asyncio.get_running_loop().time()
                await asyncio.gather(*(say(two, room, f"hello {number}", BEN) for room in mine))
                longest = max(longest, asyncio.get_running_loop().time() - began)

        async with asyncio.TaskGroup() as tasks:
            for which, writer in enumerate((one, two)):
                tasks.create_task(write(writer, which))
            tasks.create_task(others())
            await until(lambda: sent >= 60, "60 messages are sent")
            done = await erase(database_url, ledger, await ask(database_url))
            stopped.set()
        assert refused
        assert done.events >= 60
        # Whatever was sent after that is new, and stays.
        left = "SELECT count(*) FROM chat.events WHERE data::text LIKE '%my address%' AND recorded_at <= $1"
        assert await pool.fetchval(left, done.completed_at) == 0
        counted = "SELECT count(*) FROM chat.events WHERE room_id = r.room_id"
        assert await pool.fetchval(f"SELECT count(*) FROM chat.rooms r WHERE head <> ({counted})") == 0
        assert longest < 5, (
            "bounded here so that a busy machine is no failure; docs/operations.md has the measured time"
        )


async def test_an_execution_that_was_killed_goes_on_where_it_was(
    database_url: str, pool: Pool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("parley.chat.log.erasure.executor.SLICE", 7)
    monkeypatch.setattr("parley.chat.log.erasure.executor.BATCH", 3)
    async with running_writer(database_url) as (writer, _):
        mine = [await conversation_of(writer, n) for n in range(3)]
        asked = await ask(database_url)
        kills = 0
        for after in range(3, 300, 4):
            async with erasure_connection(database_url) as connection:
                await compare(connection, ledger)
                killing = Killed(connection, after)
                try:
                    await Executor(killing).run(asked)
                except asyncpg.InterfaceError:
                    kills += 1
                    page = await history.page(pool, history.History(mine[0]), BEN)
                    assert b"my address" not in msgspec.json.encode(page)
                    continue
                break
        assert kills > 5
        assert await pool.fetchval("SELECT at_sequence FROM chat.erasures") > 0, "the place is kept"
        left = await everything(database_url)
        assert not [secret for secret in SECRETS if secret in left]
        assert await pool.fetchval("SELECT events FROM chat.erasures") == await pool.fetchval(
            "SELECT count(*) FROM chat.events WHERE version = 0"
        )
        after_it = await projected(pool)
        async with connected(database_url) as connection:
            await projections.rebuild(connection)
        assert await projected(pool) == after_it


async def conversation_of(writer: Writer, number: int) -> str:
    room = await create(writer, ANN, f"c{number}")
    await writer.submit(JoinRoom("j", room), BEN, "")
    for text in range(10):
        await say(writer, room, f"my address {text}")
        await say(writer, room, f"hello {text}", BEN)
    return room


class Killed:
    """A connection whose process dies after some statements."""

    def __init__(self, connection: Any, after: int) -> None:
        self._connection = connection
        self._left = after

    def __getattr__(self, name: str) -> Any:
        if name in {"execute", "fetch", "fetchval", "fetchrow"}:
            self._left -= 1
            if self._left < 0:
                self._connection.terminate()
        return getattr(self._connection, name)


async def test_nothing_is_executed_before_the_ledger_has_it(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        await conversation(writer)
    asked = await ask(database_url)
    lost = Ledger(ledger.path.parent / "not there" / "erasures.jsonl")
    runner = ErasureRunner(database_url, pool, lost, 0)
    await runner.look()
    assert "does not exist" in (runner.check() or "")
    async with erasure_connection(database_url) as connection:
        assert await execute(connection) is True
    assert "my address" in await everything(database_url)
    runner = ErasureRunner(database_url, pool, ledger, 0)
    assert await runner.look()
    assert runner.check() is None
    (entry,) = ledger.read()
    assert (entry.id, entry.user_id) == (asked.id, "u_ann")
    assert "Mallory" not in ledger.path.read_text()
    async with erasure_connection(database_url) as connection:
        await execute(connection)
    assert "my address" not in await everything(database_url)


async def execute(connection: Any) -> bool:
    from parley.chat.log.erasure.erasure_runner import execute_open

    return await execute_open(connection)


async def test_a_restored_log_erases_again_what_the_ledger_says_and_is_not_ready_before(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        await say(writer, room, "a secret of the room", BEN)
        backup = {
            table: await pool.fetch(f"SELECT * FROM chat.{table}")
            for table in ("events", "rooms", "members", "erasures")
        }
        await erase(database_url, ledger, await ask(database_url))
        async with connected(database_url) as connection:
            message = await erasures.request_message(connection, room, 14)
        await erase(database_url, ledger, message)
    # A torn line of a process that died belongs to nothing that was executed.
    with ledger.path.open("ab") as file:
        file.write(b'{"id":"0')
    async with connected(database_url) as connection:
        for table, rows in backup.items():
            await connection.execute(f"DELETE FROM chat.{table}")
            if rows:
                await connection.copy_records_to_table(
                    table,
                    schema_name="chat",
                    columns=list(rows[0].keys()),
                    records=[tuple(row.values()) for row in rows],
                )
    assert "my address" in await everything(database_url)
    runner = ErasureRunner(database_url, pool, ledger, 0)
    assert await runner.look()
    assert runner.check() == "2 erasures of the ledger are executed again"
    assert b"my address" not in msgspec.json.encode(await history.page(pool, history.History(room), BEN))
    async with erasure_connection(database_url) as connection:
        await execute(connection)
    await runner.look()
    assert runner.check() is None
    left = await everything(database_url)
    assert not [secret for secret in (*SECRETS, "secret of the room") if secret in left]
    assert len(ledger.read()) == 2


async def test_what_somebody_writes_after_their_erasure_was_completed_is_theirs(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        await erase(database_url, ledger, await ask(database_url))
        await writer.submit(JoinRoom("back", room), ANN, "")
        await say(writer, room, "here again")
        runner = ErasureRunner(database_url, pool, ledger, 0)
        assert not await runner.look()
        page = await history.page(pool, history.History(room), BEN)
    assert b"here again" in msgspec.json.encode(page)


async def test_messages_that_are_too_old_are_erased_and_who_is_where_stays(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        before = await projected(pool)
        await pool.fetch("UPDATE chat.events SET recorded_at = now() - interval '8 days'")
        await say(writer, room, "fresh", BEN)
        runner = ErasureRunner(database_url, pool, None, 7)
        runner._look_for_old_at = 0
        assert await runner.look()
        hidden = msgspec.json.encode(await history.page(pool, history.History(room), BEN))
        async with erasure_connection(database_url) as connection:
            await execute(connection)
        shown = msgspec.json.encode(await history.page(pool, history.History(room), BEN))
        for text in (hidden, shown):
            assert b"7 Elm Street" not in text
            assert b"hello" not in text
            assert b"fresh" in text
            assert b'"u_cat"' in text, "not a message"
        after = await projected(pool)
        assert after[1:] == before[1:], "nobody is moved"
        runner._look_for_old_at = 0
        await runner.look()
        async with erasure_connection(database_url) as connection:
            await execute(connection)
        runner._look_for_old_at = 0
        await runner.look()
        assert await pool.fetchval("SELECT count(*) FROM chat.erasures WHERE completed_at IS NOT NULL") == 1


async def test_gateways_are_told_who_left_before_nothing_says_so_any_more(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, _):
        await conversation(writer)
    # Somebody announces, and is behind.
    announcer = await asyncpg.connect(database_url, server_settings={"application_name": "parley-chat tail"})
    asked = await ask(database_url)
    left = "SELECT transaction_id FROM chat.events WHERE type = 4 AND actor_id = 'u_ann' AND sequence = 14"
    async with asyncio.TaskGroup() as tasks:
        erasing = tasks.create_task(erase(database_url, ledger, asked))
        transaction = await until(lambda: pool.fetchval(left), "the leave is in the log")
        await asyncio.sleep(0.3)
        assert "my address" in await everything(database_url)
        assert not erasing.done()
        told = "UPDATE chat.consumers SET position = $1 WHERE name = 'announcements'"
        await pool.fetch(told, f"{transaction + 1}:")
    await announcer.close()
    assert erasing.result().state == "completed"


async def test_a_request_comes_after_what_was_being_decided_without_knowing_of_it(
    database_url: str, pool: Pool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    deciding, go_on = asyncio.Event(), asyncio.Event()
    load = event_store.load

    async def slow_load(*args: Any) -> Any:
        loaded = await load(*args)
        deciding.set()
        await go_on.wait()
        return loaded

    monkeypatch.setattr(event_store, "load", slow_load)
    async with running_writer(database_url) as (writer, _), asyncio.TaskGroup() as tasks:
        creating = tasks.create_task(create(writer, ANN))
        await deciding.wait()
        asking = tasks.create_task(ask(database_url))
        await asyncio.sleep(0.2)
        assert not asking.done()
        async with connected(database_url) as connection:
            # Whoever else decides does not wait for long behind the request.
            began = asyncio.get_running_loop().time()
            await connection.execute(f"SELECT pg_advisory_xact_lock_shared({erasures.GATE})")
            assert asyncio.get_running_loop().time() - began < 1
        go_on.set()
        await creating
        await erase(database_url, ledger, await asking)
    left = await everything(database_url)
    assert not [secret for secret in SECRETS if secret in left]


async def test_an_archived_room_is_left_as_well(database_url: str, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await conversation(writer)
        await writer.submit(ArchiveRoom("a", room, "Mallory was here"), BEN, "")
        alone = await create(writer, ANN, "alone")
        await erase(database_url, ledger, await ask(database_url))
    async with database.connect(database_url, 1) as pool:
        assert await pool.fetchval("SELECT count(*) FROM chat.members WHERE user_id = 'u_ann'") == 0
        names = dict(await pool.fetch("SELECT room_id, name FROM chat.rooms"))
        assert names == {room_key(room): "The den", room_key(alone): ""}, "a room's name goes when nobody is in it"


async def test_a_name_that_was_replaced_is_in_nobody_elses_event(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer, ANN, "made")
        await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(UpdateRoom("n", room, "Mallory's den", "my address"), ANN, "")
        await writer.submit(TransferRoom("t", room, "u_ben"), ANN, "")
        await writer.submit(UpdateRoom("t", room, topic="All that is"), BEN, "")
        await writer.submit(UpdateRoom("n", room, "The den"), BEN, "")
        await ask(database_url)
        shown = msgspec.json.encode((await history.page(pool, history.History(room, raw=True), BEN)).events)
        assert not [secret for secret in SECRETS if secret.encode() in shown], "hidden at once"
        assert b'"data":{"topic":"All that is"}' in shown
        await erase(database_url, ledger, await ask(database_url))
        left = await everything(database_url)
        assert not [secret for secret in SECRETS if secret in left]
        found = await rooms.one(pool, room, BEN)
        assert (found.name, found.topic) == ("The den", "All that is")
    async with connected(database_url) as connection:
        assert (await verify(connection)).wrong == 0


async def kept(writer: Writer, url: str, ledger: Ledger) -> str:
    """A room that has its name, topic and custom data from Ann, who was erased, and in which Ben and Cat are."""
    room = await create(writer, ANN, "made", custom={"phone": "my number"})
    await writer.submit(UpdateRoom("n", room, "Mallory's den"), ANN, "")
    await writer.submit(UpdateRoom("t", room, topic="my address"), ANN, "")
    for identity in (BEN, CAT):
        await writer.submit(JoinRoom("j", room), identity, "")
    await erase(url, ledger, await ask(url))
    return room


async def test_a_name_that_was_kept_goes_when_others_give_another_one(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await kept(writer, database_url, ledger)
        assert (await rooms.one(pool, room, BEN)).name == "Mallory's den"
        assert (await rooms.one(pool, room, BEN)).custom == msgspec.Raw(b'{"phone":"my number"}')
        for change, gone in (
            (UpdateRoom("n", room, "The den"), "Mallory"), (UpdateRoom("t", room, topic=""), "my ad"),
            (UpdateRoom("c", room, custom={"of": "ours"}), "my number"),
        ):  # fmt: skip
            assert gone in await everything(database_url)
            await writer.submit(change, BEN, "")
            assert gone not in await everything(database_url)
            async with connected(database_url) as connection:
                assert (await verify(connection)).wrong == 0
        found = await rooms.one(pool, room, BEN)
        assert (found.name, found.topic, found.custom) == ("The den", "", msgspec.Raw(b'{"of":"ours"}'))


async def test_a_name_that_was_kept_goes_with_the_last_member(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await kept(writer, database_url, ledger)
        await writer.submit(InviteUser("i", room, UserRef("u_dan")), BEN, "")
        await writer.submit(LeaveRoom("l", room), BEN, "")
        assert "Mallory's den" in await everything(database_url), "Cat is still there"
        await writer.submit(LeaveRoom("l", room), CAT, "")
        left = await everything(database_url)
        assert not [secret for secret in (*SECRETS, "my number") if secret in left]
        joined = await writer.submit(JoinRoom("j", room), Identity("u_dan", "Dan"), "")
        assert joined.room is not None
        assert (joined.room.name, joined.room.topic, joined.room.custom) == ("", "", "")
    async with connected(database_url) as connection:
        assert (await verify(connection)).wrong == 0


async def test_a_room_that_is_erased_keeps_nothing_of_who_was_erased_before(
    database_url: str, pool: Pool, ledger: Ledger
):
    async with running_writer(database_url) as (writer, _):
        room = await kept(writer, database_url, ledger)
        async with connected(database_url) as connection:
            asked = await erasures.request_room(connection, room)
        await erase(database_url, ledger, asked)
        left = await everything(database_url)
        assert not [secret for secret in (*SECRETS, "u_ben", "u_cat") if secret in left]
        with pytest.raises(Reject, match="no such room"):
            await rooms.one(pool, room, BEN)
    async with connected(database_url) as connection:
        assert (await verify(connection)).wrong == 0


async def test_who_was_invited_by_somebody_erased_can_be_erased_as_well(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer, ANN, "made")
        for user in ("u_ben", "u_cat"):
            await writer.submit(InviteUser(f"i {user}", room, UserRef(user)), ANN, "")
        for identity in (BEN, CAT):
            await writer.submit(JoinRoom("j", room), identity, "")
        await writer.submit(TransferRoom("t", room, "u_ben"), ANN, "")
        await erase(database_url, ledger, await ask(database_url))
        assert "u_ben" in await everything(database_url)
        await erase(database_url, ledger, await ask(database_url, "u_ben"))
        assert "u_ben" not in await everything(database_url)
        found = {(one.user_id, one.role) for one in (await members.page(pool, room, CAT, "", 9))[0]}
        assert found == {("u_cat", "owner")}
    async with connected(database_url) as connection:
        assert (await verify(connection)).wrong == 0


async def test_verify_names_an_erased_event_that_holds_a_text_of_no_room(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await kept(writer, database_url, ledger)
        await writer.submit(UpdateRoom("n", room, "The den", ""), BEN, "")
    await pool.fetch("""UPDATE chat.events SET data = '{"name":"Mallory\'\'s den"}' WHERE sequence = 2""")
    async with connected(database_url) as connection:
        found = await verify(connection)
    where = f"chat.events (room_id = {room_key(room)}, sequence = 2)"
    told = f"{where} is erased, and holds a text that its room does not have any more"
    assert (found.wrong, str(found.first)) == (1, told)


async def test_one_process_executes_at_a_time(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await send(writer, room, 1)
    async with pool.acquire() as other, erasure_connection(database_url) as connection:
        await erasures.request_message(connection, room, 2)
        await compare(connection, ledger)
        await other.fetchval("SELECT pg_advisory_lock($1)", EXECUTING)
        assert not await execute_open(connection)
        assert await erasures.open_erasures(connection)
        await other.fetchval("SELECT pg_advisory_unlock($1)", EXECUTING)
        assert await execute_open(connection)
        assert not await erasures.open_erasures(connection)
