"""What becomes of messages, on real Postgres: appended, projected, gone where it has to be, and rebuilt the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.messages.threads import FollowThread, UnfollowThread
from parley.chat.domain.projectors import PROJECTORS
from parley.chat.domain.room import ChatCommand
from parley.chat.log.database import Pool
from parley.chat.log.writer import COMMANDS_BY_WAY, Writer
from parley.chat.projections.rebuild import rebuild
from parley.chat.projections.verify import verify
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.support.chat.writing import ANN, BEN, create, running_writer

CAT = Identity("u_cat", "Cat")


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writer]:
    """A writer of the log."""
    async with running_writer(database_url) as (running, _):
        yield running


class Conversation:
    """A room of Ann's, in which Ben and Cat are, and what they do there."""

    def __init__(self, writer: Writer, room: str) -> None:
        self.writer = writer
        self.room = room
        self.key = room_key(room)
        self._count = 0

    async def do(self, who: Identity, kind: type[ChatCommand], *args: Any, **fields: Any) -> int:
        """Have a command done; its sequence."""
        self._count += 1
        command: Any = kind
        return (await self.writer.submit(command(f"c{self._count}", self.room, *args, **fields), who, "")).sequence

    async def refused(self, who: Identity, kind: type[ChatCommand], *args: Any, **fields: Any) -> Reject:
        """Have a command refused."""
        with pytest.raises(Reject) as refusal:
            await self.do(who, kind, *args, **fields)
        return refusal.value


@pytest.fixture
async def talk(writer: Writer) -> Conversation:
    """A room with three people."""
    conversation = Conversation(writer, await create(writer))
    await conversation.do(BEN, JoinRoom)
    await conversation.do(CAT, JoinRoom)
    return conversation


async def texts_in(pool: Pool, text: str) -> int:
    """How many rows of the log have a text in them."""
    return await pool.fetchval("SELECT count(*) FROM chat.events WHERE strpos(data::text, $1) > 0", text)


async def require_same_after_rebuild(pool: Pool) -> None:
    """Everything is as the log says, and comes out of it again."""
    async with pool.acquire() as connection:
        assert (await verify(connection)).first is None
        before = [await connection.fetch(f"SELECT * FROM chat.{name} one ORDER BY one::text") for name in PROJECTORS]
        for name in PROJECTORS:
            if name != "rooms":
                await connection.execute(f"DELETE FROM chat.{name}")
        await rebuild(connection)
        after = [await connection.fetch(f"SELECT * FROM chat.{name} one ORDER BY one::text") for name in PROJECTORS]
        assert before == after


async def test_everything_that_becomes_of_messages_comes_out_of_the_log_again(talk: Conversation, pool: Pool):
    root = await talk.do(ANN, SendMessage, "The plan")
    await talk.do(BEN, SendMessage, "I like it", thread=root, mentions=("u_cat", "u_nobody"))
    reply = await talk.do(CAT, SendMessage, "Me too", reply_to=root, thread=root)
    await talk.do(ANN, EditMessage, root, "The great plan", 1)
    await talk.do(ANN, EditMessage, root, "The greatest plan", 2)
    await talk.do(BEN, AddReaction, root, "\N{THUMBS UP SIGN}")
    await talk.do(CAT, AddReaction, root, "\N{THUMBS UP SIGN}")
    await talk.do(CAT, AddReaction, root, "e\u0301")
    await talk.do(BEN, RemoveReaction, root, "\N{THUMBS UP SIGN}")
    await talk.do(ANN, PinMessage, root)
    await talk.do(BEN, UnfollowThread, root)
    await talk.do(CAT, DeleteMessage, reply)
    row = await pool.fetchrow("SELECT * FROM chat.messages WHERE sequence = $1", root)
    assert (row["version"], row["replies"], row["last_reply"]) == (3, 2, reply)
    assert row["reactions"] == '{"\u00e9":1,"\N{THUMBS UP SIGN}":1}'
    followers = await pool.fetch("SELECT user_id, following FROM chat.thread_followers ORDER BY 1")
    assert [tuple(one) for one in followers] == [("u_ann", True), ("u_ben", False), ("u_cat", True)]
    await require_same_after_rebuild(pool)


async def test_a_deleted_message_and_all_its_edits_are_gone_from_the_log_and_stay_gone(talk: Conversation, pool: Pool):
    message = await talk.do(BEN, SendMessage, "secret one")
    for version in (1, 2, 3):
        await talk.do(BEN, EditMessage, message, f"secret {version}", version)
    await talk.do(CAT, AddReaction, message, "x")
    assert await texts_in(pool, "secret") == 4
    await talk.do(BEN, DeleteMessage, message)
    assert await texts_in(pool, "secret") == 0
    assert not await pool.fetch("SELECT FROM chat.reactions")
    for kind, args in (
        (EditMessage, ("again", 1)), (AddReaction, ("x",)), (EditMessage, ("again", 4)), (DeleteMessage, ()),
        (RemoveReaction, ("x",)),
    ):  # fmt: skip
        assert (await talk.refused(BEN, kind, message, *args)).code is Code.NOT_FOUND
    for kind in (PinMessage, UnpinMessage):
        assert (await talk.refused(ANN, kind, message)).code is Code.NOT_FOUND
    assert await talk.do(CAT, SendMessage, "What was it?", reply_to=message), "answering is no way to learn its text"
    assert await pool.fetchval("SELECT actor_id FROM chat.events WHERE sequence = $1", message) == b"u_ben"
    await require_same_after_rebuild(pool)


