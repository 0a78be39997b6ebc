"""A conversation that somebody wants to be erased, and its erasure."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from parley.chat.domain.erasure import Erasure
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import UpdateRoom
from parley.chat.log.erasure.erasure_runner import (
    wait_until_completed,
)
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.common.wire.identity import Identity
from tests.support.chat.writing import create

ANN, BEN, CAT = Identity("u_ann", "Ann Mallory"), Identity("u_ben", "Ben"), Identity("u_cat", "Cat")


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def erase(url: str, ledger: Ledger, erasure: Erasure) -> Erasure:
    return await wait_until_completed(url, ledger, erasure, lambda _: None)


async def say(writer: Writer, room: str, text: str, identity: Identity = ANN) -> int:
    return (await writer.submit(SendMessage(f"say {text}"[:64], room, text), identity, "")).sequence


async def conversation(writer: Writer, *, renames: bool = True) -> str:
    """A room that Ann makes and leaves traces in, and in which Ben and Cat go on."""
    room = await create(writer, ANN, "Ann's command")
    if renames:
        await writer.submit(UpdateRoom("u", room, "Mallory's den", "my address"), ANN, "")
        await writer.submit(UpdateRoom("u2", room, "The den", "All that is"), ANN, "")
    await writer.submit(JoinRoom("j", room), BEN, "")
    await say(writer, room, "my address is 7 Elm Street")
    await writer.submit(InviteUser("i", room, UserRef("u_cat")), ANN, "")
    await writer.submit(InviteUser("i2", room, UserRef("u_dan")), ANN, "")
    await writer.submit(LeaveRoom("l", room), ANN, "")
    await writer.submit(InviteUser("i3", room, UserRef("u_ann")), BEN, "")
    await writer.submit(JoinRoom("j2", room), ANN, "")
    await writer.submit(JoinRoom("j3", room), CAT, "")
    await say(writer, room, "hello", BEN)
    return room
