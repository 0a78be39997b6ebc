"""What became of messages, when somebody who had a part in it is erased, or the message, or all that is old."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.erasure import ErasureScope
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.pins import PinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.messages.threads import FollowThread, UnfollowThread
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.projections.verify import verify
from parley.chat.queries import history
from parley.common.wire.identity import Identity
from tests.support.chat.erasing import BEN, CAT, connected, erase
from tests.support.chat.writing import create, running_writer

ANN = Identity("u_ann", "Ann Mallory")
SECRETS = ("Mallory", "my address", "u_ann", ":mine:")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "erasures.jsonl")


async def all_rows(pool: Pool) -> str:
    """All that the log and its projections hold as text."""
    found = await pool.fetch(
        """SELECT row_to_json(e)::text || encode(actor_id || command_id, 'escape') AS row FROM chat.events e
           UNION ALL SELECT row_to_json(m)::text FROM chat.messages m
           UNION ALL SELECT row_to_json(r)::text FROM chat.reactions r
           UNION ALL SELECT row_to_json(f)::text FROM chat.thread_followers f"""
    )
    return "\n".join(row["row"] for row in found)


async def talk(writer: Any) -> tuple[str, int]:
    """A room of Ben's; the first message is Ann's. Returns the room and its sequence."""
    room = await create(writer, BEN)
    count = 0

    async def do(who: Identity, kind: Any, *args: Any, **fields: Any) -> int:
        nonlocal count
        count += 1
        return (await writer.submit(kind(f"c{count}", room, *args, **fields), who, "")).sequence

    await do(ANN, JoinRoom)
    await do(CAT, JoinRoom)
    hers = await do(ANN, SendMessage, "my address is 7 Elm Street", data={"a": "my address"})
    await do(ANN, EditMessage, hers, "my address is 8 Elm Street", 1)
    await do(ANN, EditMessage, hers, "my address is 9 Elm Street", 2)
    his = await do(BEN, SendMessage, "hello")
    await do(ANN, AddReaction, his, ":mine:")
    await do(ANN, AddReaction, his, ":both:")
    await do(CAT, AddReaction, his, ":both:")
    await do(ANN, RemoveReaction, his, ":mine:")
    await do(ANN, AddReaction, his, ":mine:")
    await do(CAT, AddReaction, hers, ":cat:")
    await do(ANN, SendMessage, "my address, too", thread=his)
    await do(CAT, SendMessage, "an answer", reply_to=hers, thread=hers)
    await do(BEN, PinMessage, his)
    await do(BEN, PinMessage, hers)
    await do(CAT, FollowThread, his)
    await do(ANN, UnfollowThread, his)
    await do(ANN, FollowThread, his)
    gone = await do(ANN, SendMessage, "my address again")
    await do(ANN, EditMessage, gone, "my address once more", 1)
    await do(ANN, DeleteMessage, gone)
    return room, hers


async def require_verified(pool: Pool) -> None:
    async with pool.acquire() as connection:
        assert (await verify(connection)).first is None


async def test_of_a_user_nothing_stays_in_what_became_of_messages(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room, hers = await talk(writer)
        stored = await all_rows(pool)
        assert all(secret in stored for secret in SECRETS)
        async with connected(database_url) as connection:
            asked = await erasures.request_user(connection, "u_ann")
        shown = msgspec.json.encode(await history.page(pool, history.History(room), BEN)).decode()
        raw = msgspec.json.encode(await history.page(pool, history.History(room, raw=True), BEN)).decode()
        assert not [secret for secret in SECRETS if secret in shown + raw], "hidden at once"
        await erase(database_url, ledger, asked)
        left = await all_rows(pool)
        assert not [secret for secret in SECRETS if secret in left]
        await require_verified(pool)
        reactions = await pool.fetch("SELECT user_id, emoji FROM chat.reactions ORDER BY 2")
        assert [tuple(row) for row in reactions] == [("u_cat", ":both:"), ("u_cat", ":cat:")]
        page = msgspec.json.decode(msgspec.json.encode(await history.page(pool, history.History(room), BEN)))
        data = {event["sequence"]: event["data"] for event in page["events"]}
        assert data[hers]["thread"]["replies"] == 1
        assert data[hers + 3]["reactions"] == [
            {"emoji": ":both:", "count": 1, "users": [{"id": "u_cat", "name": "Cat"}]}
        ]


@pytest.mark.parametrize("scope", [ErasureScope.MESSAGE, ErasureScope.AGE, ErasureScope.ROOM])
async def test_a_message_is_erased_with_its_edits(database_url: str, pool: Pool, ledger: Ledger, scope: ErasureScope):
    async with running_writer(database_url) as (writer, _):
        room, hers = await talk(writer)
        async with connected(database_url) as connection:
            match scope:
                case ErasureScope.MESSAGE:
                    asked = await erasures.request_message(connection, room, hers)
                case ErasureScope.AGE:
                    asked = await erasures.request(connection, scope, before=datetime.now(UTC))
                case _:
                    asked = await erasures.request_room(connection, room)
        if scope is not ErasureScope.ROOM:
            raw = msgspec.json.encode(await history.page(pool, history.History(room, raw=True), BEN)).decode()
            assert "Elm Street" not in raw, "hidden at once"
            with pytest.raises(Exception, match="was deleted"):
                await writer.submit(EditMessage("late", room, hers, "my address", 3), ANN, "")
        await erase(database_url, ledger, asked)
        assert "Elm Street" not in await all_rows(pool)
        await require_verified(pool)
        if scope is ErasureScope.ROOM:
            assert "u_" not in await all_rows(pool)
            return
        state = await pool.fetchrow(
            "SELECT version, edited_in, replies FROM chat.messages WHERE room_id = $1 AND sequence = $2",
            room_key(room), hers,
        )  # fmt: skip
        assert tuple(state) == (1, None, 1)


async def test_a_room_is_erased_whose_messages_were_erased_before(database_url: str, pool: Pool, ledger: Ledger):
    async with running_writer(database_url) as (writer, _):
        room, hers = await talk(writer)
        reply = (await writer.submit(SendMessage("late", room, "a reply", thread=hers), BEN, "")).sequence
        async with connected(database_url) as connection:
            asked = await erasures.request_message(connection, room, reply)
        await erase(database_url, ledger, asked)
        async with connected(database_url) as connection:
            asked = await erasures.request_room(connection, room)
        await erase(database_url, ledger, asked)
        await require_verified(pool)
