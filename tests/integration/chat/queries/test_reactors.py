"""Everybody who reacted to a message: all of them once, by emoji and time, and nobody who may not be shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.queries import history, members, reactors
from parley.chat.queries.history import History
from parley.chat.queries.reactors import Reactions
from parley.chat.queries.visibility import key_of
from parley.common.errors import Code
from parley.common.wire.identity import Identity
from tests.support.bus import rejected
from tests.support.chat.bulk_rows import plan_of
from tests.support.chat.writing import ANN, BEN, create, running_writer

THUMB, PARTY = "\N{THUMBS UP SIGN}", ":party:"
CROWD = [Identity(f"u_{n:02}", f"User {n}") for n in range(12)]


class Reacting:
    """A private room with one message and people who react to it."""

    def __init__(self, writer: Any, pool: Pool) -> None:
        self.writer, self.pool = writer, pool
        self.room = ""
        self.message = 0
        self._count = 0

    async def do(self, who: Identity, kind: Any, *args: Any) -> int:
        """Have a command done; its sequence."""
        self._count += 1
        return (await self.writer.submit(kind(f"c{self._count}", self.room, *args), who, "")).sequence

    async def page(self, who: Identity = ANN, message: int = 0, **asked: Any) -> Any:
        """A page of the reactions."""
        return await reactors.page(self.pool, Reactions(self.room, message or self.message, **asked), who)

    async def counts(self) -> dict[int, int]:
        """How many reactions the messages of the room's page have, of those that have any."""
        page = msgspec.json.decode(msgspec.json.encode(await history.page(self.pool, History(self.room), ANN)))
        shown = {event["sequence"]: event["data"].get("reactions", []) for event in page["events"]}
        return {sequence: sum(one["count"] for one in kinds) for sequence, kinds in shown.items() if kinds}

    async def everybody(self, limit: int, **asked: Any) -> list[tuple[str, str]]:
        """All pages."""
        found: list[tuple[str, str]] = []
        after = ""
        while True:
            page = await self.page(limit=limit, after=after, **asked)
            found += [(one.emoji, one.user.id) for one in page.reactions]
            if not page.more:
                assert page.next == ""
                return found
            assert len(page.reactions) == limit
            after = page.next


@pytest.fixture
async def scene(database_url: str, pool: Pool) -> AsyncIterator[Reacting]:
    async with running_writer(database_url) as (writer, _):
        reacting = Reacting(writer, pool)
        reacting.room = await create(writer)
        for who in (BEN, *CROWD):
            await reacting.do(who, JoinRoom)
        reacting.message = await reacting.do(ANN, SendMessage, "vote")
        yield reacting


async def test_everybody_is_on_one_page_by_emoji_and_then_by_when(scene: Reacting):
    assert (await scene.page()).reactions == []
    for who in CROWD:
        await scene.do(who, AddReaction, scene.message, THUMB)
    for who in reversed(CROWD[:5]):
        await scene.do(who, AddReaction, scene.message, PARTY)
    await scene.do(CROWD[3], RemoveReaction, scene.message, THUMB)
    thumbs = [(THUMB, who.user_id) for who in CROWD if who != CROWD[3]]
    parties = [(PARTY, who.user_id) for who in reversed(CROWD[:5])]
    for limit in (1, 4, 16, 200):
        assert sorted(await scene.everybody(limit)) == sorted(thumbs + parties)
        assert await scene.everybody(limit, emoji=THUMB) == thumbs
        assert await scene.everybody(limit, emoji=PARTY) == parties
    everybody = await scene.everybody(4)
    assert everybody in (thumbs + parties, parties + thumbs)
    (first,) = (await scene.page(limit=1, emoji=PARTY)).reactions
    assert (first.user.id, first.user.name) == ("u_04", "User 4")
    assert (await scene.page(emoji="x")).reactions == []


async def test_an_emoji_is_asked_for_in_any_spelling(scene: Reacting):
    await scene.do(BEN, AddReaction, scene.message, "\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert [one.user.id for one in (await scene.page(emoji="e\N{COMBINING ACUTE ACCENT}")).reactions] == ["u_ben"]


async def test_what_may_not_be_seen_is_not_shown(scene: Reacting):
    for who in (BEN, CROWD[0]):
        await scene.do(who, AddReaction, scene.message, THUMB)
    second = await scene.do(ANN, SendMessage, "another")
    await scene.do(BEN, AddReaction, second, THUMB)
    async with scene.pool.acquire() as connection:
        await erasures.request_user(connection, "u_ben")
        assert [one.user.id for one in (await scene.page()).reactions] == [CROWD[0].user_id]
        assert await scene.counts() == {scene.message: 1}, "and only the others are counted"
        found, _ = await members.page(scene.pool, scene.room, ANN, "", 200)
        assert {one.user_id for one in found} == {"u_ann", *(who.user_id for who in CROWD)}
        await erasures.request_message(connection, scene.room, scene.message)
        assert (await scene.page()).reactions == []
    third = await scene.do(ANN, SendMessage, "a third one")
    await scene.do(CROWD[0], AddReaction, third, THUMB)
    await scene.do(ANN, DeleteMessage, third)
    assert (await scene.page(message=third)).reactions == []
    await scene.pool.fetch("UPDATE chat.rooms SET kind = 'private'")
    assert (await rejected(scene.page(Identity("u_dan", "Dan")))).code is Code.NOT_FOUND


async def test_what_is_asked_wrongly_is_refused(scene: Reacting):
    refused: tuple[tuple[dict[str, Any], Code], ...] = (
        ({"message": 1}, Code.NOT_FOUND),
        ({"message": 2**53 - 1}, Code.NOT_FOUND),
        ({"emoji": "\x00"}, Code.INVALID_PAYLOAD),
        ({"emoji": "x" * 64 + "y"}, Code.INVALID_PAYLOAD),
        ({"after": "x"}, Code.INVALID_PAYLOAD),
        ({"after": "1."}, Code.INVALID_PAYLOAD),
        ({"after": "-1.x"}, Code.INVALID_PAYLOAD),
        ({"after": "1.\x00"}, Code.INVALID_PAYLOAD),
        ({"after": "9" * 30 + ".x"}, Code.INVALID_PAYLOAD),
        ({"after": "1.x", "emoji": "y"}, Code.INVALID_PAYLOAD),
    )
    for asked, code in refused:
        assert (await rejected(scene.page(**asked))).code is code, asked


async def test_a_page_is_found_by_the_index_whatever_is_known_of_the_table(scene: Reacting):
    key = key_of(scene.room)
    async with scene.pool.acquire() as connection:
        await connection.execute("ALTER TABLE chat.reactions SET (autovacuum_enabled = off)")
        await connection.execute(
            """INSERT INTO chat.reactions (room_id, message, user_id, emoji, added_in, name)
               SELECT $1, $2 + m, 'u' || n, 'x', 1000 + n, ''
               FROM generate_series(0, 9) m, generate_series(1, 2000) n""",
            key, scene.message,
        )  # fmt: skip
        for analyzed in (False, True):
            if analyzed:
                await connection.execute("ANALYZE chat.reactions")
            for statement in (reactors._OF_ALL, reactors._OF_ONE):
                plan = await plan_of(connection, statement, "u_ann", key, scene.message, 51, "x", 1500)
                assert "reactions_first_idx" in plan, plan
                assert "rows=20000" not in plan.replace(".00", ""), plan
