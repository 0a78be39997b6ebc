"""What is in the log reaches everybody whom it concerns, though whoever committed it never told anybody."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable

from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import ChatCommand
from parley.cli.database.incarnation import begin_incarnation
from parley.common.wire.identity import Identity
from tests.support.chat.writing import running_writer
from tests.support.clients.conversation import make_room, ok
from tests.support.clients.people import People
from tests.support.postgres import run_sql
from tests.support.stack.stack import Stack

MakeStack = Callable[..., Awaitable[Stack]]


async def commit(stack: Stack, account: dict[str, str], command: ChatCommand) -> None:
    """Commit a command as a chat does that is killed in the moment after."""
    identity = Identity(account["user_id"], account["username"])
    async with running_writer(stack.database_url) as (writer, _):
        await writer.submit(command, identity, "")


async def test_what_is_committed_and_never_published_reaches_whom_it_concerns(own_stack: MakeStack):
    stack = await own_stack()
    people = People(stack, registered=False)
    (ann, ann_account), (ben, ben_account), (cat, cat_account) = [
        await people.join(name, gateway=stack.gateways[place]) for name, place in (("ann", 0), ("ben", 1), ("cat", 1))
    ]
    room = await make_room(ann, ben)

    async def said(text: str) -> None:
        await commit(stack, ann_account, SendMessage(str(uuid.uuid4()), room, text))

    await said("unheard")
    await ben.until(lambda: "unheard" in ben.bodies(room), "a last message that nobody published")

    # Who joins hears it from their join on, on a gateway where nobody else was told of it.
    await commit(stack, cat_account, JoinRoom("join", room))
    await cat.until(lambda: cat.logged(room), "the own join")
    await ok(ann, "message.send", room=room, body="for three")
    await cat.until(lambda: cat.bodies(room) == ["for three"], "what follows the join")

    # Who leaves is out, and hears no more.
    await commit(stack, ben_account, LeaveRoom("leave", room))
    await ben.until(lambda: ben.logged(room)[-1]["type"] == "member.left", "the own leave")
    await ok(ann, "message.send", room=room, body="for two")
    await cat.until(lambda: cat.bodies(room)[-1] == "for two", "what follows the leave")
    assert "for two" not in ben.bodies(room)

    # All chats were away for hours, and nobody has said anything since.
    await asyncio.gather(*(asyncio.to_thread(chat.stop, signal.SIGKILL) for chat in stack.chats))
    await said("last words")
    await run_sql(stack.database_url, "UPDATE chat.events SET recorded_at = recorded_at - interval '3 hours'")
    for chat in stack.chats:
        chat.start()
    await cat.until(lambda: cat.bodies(room)[-1] == "last words", "what was said before the chats went away")

    # Whichever of them announces stands still: the other one does it.
    for chat in stack.chats:
        await chat.ready()
        stopped = stack.chats[0] if chat is stack.chats[1] else stack.chats[1]
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            await said(f"while {stopped.name} stands still")
            await cat.until(lambda s=stopped: cat.bodies(room)[-1].endswith(f"{s.name} stands still"), "a message")
        finally:
            os.kill(stopped.pid, signal.SIGCONT)  # or it cannot be ended

    # The log is restored: gateways that went on tell their clients, without a restart.
    await begin_incarnation(stack.database_url, None)
    for client, account in ((ann, ann_account), (cat, cat_account)):
        # Of their own rooms as well, whose logs were restored with it.
        rooms = {room, f"user:{account['user_id']}"}
        await client.until(lambda c=client, r=rooms: {e["room"] for e in c.of("reset")} == r, "the resets")
    assert {one["room"] for one in ben.of("reset")} <= {f"user:{ben_account['user_id']}"}
    await ok(ann, "message.send", room=room, body="in another history")
    await cat.until(lambda: cat.bodies(room)[-1] == "in another history", "what follows")
    await people.stop()
