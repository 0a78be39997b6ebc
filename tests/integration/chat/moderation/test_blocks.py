"""Blocks: one's own list, bounded, in force at once, and gone with who is erased."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parley.chat.domain.membership import InviteUser, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.reactions import AddReaction
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.moderation import blocks
from parley.chat.moderation.blocks import BlockUser, ListBlocks, UnblockUser
from parley.chat.queries import rooms
from parley.chat.reading import room_list
from parley.chat.reading.room_list import ListMyRooms
from parley.common.errors import Code, Reject
from tests.support.chat.erasing import connected, erase
from tests.support.chat.writing import ANN, BEN, create, running_writer


async def blocked(pool: Pool) -> list[str]:
    return [one.id for one in (await blocks.page(pool, ANN, ListBlocks())).users]


async def test_one_blocks_and_unblocks_as_often_as_one_likes(pool: Pool):
    for _ in range(2):
        await blocks.block(pool, ANN, BlockUser("u_ben"))
    await blocks.block(pool, ANN, BlockUser("u_cat"))
    await blocks.block(pool, BEN, BlockUser("u_ann"))
    assert await blocked(pool) == ["u_ben", "u_cat"]
    page = await blocks.page(pool, ANN, ListBlocks(limit=1))
    assert ([one.id for one in page.users], page.more) == (["u_ben"], True)
    page = await blocks.page(pool, ANN, ListBlocks(after="u_ben"))
    assert ([one.id for one in page.users], page.more) == (["u_cat"], False)
    for _ in range(2):
        await blocks.unblock(pool, ANN, UnblockUser("u_ben"))
    assert await blocked(pool) == ["u_cat"]


async def test_the_list_is_bounded_and_not_of_oneself(pool: Pool):
    await pool.fetch(
        "INSERT INTO chat.blocks SELECT 'u_ann', 'x' || n FROM generate_series(1, $1::int) n", blocks.MAX_BLOCKS
    )
    await blocks.block(pool, ANN, BlockUser("x1"))
    for user, code in (("u_ben", Code.LIMIT_EXCEEDED), ("u_ann", Code.INVALID_PAYLOAD), ("a\nb", Code.INVALID_PAYLOAD)):
        with pytest.raises(Reject) as caught:
            await blocks.block(pool, ANN, BlockUser(user))
        assert caught.value.code is code
    assert await pool.fetchval("SELECT count(*) FROM chat.blocks") == blocks.MAX_BLOCKS, "nothing was written"


async def test_an_acked_block_is_in_force(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer, BEN, kind="private")
        await writer.submit(InviteUser("i", room, UserRef("u_ann")), BEN, "")
        assert [one.id for one in (await rooms.page(pool, ANN, "", "", 10))[0]] == [room]
        await blocks.block(pool, ANN, BlockUser("u_ben"))
        assert (await rooms.page(pool, ANN, "", "", 10))[0] == [], "nor is what he had invited to shown any more"
        for command, who in ((OpenDirect("d", ["u_ben"]), ANN), (OpenDirect("d", ["u_ann"]), BEN)):
            with pytest.raises(Reject) as caught:
                await writer.submit(command, who, "")
            assert caught.value.code is Code.FORBIDDEN
        await blocks.unblock(pool, ANN, UnblockUser("u_ben"))
        assert (await writer.submit(OpenDirect("d", ["u_ben"]), ANN, "")).room is not None
        assert len((await rooms.page(pool, ANN, "", "", 10))[0]) == 2


async def test_of_an_erased_user_no_block_is_left_and_none_comes_meanwhile(
    database_url: str, pool: Pool, tmp_path: Path
):
    await asyncio.gather(blocks.block(pool, ANN, BlockUser("u_ben")), blocks.block(pool, BEN, BlockUser("u_ann")))
    await blocks.block(pool, BEN, BlockUser("u_cat"))
    async with connected(database_url) as connection:
        requested = await erasures.request_user(connection, "u_ann")
    for who, user in ((ANN, "u_dan"), (BEN, "u_ann")):
        with pytest.raises(Reject) as caught:
            await blocks.block(pool, who, BlockUser(user))
        assert caught.value.code is Code.FORBIDDEN
    await erase(database_url, Ledger(tmp_path / "ledger"), requested)
    rows = await pool.fetch("SELECT user_id, blocked_id FROM chat.blocks")
    assert [tuple(row.values()) for row in rows] == [("u_ben", "u_cat")]


async def test_a_block_holds_for_what_becomes_of_messages_and_for_lists(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        private = await create(writer, BEN, kind="private")
        await writer.submit(SendMessage("m", private, "come here"), BEN, "")
        await writer.submit(InviteUser("i", private, UserRef("u_ann")), BEN, "")
        opened = (await writer.submit(OpenDirect("d", ["u_ann"]), BEN, "")).room
        assert opened is not None
        sent = (await writer.submit(SendMessage("m", opened.id, "hello"), BEN, "")).sequence
        assert len((await room_list.room_list(pool, ANN, ListMyRooms())).rooms) == 2
        await blocks.block(pool, ANN, BlockUser("u_ben"))
        assert [one.id for one in (await room_list.room_list(pool, ANN, ListMyRooms())).rooms] == [opened.id]
        for command in (EditMessage("e", opened.id, sent, "answer me", 1), AddReaction("r", opened.id, sent, "x")):
            with pytest.raises(Reject) as caught:
                await writer.submit(command, BEN, "")
            assert caught.value.code is Code.FORBIDDEN
        await writer.submit(DeleteMessage("x", opened.id, sent), BEN, "")