async def test_of_two_who_edit_one_version_the_second_is_told(talk: Conversation):
    message = await talk.do(ANN, SendMessage, "one")
    results = await asyncio.gather(
        *(talk.do(ANN, EditMessage, message, f"two {n}", 1) for n in range(3)), return_exceptions=True
    )
    refused = [one for one in results if isinstance(one, Reject)]
    assert [(one.code, one.data) for one in refused] == [(Code.CONFLICT, {"version": 2})] * 2


@pytest.mark.parametrize("kind", ["edit", "delete", "pin"])
async def test_nobody_touches_anothers_message_without_the_right(talk: Conversation, pool: Pool, kind: str):
    message = await talk.do(BEN, SendMessage, "mine")
    head = await pool.fetchval("SELECT head FROM chat.rooms")
    wanted: dict[str, tuple[Any, ...]] = {
        "edit": (EditMessage, message, "yours", 1), "delete": (DeleteMessage, message), "pin": (PinMessage, message),
    }  # fmt: skip
    assert (await talk.refused(CAT, *wanted[kind])).code is Code.FORBIDDEN
    stranger = Identity("u_eve", "Eve")
    assert (await talk.refused(stranger, *wanted[kind])).code is Code.NOT_A_MEMBER
    assert await pool.fetchval("SELECT head FROM chat.rooms") == head, "nothing is written"
    if kind != "edit":
        await talk.do(ANN, *wanted[kind])
    await require_same_after_rebuild(pool)


async def test_what_is_no_message_is_no_target(talk: Conversation, pool: Pool):
    message = await talk.do(BEN, SendMessage, "hello")
    reply = await talk.do(CAT, SendMessage, "hi", thread=message)
    elsewhere = Conversation(talk.writer, await create(talk.writer, ANN, "other"))
    far = 10_000
    for target in (1, far, reply + 1):
        for kind, args in (
            (EditMessage, ("x", 1)), (DeleteMessage, ()), (AddReaction, ("x",)), (RemoveReaction, ("x",)),
            (PinMessage, ()), (UnpinMessage, ()),
        ):  # fmt: skip
            assert (await talk.refused(ANN, kind, target, *args)).code is Code.NOT_FOUND
    for field in ("reply_to", "thread"):
        assert (await elsewhere.refused(ANN, SendMessage, "x", **{field: message})).code is Code.INVALID_PAYLOAD
        assert (await talk.refused(ANN, SendMessage, "x", **{field: 1})).code is Code.INVALID_PAYLOAD
    for root in (reply, far, 1):
        assert (await talk.refused(ANN, SendMessage, "x", thread=root)).code is Code.INVALID_PAYLOAD
        assert (await talk.refused(ANN, FollowThread, root)).code is Code.INVALID_PAYLOAD
    await require_same_after_rebuild(pool)


async def test_a_plain_message_takes_the_short_way_and_leaves_no_row(talk: Conversation, pool: Pool):
    first = await talk.do(BEN, SendMessage, "hello")
    before = [COMMANDS_BY_WAY.labels(way)._value.get() for way in ("short", "long")]
    await talk.do(BEN, SendMessage, "hello", mentions=("u_ann",), data={"a": [1]})
    await talk.do(BEN, AddReaction, first, "x")
    await talk.do(BEN, SendMessage, "hello")
    after = [COMMANDS_BY_WAY.labels(way)._value.get() for way in ("short", "long")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]
    assert await pool.fetchval("SELECT changed FROM chat.rooms") == 3, "the last join"
    assert await pool.fetchval("SELECT count(*) FROM chat.messages") == 1


async def test_one_batch_sees_what_it_did_itself(talk: Conversation, pool: Pool):
    message = await talk.do(ANN, SendMessage, "hello")
    done = await asyncio.gather(
        talk.do(BEN, AddReaction, message, "x"),
        talk.do(BEN, AddReaction, message, "x"),
        talk.do(ANN, EditMessage, message, "hello!", 1),
        talk.do(ANN, EditMessage, message, "hello!!", 2),
        talk.do(ANN, DeleteMessage, message),
        talk.do(CAT, AddReaction, message, "x"),
        return_exceptions=True,
    )
    assert done[0] == done[1]
    assert isinstance(done[5], Reject)
    assert await texts_in(pool, "hello") == 0
    await require_same_after_rebuild(pool)
