"""A writer of the log, and what people have it write."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import CreateRoom
from parley.chat.log.writer import Writer
from parley.chat.settings import ChatSettings
from parley.common.process.tasks import Tasks
from parley.common.wire.identity import Identity


class RecordingPublisher:
    """Keeps what a writer announced, in order."""

    def __init__(self) -> None:
        self.decisions: list[BatchDecision] = []

    async def publish(self, decision: BatchDecision) -> None:
        """Take note of a committed batch."""
        self.decisions.append(decision)


@asynccontextmanager
async def running_writer(url: str, **settings: Any) -> AsyncGenerator[tuple[Writer, RecordingPublisher]]:
    """A writer with its own connection, and a recording publisher."""
    publisher = RecordingPublisher()
    configured = ChatSettings(database_url=url, **settings)
    async with Tasks() as tasks:
        writer = Writer(publisher.publish, configured)
        await writer.connect()
        tasks.forever(writer.run(), name="writer")
        yield writer, publisher


ANN, BEN = Identity("u_ann", "Ann"), Identity("u_ben", "Ben")


async def create(writer: Writer, identity: Identity = ANN, command_id: str = "create", **fields: Any) -> str:
    """Make a room and return its id."""
    accepted = await writer.submit(CreateRoom(command_id, "General", **fields), identity, "test")
    assert accepted.room is not None
    return accepted.room.id


async def send(writer: Writer, room: str, number: int, identity: Identity = ANN) -> int:
    """Send one message and return its sequence."""
    accepted = await writer.submit(SendMessage(f"m{number}", room, f"text {number}"), identity, f"corr-{number}")
    return accepted.sequence
