"""People in rooms on real Postgres: what holds at commit, whichever of two writers decides, and what the log says."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from parley.chat.domain.batch_state import Accepted
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, TransferRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.people.authority import ChangePermissions, ChangeRole, RuleFor
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.people.invites import CreateInvite, RevokeInvite
from parley.chat.domain.people.moderation import BanMember, MuteMember, RemoveMember, UnbanMember, UnmuteMember
from parley.chat.domain.permissions import Permission
from parley.chat.domain.projectors import PROJECTORS
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import ArchiveRoom, UnarchiveRoom, UpdateRoom
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.export import export
from parley.chat.log.importing import Importer
from parley.chat.log.writer import Writer
from parley.chat.projections.rebuild import rebuild
from parley.chat.projections.replay import SETTINGS
from parley.chat.projections.verify import verify
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.support.chat.erasing import connected, erase
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until

CAT = Identity("u_cat", "Cat")
DAN = Identity("u_dan", "Dan")
USERS = [Identity(f"u{n}", f"User {n}") for n in range(6)]
Writers = tuple[Writer, Writer]


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[Writers]:
    """Two chat processes."""
    async with running_writer(database_url) as (one, _), running_writer(database_url) as (two, _):
        yield one, two


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[Any]:
    """The connection of an operator."""
    opened = await asyncpg.connect(database_url, server_settings=SETTINGS)
    yield opened
    await opened.close()


async def do(writer: Writer, command: ChatCommand, identity: Identity = ANN) -> Accepted:
    return await writer.submit(command, identity, "")


async def refused(writer: Writer, command: ChatCommand, identity: Identity = ANN) -> Reject:
    with pytest.raises(Reject) as caught:
        await do(writer, command, identity)
    return caught.value


def say(number: object, room: str) -> SendMessage:
    return SendMessage(f"say {number}", room, f"text {number}")


async def peopled(writer: Writer, *who: Identity) -> str:
    """A room of Ann's that others have joined."""
    room = await create(writer)
    for one in who:
        await do(writer, JoinRoom(f"join {one.user_id}", room), one)
    return room


async def types(pool: Pool, room: str) -> list[int]:
    rows = await pool.fetch("SELECT type FROM chat.events WHERE room_id = $1 ORDER BY sequence", room_key(room))
    return [row["type"] for row in rows]


async def test_a_removed_member_sends_nothing_more_through_any_process(writers: Writers):
    one, two = writers
    room = await peopled(one, BEN)
    await do(one, say(1, room), BEN)
    await do(two, say(2, room), BEN)
    await do(two, RemoveMember("r", room, "u_ben"))
    for number, writer in enumerate(writers, 3):
        assert (await refused(writer, say(number, room), BEN)).code is Code.NOT_A_MEMBER


async def test_a_mute_holds_on_every_process_until_postgres_says_that_it_has_ended(writers: Writers, pool: Pool):
    one, two = writers
    room = await peopled(one, BEN)
    await do(two, say(1, room), BEN)
    await do(one, MuteMember("m", room, "u_ben", 3600))
    assert {(await refused(writer, say(2, room), BEN)).code for writer in writers} == {Code.MUTED}
    await pool.fetch("UPDATE chat.restrictions SET muted_until = now() - interval '1 second'")
    # Only the row knows that the mute was moved; a process that has it from before asks again, and does not refuse.
    for number, writer in enumerate(writers, 3):
        await do(writer, say(number, room), BEN)


async def test_a_mute_and_a_rule_hold_when_somebody_else_has_left(writers: Writers):
    one, _ = writers
    room = await peopled(one, BEN, CAT, DAN)
    await do(one, MuteMember("m", room, "u_ben"))
    await do(one, ChangePermissions("p", room, [RuleFor(user="u_cat", deny=(Permission.POST,))]))
    # Those who remain are looked up then, to know who would own the room next.
    await do(one, LeaveRoom("l", room), DAN)
    assert (await refused(one, say(1, room), BEN)).code is Code.MUTED
    assert (await refused(one, say(2, room), CAT)).code is Code.FORBIDDEN


