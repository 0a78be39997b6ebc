"""Followed threads on real Postgres and NATS: cursors forward only, unread without a write per reply, and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import EditMessage
from parley.chat.domain.messages.threads import FollowThread, UnfollowThread
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import wait_until_completed
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.reading import room_list, thread_list, thread_store
from parley.chat.reading.room_list import ListMyRooms
from parley.chat.reading.thread_cursors import MarkThreadRead, ThreadCursors, ThreadReadState
from parley.chat.reading.thread_list import ListThreads
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected
from tests.support.chat.bulk_rows import plan_of
from tests.support.chat.locking import locked
from tests.support.chat.writing import ANN, BEN, RecordingPublisher, create, running_writer
from tests.support.waiting import until

CARL = Identity("u_carl", "Carl")


class Threads:
    """A room in which Ann, Ben and Carl are, and the cursors of one process."""

    def __init__(self, pool: Pool, cursors: ThreadCursors, writer: Writer, published: RecordingPublisher) -> None:
        self.pool, self.cursors, self.writer = pool, cursors, writer
        self.room = ""
        self._published = published
        self._count = 0

    async def do(self, who: Identity, kind: Any, *args: Any, room: str = "", **fields: Any) -> int:
        """Have a command done; its sequence. Who sends a reply is taken note of."""
        self._count += 1
        command = kind(f"c{self._count}", room or self.room, *args, **fields)
        sequence = (await self.writer.submit(command, who, "")).sequence
        self.cursors.sent(self._published.decisions[-1].appended)
        return sequence

    async def listed(self, who: Identity = BEN, **asked: Any) -> list[tuple[int, int, int]]:
        """The threads of a user: each by its root, with its replies and how many are unread."""
        found = await thread_list.page(self.pool, who, ListThreads(**asked))
        return [(one.thread, one.replies, one.unread) for one in found.threads]

    async def any_unread(self, who: Identity = BEN) -> bool:
        """What the list of rooms says."""
        found = await room_list.room_list(self.pool, who, ListMyRooms())
        return {one.id: one.unread_threads for one in found.rooms}[self.room]

    async def cursors_stored(self) -> list[tuple[str, int]]:
        """All cursors."""
        rows = await self.pool.fetch("SELECT user_id, sequence FROM chat.thread_reads ORDER BY user_id")
        return [(row["user_id"], row["sequence"]) for row in rows]


@pytest.fixture
async def threads(database_url: str, pool: Pool, bus: Bus) -> AsyncIterator[Threads]:
    async with running_writer(database_url) as (writer, published):
        scene = Threads(pool, ThreadCursors(pool, RoomPublisher(bus, NAMESPACE)), writer, published)
        scene.room = await create(writer)
        for who in (BEN, CARL):
            await scene.do(who, JoinRoom)
        yield scene


async def test_replies_are_unread_until_they_are_read_and_cost_followers_no_write(threads: Threads):
    root = await threads.do(BEN, SendMessage, "root")
    assert await threads.listed() == []
    first = await threads.do(ANN, SendMessage, "re 1", thread=root)
    # Who wrote the first message follows by the first reply, which they have not read.
    assert await threads.listed() == [(root, 1, 1)]
    assert await threads.listed(ANN) == [(root, 1, 0)]
    second = await threads.do(ANN, SendMessage, "re 2", thread=root)
    await threads.cursors.flush()
    assert await threads.cursors_stored() == [("u_ann", second)], "the sender's alone"
    assert await threads.listed() == [(root, 2, 2)]
    assert await threads.listed(ANN) == [(root, 2, 0)]
    assert (await threads.any_unread(), await threads.any_unread(ANN)) == (True, False)

    read = threads.cursors.read
    assert await read(BEN, MarkThreadRead(threads.room, root, first)) == ThreadReadState(first, 1)
    await threads.cursors.flush()
    assert await threads.listed() == [(root, 2, 1)]
    assert await threads.any_unread()
    assert await read(BEN, MarkThreadRead(threads.room, root, second)) == ThreadReadState(second, 0)
    assert await read(BEN, MarkThreadRead(threads.room, root, first)) == ThreadReadState(second, 0), "never back"
    await threads.cursors.flush()
    assert await read(BEN, MarkThreadRead(threads.room, root, first)) == ThreadReadState(second, 0), "nor when stored"
    await threads.cursors.flush()
    assert await threads.listed() == [(root, 2, 0)]
    assert not await threads.any_unread()
    assert dict(await threads.cursors_stored())["u_ben"] == second


async def test_a_process_that_is_behind_moves_no_cursor_back(threads: Threads):
    root = await threads.do(BEN, SendMessage, "root")
    last = [await threads.do(ANN, SendMessage, f"re {n}", thread=root) for n in range(3)][-1]
    await threads.cursors.flush()
    key = thread_store.ThreadCursorKey(thread_list.room_key(threads.room) or 0, root, "u_ben")
    assert [one.sequence for one in await thread_store.advance(threads.pool, {key: last})] == [last]
    assert await thread_store.advance(threads.pool, {key: last - 1}) == []
    assert await threads.listed() == [(root, 3, 0)]


async def test_who_begins_to_follow_has_read_what_was_before_and_the_mentioned_not_what_mentions_them(threads: Threads):
    root = await threads.do(BEN, SendMessage, "root")
    for n in range(3):
        await threads.do(BEN, SendMessage, f"re {n}", thread=root)
    await threads.do(ANN, FollowThread, root)
    await threads.do(BEN, SendMessage, "@carl", thread=root, mentions=("u_carl",))
    assert await threads.listed(ANN) == [(root, 4, 1)]
    assert await threads.listed(CARL) == [(root, 4, 1)]
    await threads.do(BEN, SendMessage, "more", thread=root)
    assert await threads.listed(CARL) == [(root, 5, 2)]
    await threads.do(CARL, UnfollowThread, root)
    assert await threads.listed(CARL) == []
    assert not await threads.any_unread(CARL)


async def test_only_threads_of_the_present_stay_count(threads: Threads):
    root = await threads.do(CARL, SendMessage, "root")
    await threads.do(ANN, SendMessage, "re", thread=root)
    assert await threads.listed(CARL) == [(root, 1, 1)]
    await threads.do(CARL, LeaveRoom)
    assert await threads.listed(CARL) == []
    await threads.do(ANN, SendMessage, "meanwhile", thread=root)
    await threads.do(CARL, JoinRoom)
    assert await threads.listed(CARL) == [(root, 2, 0)]
    assert not await threads.any_unread(CARL)
    await threads.do(ANN, SendMessage, "now", thread=root)
    assert await threads.listed(CARL) == [(root, 3, 1)]


async def test_threads_are_paged_by_their_last_reply_and_show_the_root_as_it_is_now(threads: Threads):
    roots = [await threads.do(BEN, SendMessage, f"root {n}") for n in range(7)]
    for root in (*roots, roots[2]):
        await threads.do(ANN, SendMessage, "re", thread=root)
    await threads.do(BEN, EditMessage, roots[2], "edited", 1)
    silent = await threads.do(ANN, SendMessage, "nobody answers")
    await threads.do(BEN, FollowThread, silent)
    expected = [silent, roots[2], *(root for root in reversed(roots) if root != roots[2])]
    seen: list[int] = []
    after = ""
    while True:
        found = await thread_list.page(threads.pool, BEN, ListThreads(after, 3))
        seen += [one.thread for one in found.threads]
        if not found.more:
            break
        after = found.next
    assert seen == expected
    assert found.next == ""
    top, edited = (await thread_list.page(threads.pool, BEN, ListThreads())).threads[:2]
    assert (top.replies, top.last_at, top.unread) == (0, None, 0)
    shown = msgspec.json.decode(msgspec.json.encode(edited))
    data = shown["root"]["data"]
    assert (data["body"], data["version"]) == ("edited", 2)
    assert data["thread"] == {"replies": 2, "following": True, "last_at": shown["last_at"]}


async def test_unread_replies_are_counted_up_to_a_bound(threads: Threads, monkeypatch: pytest.MonkeyPatch):
    root = await threads.do(BEN, SendMessage, "root")
    await threads.do(ANN, SendMessage, "re", thread=root)
    await threads.pool.fetch(
        """INSERT INTO chat.replies SELECT room_id, thread, n FROM chat.replies, generate_series(1000, 2000) n"""
    )
    assert await threads.listed() == [(root, 1, thread_store.MOST_UNREAD)]


async def test_a_page_of_threads_is_bounded_by_number_and_by_bytes_and_leaves_none_out(threads: Threads):
    roots = [await threads.do(BEN, SendMessage, "x" * 60_000) for _ in range(13)]
    roots += [await threads.do(BEN, SendMessage, "small") for _ in range(45)]
    for root in roots:
        await threads.do(BEN, FollowThread, root)
    seen: list[list[int]] = []
    after = ""
    while True:
        found = await thread_list.page(threads.pool, BEN, ListThreads(after, thread_list.MAX_THREADS))
        assert len(msgspec.json.encode(found)) < 450_000, "it fits one message of NATS"
        seen.append([one.thread for one in found.threads])
        if not found.more:
            break
        after = found.next
    assert [root for page in seen for root in page] == list(reversed(roots))
    # 45 small ones and five long ones are 50; of long ones six fit a page.
    assert [len(page) for page in seen] == [50, 6, 2]
    for limit in (0, thread_list.MAX_THREADS + 1, 10**30):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"limit": limit}, ListThreads)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"after": "x" * 65}, ListThreads)


async def test_the_users_devices_are_told(threads: Threads, bus: Bus):
    heard: list[Any] = []
    bus.listen(
        subjects.room(NAMESPACE, "user:u_ben"),
        lambda data: heard.extend(
            (one.event, msgspec.json.decode(one.payload)) for one in decode(data, Delivery).events
        ),
    )
    await bus.flush()
    root = await threads.do(BEN, SendMessage, "root")
    replies = [await threads.do(ANN, SendMessage, f"re {n}", thread=root) for n in range(3)]
    await threads.cursors.read(BEN, MarkThreadRead(threads.room, root, replies[0]))
    await threads.cursors.flush()
    await until(lambda: heard, "the devices are told")
    told = {"room": threads.room, "thread": root, "sequence": replies[0], "unread": 2}
    assert heard == [("thread.read", told)]


async def test_hostile_thread_cursors_are_refused_and_write_nothing(threads: Threads):
    root = await threads.do(BEN, SendMessage, "root")
    reply = await threads.do(ANN, SendMessage, "re", thread=root)
    secret = await create(threads.writer, command_id="secret", kind="private")
    await threads.writer.submit(InviteUser("i", secret, UserRef("u_carl")), ANN, "")
    outside = Identity("u_dan", "Dan")
    for who, said, code in (
        (BEN, MarkThreadRead(threads.room, root, reply + 100), Code.INVALID_PAYLOAD),
        (BEN, MarkThreadRead(threads.room, root, 2**53 - 1), Code.INVALID_PAYLOAD),
        (BEN, MarkThreadRead(threads.room, reply, reply), Code.NOT_FOUND),
        (BEN, MarkThreadRead(threads.room, 2**53 - 1, reply), Code.NOT_FOUND),
        (CARL, MarkThreadRead(threads.room, root, reply), Code.NOT_FOUND),
        (outside, MarkThreadRead(threads.room, root, reply), Code.NOT_A_MEMBER),
        (BEN, MarkThreadRead(secret, 1, 1), Code.NOT_FOUND),
        (CARL, MarkThreadRead(secret, 1, 1), Code.NOT_A_MEMBER),
        (BEN, MarkThreadRead("x", 1, 1), Code.NOT_FOUND),
    ):
        assert (await rejected(threads.cursors.read(who, said))).code is code, said
    threads.cursors._waiting.take_all()
    for after in ("x", "1.2", "1.raaaaaaaaaaaaa", f"1.{threads.room}.x", f"-1.{threads.room}.1", "9" * 30):
        assert (await rejected(threads.listed(after=after))).code is Code.INVALID_PAYLOAD, after
    assert await threads.cursors_stored() == []


async def test_erasing_a_user_or_a_room_erases_their_thread_cursors(
    threads: Threads, database_url: str, tmp_path: Path
):
    ledger = Ledger(tmp_path / "erasures")
    root = await threads.do(BEN, SendMessage, "root")
    for who in (ANN, BEN, CARL):
        last = await threads.do(who, SendMessage, "re", thread=root)
    await threads.cursors.flush()
    assert len(await threads.cursors_stored()) == 3
    async with threads.pool.acquire() as connection:
        user = await erasures.request_user(connection, "u_ben")
        key = thread_store.ThreadCursorKey(thread_list.room_key(threads.room) or 0, root, "u_ben")
        assert await thread_store.advance(threads.pool, {key: last + 1}) == [], "nothing is kept meanwhile"
        await wait_until_completed(database_url, ledger, user, lambda _: None)
        assert [who for who, _ in await threads.cursors_stored()] == ["u_ann", "u_carl"]
        everything = await erasures.request_room(connection, threads.room)
        assert await threads.listed(ANN) == []
        await wait_until_completed(database_url, ledger, everything, lambda _: None)
    assert await threads.cursors_stored() == []


async def test_threads_are_found_by_keys_whatever_is_known_of_the_tables(threads: Threads):
    tables = ("replies", "thread_followers", "thread_reads", "messages", "events", "members")
    async with threads.pool.acquire() as connection:
        await connection.execute(
            """INSERT INTO chat.thread_followers
               SELECT r, t, u, t + 2, true FROM generate_series(1, 40) r, generate_series(1, 50) t,
                 unnest(ARRAY['u_x', 'u_y', 'u_z', CASE WHEN r < 3 THEN 'u_ben' END]) u WHERE u IS NOT NULL"""
        )
        await connection.execute(
            """INSERT INTO chat.replies SELECT r, t, t * 100 + n
               FROM generate_series(1, 40) r, generate_series(1, 50) t, generate_series(1, 10) n"""
        )
        await connection.execute(
            """INSERT INTO chat.thread_reads
               SELECT r, t, 'u_ben', 3 FROM generate_series(1, 40) r, generate_series(1, 50) t"""
        )
        for analyzed in (False, True):
            if analyzed:
                await connection.execute(f"ANALYZE {', '.join(f'chat.{table}' for table in tables)}")
            for statement, place in (
                (thread_list._THREADS, (*thread_list._TOP, 21, b"u_ben")),
                (room_list._ROOM_LIST, (*room_list._TOP, 51, b"u_ben", '{"team": "a"}')),
            ):
                plan = await plan_of(connection, statement, "u_ben", *place)
                for table in ("replies", "thread_followers", "thread_reads"):
                    assert f"Seq Scan on {table}" not in plan, plan
                assert "replies_pkey" in plan, plan


async def test_what_is_being_stored_when_a_process_stops_is_stored_by_its_last_act(database_url: str, threads: Threads):
    root = await threads.do(BEN, SendMessage, "root")
    last = await threads.do(ANN, SendMessage, "re", thread=root)
    await threads.cursors.flush()
    cursors = ThreadCursors(threads.pool, threads.cursors._rooms)
    async with locked(database_url, "chat.thread_reads") as waited_for, Tasks() as tasks:
        tasks.forever(cursors.run(), name="thread cursors")
        await cursors.read(BEN, MarkThreadRead(threads.room, root, last))
        await until(waited_for, "it is being stored")
    await cursors.flush()
    assert ("u_ben", last) in await threads.cursors_stored()
