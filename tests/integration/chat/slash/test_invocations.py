"""Slash commands on real Postgres and NATS: their bounds, who may not ask, and what becomes of what is not answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import JoinRoom
from parley.chat.log.database import Pool
from parley.chat.log.writer import Writer
from parley.chat.moderation import blocks
from parley.chat.moderation.blocks import BlockUser, UnblockUser
from parley.chat.slash import invocation_rows as rows
from parley.chat.slash import invocations as asking
from parley.chat.slash import offered
from parley.chat.slash.command_options import SlashCommand
from parley.chat.slash.invocations import (
    CommandOutcome,
    DeferReply,
    Invocations,
    InvokeCommand,
    ListInvocations,
    ReplyToCommand,
)
from parley.chat.slash.offered import ListCommands, SetCommands
from parley.common.errors import Code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import CheckWelcome, Identity, UnwelcomeUsers
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected, running_bus
from tests.support.chat.writing import ANN, BEN, create, running_writer
from tests.support.waiting import until

BOT = Identity("u_bot", "Bot", scopes=("chat:read", "chat:write"))


class Scene:
    """A room that Ben and a bot are in, and what users and bots are told."""

    def __init__(self, pool: Pool, bus: Bus, writer: Writer, room: str) -> None:
        self.pool, self.bus, self.writer, self.room = pool, bus, writer, room
        self.invocations = Invocations(pool, writer, bus, RoomPublisher(bus, NAMESPACE), 1000)
        self.told: list[tuple[str, dict[str, Any]]] = []

    def hear(self, user_id: str) -> None:
        """Keep what a user is told."""
        self.bus.listen(
            subjects.room(NAMESPACE, f"user:{user_id}"),
            lambda data: self.told.extend(
                (one.event, msgspec.json.decode(one.payload)) for one in decode(data, Delivery).events
            ),
        )

    async def offer(self, *names: str, room: str | None = None, who: Identity = BOT) -> None:
        """Have a bot say which commands it has."""
        await offered.register(self.pool, who, SetCommands([SlashCommand(name) for name in names], room))

    async def ask(self, command_id: str, who: Identity = BEN, name: str = "poll") -> CommandOutcome:
        """Ask the bot."""
        return await self.invocations.invoke(who, InvokeCommand(command_id, self.room, name))

    async def listed(self, who: Identity = BEN) -> list[str]:
        """The names of the commands that a user has there."""
        page = await offered.page(self.pool, self.bus, who, ListCommands(self.room))
        return [one.name for one in page.commands]


@pytest.fixture
async def scene(database_url: str, pool: Pool, own_nats: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async def everybody_is_welcome(_: CheckWelcome) -> UnwelcomeUsers:
        return UnwelcomeUsers()

    # The rate has a test of its own, with stock clients.
    monkeypatch.setattr(asking, "ASKS_BURST", 10_000)
    async with running_bus(own_nats.url, "auth") as bus, running_writer(database_url) as (writer, _):
        await bus.respond(subjects.WELCOME, CheckWelcome, everybody_is_welcome, "auth")
        room = await create(writer)
        for who in (BEN, BOT):
            await writer.submit(JoinRoom(f"j-{who.user_id}", room), who, "")
        yield Scene(pool, bus, writer, room)


async def test_a_bot_has_a_bounded_number_of_commands_in_all_its_rooms(scene: Scene):
    names = [f"c{number}" for number in range(offered.MAX_COMMANDS)]
    await scene.offer(*names)
    for number in range(9):
        room = await create(scene.writer, BOT, f"r{number}")
        await scene.offer(*names, room=room)
    assert await scene.pool.fetchval("SELECT count(*) FROM chat.bot_commands") == offered.MAX_REGISTERED
    last = await create(scene.writer, BOT, "last")
    refused = await rejected(scene.offer("one", room=last))
    assert refused.code is Code.LIMIT_EXCEEDED
    # What takes the place of others is no more than they were.
    await scene.offer(*names)
    await scene.offer(*names[:-1])
    await scene.offer("one", room=last)
    assert (await rejected(scene.offer(*names))).code is Code.LIMIT_EXCEEDED
    kept = await scene.pool.fetchval("SELECT count(*) FROM chat.bot_commands WHERE room_id = 0")
    assert kept == offered.MAX_COMMANDS - 1, "all or none are taken"


async def test_a_user_has_twenty_commands_that_wait_and_a_bot_five_hundred(scene: Scene):
    await scene.offer("poll")
    for number in range(rows.MAX_ASKED):
        await scene.ask(f"a{number}")
    assert (await rejected(scene.ask("more"))).code is Code.LIMIT_EXCEEDED
    assert (await scene.ask("a3")).state == "waiting", "what was asked before is answered as before"
    waiting = (await scene.invocations.waiting(BOT, ListInvocations())).invocations
    assert len(waiting) == rows.MAX_ASKED
    await scene.invocations.reply(BOT, ReplyToCommand(waiting[0].invocation, "done", only_you=True))
    assert (await scene.ask("more")).state == "waiting", "an answer makes room"
    await scene.pool.fetch(
        """INSERT INTO chat.invocations
             (user_id, id, invocation, room_id, user_name, bot_id, bot_name, name, options, expires_at)
           SELECT 'u_' || n, 'x', gen_random_uuid(), room_id, '', bot_id, '', name, options, now() + interval '1 minute'
           FROM (SELECT * FROM chat.invocations LIMIT 1) one, generate_series(1, $1) n""",
        rows.MAX_WAITING - rows.MAX_ASKED,
    )
    refused = await rejected(scene.ask("ann", ANN))
    assert (refused.code, refused.retryable) == (Code.OVERLOADED, True)
    assert len((await scene.invocations.waiting(BOT, ListInvocations())).invocations) == asking.MAX_LISTED


async def test_what_is_not_answered_in_time_expires_once_and_takes_no_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "INTERVAL", 0.02)
    await scene.offer("poll")
    scene.hear("u_ben")
    await scene.bus.flush()
    late, put_off, claimed = [await scene.ask(name) for name in ("late", "put-off", "claimed")]
    deferred = await scene.invocations.defer(BOT, DeferReply(put_off.invocation))
    assert deferred.deferred
    assert 890 < (deferred.expires_at - deferred.at).total_seconds() <= rows.DEFER_SECONDS
    # One that the bot has begun to answer waits for the commit of its message.
    await rows.claim(scene.pool, claimed.invocation, "u_bot", False, "")
    await scene.pool.fetch("UPDATE chat.invocations SET expires_at = clock_timestamp() WHERE NOT deferred")
    async with Tasks() as tasks:
        for number in range(3):
            tasks.forever(scene.invocations.run(), name=f"slash commands {number}")
        await until(lambda: any(one["state"] == "expired" for _, one in scene.told), "who asked is told")
        await until(lambda: expired(scene), "it is noted")
    assert [one["id"] for _, one in scene.told if one["state"] == "expired"] == ["late"], "told once, by one of three"
    for said in (ReplyToCommand(late.invocation, "x"), ReplyToCommand(late.invocation, "x", only_you=True)):
        assert (await rejected(scene.invocations.reply(BOT, said))).code is Code.NOT_FOUND
    assert (await rejected(scene.invocations.defer(BOT, DeferReply(late.invocation)))).code is Code.NOT_FOUND
    assert (await scene.ask("late")).state == "expired", "asked again it says what became of it"
    assert (await scene.invocations.reply(BOT, ReplyToCommand(claimed.invocation, "here"))).sequence
    assert (await scene.invocations.reply(BOT, ReplyToCommand(put_off.invocation, "later"))).state == "answered"


async def expired(scene: Scene) -> bool:
    return await scene.pool.fetchval("SELECT count(*) FROM chat.invocations WHERE state = 'expired'") == 1


async def test_who_blocked_a_bot_or_is_blocked_by_it_has_none_of_its_commands(scene: Scene):
    await scene.offer("poll")
    assert await scene.listed() == ["poll"]
    for who, whom in ((BEN, "u_bot"), (BOT, "u_ben")):
        await blocks.block(scene.pool, who, BlockUser(whom))
        assert await scene.listed() == []
        assert (await rejected(scene.ask("x"))).code is Code.NOT_FOUND
        assert await scene.listed(ANN) == ["poll"], "others have it"
        await blocks.unblock(scene.pool, who, UnblockUser(whom))
    assert (await scene.ask("x")).state == "waiting"