async def test_a_mute_that_has_ended_leaves_the_short_way_open(
    writers: Writers, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    room = await peopled(writers[0], BEN)
    await do(writers[0], MuteMember("m", room, "u_ben", 1))

    async def written() -> bool:
        (outcome,) = await asyncio.gather(do(writers[0], say(1, room), BEN), return_exceptions=True)
        return isinstance(outcome, Accepted)

    assert not await written()
    await until(written, "the end of the mute")
    asked: list[str] = []
    fetch = asyncpg.Connection.fetch

    async def counted(connection: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(query)
        return await fetch(connection, query, *args, **kwargs)

    monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
    await do(writers[0], say(2, room), BEN)
    assert len(asked) == 1


async def test_a_room_with_slow_mode_takes_one_message_in_a_while_whoever_decides(writers: Writers, pool: Pool):
    one, two = writers
    room = await peopled(one, BEN, CAT)
    await do(one, say("before", room), BEN)
    await do(one, UpdateRoom("u", room, slow_seconds=600))
    for writer in writers:
        refusal = await refused(writer, say("early", room), BEN)
        assert refusal.code is Code.RATE_LIMITED
        assert refusal.data is not None
        assert 590 <= refusal.data["retry_after"] <= 600
    assert (await do(two, say("cat", room), CAT)).sequence == 6, "each waits for themselves"
    results = await asyncio.gather(
        *(writer.submit(say(f"owner {number}", room), ANN, "") for number, writer in enumerate(writers * 5))
    )
    assert len(results) == 10, "who may moderate does not wait"
    await pool.fetch("UPDATE chat.events SET recorded_at = recorded_at - interval '601 s'")
    attempts = [writer.submit(say(f"ben {n}", room), BEN, "") for n, writer in enumerate(writers * 5)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(accepted) == 1, "of many at once, on two processes"
    assert await pool.fetchval("SELECT count(*) FROM chat.events WHERE type = 5") == 13


async def test_the_last_message_is_found_among_many_of_others(writers: Writers, pool: Pool):
    room = await peopled(writers[0], BEN)
    for number in range(8):
        await do(writers[0], say(number, room), BEN if number == 3 else ANN)
    await do(writers[0], UpdateRoom("u", room, slow_seconds=100))
    # One message each ten seconds, Ben's fifty seconds ago.
    await pool.fetch("UPDATE chat.events SET recorded_at = now() - (10 - sequence) * interval '10 s'")
    refusal = await refused(writers[0], say("again", room), BEN)
    assert refusal.data is not None
    assert 45 <= refusal.data["retry_after"] <= 60
    await do(writers[0], UpdateRoom("u2", room, slow_seconds=30))
    await do(writers[0], say("again", room), BEN)


async def test_two_who_begin_a_direct_room_at_once_have_one(writers: Writers, pool: Pool):
    asked = [
        writer.submit(OpenDirect(f"d{number}", [other.user_id]), who, "")
        for number in range(5)
        for writer, who, other in ((writers[0], ANN, BEN), (writers[1], BEN, ANN))
    ]
    rooms = {outcome.room.id for outcome in await asyncio.gather(*asked) if outcome.room is not None}
    assert len(rooms) == 1
    assert await pool.fetchval("SELECT count(*) FROM chat.events WHERE type = 1") == 1


async def test_a_direct_room_is_hidden_from_the_other_until_something_is_said(writers: Writers, pool: Pool):
    one, two = writers
    opened = await do(one, OpenDirect("d", ["u_ben"]))
    assert opened.room is not None
    room = opened.room.id
    assert await pool.fetch("SELECT 1 FROM chat.members WHERE user_id = 'u_ben'") == []
    assert (await refused(two, say(0, room), BEN)).code is Code.NOT_FOUND
    first = await do(two, say(1, room))
    assert first.recorded is not None
    assert (first.recorded.type, first.sequence, first.recorded.number) == ("message.sent", 4, 1), "the ack's own"
    again = await do(one, say(1, room))
    assert (again.recorded and again.recorded.event_id, again.sequence) == (first.recorded.event_id, 4)
    await do(one, say(2, room), BEN)
    await do(two, LeaveRoom("l", room), BEN)
    assert (await refused(one, say(3, room), BEN)).code is Code.NOT_FOUND
    await do(one, say(4, room))
    await do(two, say(5, room), BEN)
    assert await types(pool, room) == [1, 35, 3, 5, 5, 4, 3, 5, 5]


async def test_a_block_ends_what_two_say_to_each_other_on_the_short_way_too(writers: Writers, pool: Pool):
    opened = await do(writers[0], OpenDirect("d", ["u_ben"]))
    assert opened.room is not None
    room = opened.room.id
    for number, writer in enumerate(writers):
        await do(writer, say(number, room))
        await do(writer, say(f"b{number}", room), BEN)
    await pool.fetch("INSERT INTO chat.blocks (user_id, blocked_id) VALUES ('u_ben', 'u_ann')")
    for writer in writers:
        assert (await refused(writer, say("no", room))).code is Code.FORBIDDEN
        assert (await refused(writer, say("no", room), BEN)).code is Code.FORBIDDEN
    private = await create(writers[0], kind="private", command_id="p")
    assert (await refused(writers[0], InviteUser("i", private, UserRef("u_ben")))).code is Code.FORBIDDEN
    await pool.fetch("DELETE FROM chat.blocks")
    await do(writers[1], say("yes", room))


async def test_of_many_who_use_a_link_at_once_as_many_come_in_as_it_says(writers: Writers, pool: Pool):
    room = await create(writers[0], kind="private")
    code = (await do(writers[1], CreateInvite("i", room, uses=5))).code
    assert (await do(writers[0], CreateInvite("i", room, uses=5))).code == code, "sent again, the same"
    asked = [writers[n % 2].submit(JoinRoom("j", invite=code), Identity(f"u{n}", f"U{n}"), "") for n in range(20)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert (len(refusals), {refusal.code for refusal in refusals}) == (15, {Code.NOT_FOUND})
    assert await pool.fetchval("SELECT member_count FROM chat.rooms") == 6
    inside = next(n for n, outcome in enumerate(outcomes) if isinstance(outcome, Accepted))
    again = await do(writers[0], JoinRoom("j", invite=code), Identity(f"u{inside}", ""))
    assert again.recorded is not None, "sent again, the first result, though the link is used up"


async def test_a_banned_user_comes_in_by_no_link_and_a_revoked_one_lets_nobody_in(writers: Writers):
    one, two = writers
    room = await create(one, kind="private")
    code = (await do(one, CreateInvite("i", room))).code
    await do(two, BanMember("b", room, "u_ben", None, "spam"))
    assert (await refused(one, JoinRoom("j", invite=code), BEN)).code is Code.BANNED
    assert (await do(one, JoinRoom("j", invite=code), CAT)).room is not None
    made = await do(one, CreateInvite("i2", room))
    await do(two, RevokeInvite("r", room, made.sequence))
    assert (await refused(one, JoinRoom("j2", invite=made.code), USERS[0])).code is Code.NOT_FOUND
    await do(two, UnbanMember("un", room, "u_ben"))
    assert (await do(one, JoinRoom("j", invite=code), BEN)).room is not None


async def test_bans_are_bounded(writers: Writers, pool: Pool):
    room = await create(writers[0])
    await pool.fetch(
        """INSERT INTO chat.restrictions (room_id, user_id, banned_until, sequence)
           SELECT $1, 'x' || n, 'infinity', 1 FROM generate_series(1, 9999) n""",
        room_key(room),
    )
    outcomes = await asyncio.gather(
        *(writers[0].submit(BanMember(f"b{n}", room, f"y{n}"), ANN, "") for n in range(3)), return_exceptions=True
    )
    assert [getattr(outcome, "code", "") for outcome in outcomes] == ["", Code.LIMIT_EXCEEDED, Code.LIMIT_EXCEEDED]


def choices(number: int, room: str, other: Identity, pick: random.Random) -> list[ChatCommand]:
    """Everything that people do to each other."""
    name, user = f"x{number}", other.user_id
    rule = RuleFor(user=user, deny=(Permission.POST,)) if pick.random() < 0.5 else RuleFor(
        role=pick.choice(["everyone", "member", "moderator"]),
        allow=tuple(pick.sample(list(Permission), 2)), deny=tuple(pick.sample(list(Permission), 1)),
    )  # fmt: skip
    return [
        JoinRoom(name, room), LeaveRoom(name, room), InviteUser(name, room, UserRef(user)),
        TransferRoom(name, room, user), RemoveMember(name, room, user, "reason"),
        BanMember(name, room, user, pick.choice([None, 1, 3600]), "reason"), UnbanMember(name, room, user),
        MuteMember(name, room, user, pick.choice([None, 1, 3600]), "reason"), UnmuteMember(name, room, user),
        ChangeRole(name, room, user, pick.choice(["moderator", "member"])), ChangePermissions(name, room, [rule]),
        CreateInvite(name, room, pick.choice([None, 1, 3600]), pick.choice([None, 1, 2])),
        UpdateRoom(name, room, slow_seconds=pick.choice([0, 1])), say(number, room), say(number, room),
        OpenDirect(name, [user]), OpenDirect(name, [one.user_id for one in pick.sample(USERS, 3)]),
        ArchiveRoom(name, room) if pick.random() < 0.2 else UnarchiveRoom(name, room),
    ]  # fmt: skip


async def busy(writers: Writers, seed: int) -> tuple[list[str], list[str]]:
    """Many commands of everybody on both processes; the rooms, and the codes of what outcomes were refused with."""
    pick = random.Random(seed)
    rooms = [
        await create(writers[0], pick.choice(USERS), f"c{n}", kind="private" if n % 2 else "public") for n in range(4)
    ]
    codes: list[str] = []
    links: list[str] = []
    for number in range(400):
        actor, other = pick.choice(USERS), pick.choice(USERS)
        command = pick.choice(choices(number, pick.choice(rooms), other, pick))
        if links and pick.random() < 0.15:
            command = JoinRoom(f"x{number}", invite=pick.choice(links))
        try:
            accepted = await writers[number % 2].submit(command, actor, "")
        except Reject as refusal:
            codes.append(str(refusal.code))
            continue
        if isinstance(command, OpenDirect) and accepted.room is not None:
            rooms.append(accepted.room.id)
        if isinstance(command, CreateInvite):
            links.append(accepted.code)
            if pick.random() < 0.3:
                await writers[0].submit(RevokeInvite(f"r{number}", command.room, accepted.sequence), actor, "")
    return rooms, codes


async def tables(pool: Pool) -> dict[str, list[Any]]:
    return {name: await pool.fetch(f"SELECT * FROM chat.{name} ORDER BY 1, 2") for name in PROJECTORS}


async def test_what_is_stored_of_people_is_what_the_log_says(writers: Writers, pool: Pool, operator: Any):
    _, codes = await busy(writers, 7)
    assert codes.count(Code.INTERNAL) == 0
    room = await create(writers[0], kind="private")
    code = (await do(writers[0], CreateInvite("i", room, 3600, 3))).code
    await do(writers[1], JoinRoom("j", invite=code), BEN)
    await do(writers[0], MuteMember("m", room, "u_ben"))
    await do(writers[1], UnmuteMember("um", room, "u_ben"))
    await do(writers[0], MuteMember("m2", room, "u_ben"))
    before = await tables(pool)
    for name in ("restrictions", "participants", "invites"):
        assert before[name], f"{name} has rows to compare"
    assert (await verify(operator)).first is None
    await operator.execute("DELETE FROM chat.restrictions")
    await operator.execute("UPDATE chat.invites SET uses_left = 99")
    await operator.execute("INSERT INTO chat.participants SELECT room_id, 'u_stray' FROM chat.rooms")
    await operator.execute("UPDATE chat.rooms SET slow_seconds = 7, rules = '{}', closed = true")
    assert (await verify(operator)).wrong > 10
    await rebuild(operator)
    assert await tables(pool) == before


async def test_of_an_erased_user_nothing_is_left_in_what_is_stored_of_people(
    writers: Writers, pool: Pool, operator: Any, database_url: str, tmp_path: Path
):
    await busy(writers, 11)
    room = await peopled(writers[0], BEN, USERS[1])
    await do(writers[0], ChangeRole("mod", room, "u1", "moderator"))
    await do(writers[1], BanMember("b", room, "u_ben", None, "that fellow of 7 Elm Street"), USERS[1])
    await do(writers[1], CreateInvite("link", room), USERS[1])
    await do(writers[0], MuteMember("mute", room, "u1"))
    async with connected(database_url) as connection:
        requested = await erasures.request_user(connection, "u1")
    await erase(database_url, Ledger(tmp_path / "ledger"), requested)
    assert (await verify(operator)).first is None
    for name, rows in (await tables(pool)).items():
        assert not [row for row in rows if "u1" in [str(value) for value in row.values()]], name
    told = await pool.fetch("SELECT data::text, actor_name FROM chat.events")
    assert not [row for row in told if '"u1"' in row["data"] or row["actor_name"] == "User 1"]
    assert not [row for row in told if "Elm Street" in row["data"]]
    assert (await refused(writers[0], JoinRoom("back", room), BEN)).code is Code.BANNED, "what they did still holds"


async def test_a_log_with_all_of_this_is_imported_as_it_was(writers: Writers, pool: Pool, operator: Any):
    await busy(writers, 13)
    file = io.BytesIO()
    await export(operator, file.write, lambda _: None)
    before = await tables(pool)
    stored = ", ".join(f"chat.{name}" for name in ("events", "commands", *PROJECTORS))
    await operator.execute(f"TRUNCATE {stored}")
    await Importer(operator, lambda *_: None).run(io.BytesIO(file.getvalue()))
    assert await tables(pool) == before


async def test_the_owner_who_is_erased_leaves_the_room_to_somebody(
    writers: Writers, pool: Pool, database_url: str, tmp_path: Path
):
    room = await peopled(writers[0], BEN)
    async with connected(database_url) as connection:
        requested = await erasures.request_user(connection, "u_ann")
    await erase(database_url, Ledger(tmp_path / "ledger"), requested)
    row = await pool.fetchrow("SELECT role FROM chat.members WHERE room_id = $1 AND user_id = 'u_ben'", room_key(room))
    assert row["role"] == "owner"
    await do(writers[0], UpdateRoom("u", room, "Ben's"), BEN)


async def test_messages_take_no_more_statements_than_before(writers: Writers, monkeypatch: pytest.MonkeyPatch):
    room = await peopled(writers[0], BEN)
    opened = await do(writers[0], OpenDirect("d", ["u_ben"]))
    assert opened.room is not None
    await do(writers[0], say(0, opened.room.id))
    await do(writers[0], say(0, opened.room.id), BEN)
    await send(writers[0], room, 0)
    asked: list[str] = []
    fetch = asyncpg.Connection.fetch

    async def counted(connection: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(query)
        return await fetch(connection, query, *args, **kwargs)

    monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
    await send(writers[0], room, 1)
    await do(writers[0], say(1, opened.room.id), BEN)
    assert len(asked) == 2
