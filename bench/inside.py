"""The chat service inside of this process: its own writer and queries, without a gateway in front.

The one place of the benchmarks that calls them.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from parley.chat.api.socket import ack
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.rooms import CreateRoom
from parley.chat.queries.queries import History, Sync
from parley.chat.service import service
from parley.chat.settings import Settings
from parley.chat.state import State
from parley.cli import embedded
from parley.framework import Identity

PAGE = 50


class Chat:
    """What is asked of it, each as one user."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create_room(self, user: str, name: str) -> str:
        """Make a public room and return its id."""
        return (await self._submit(user, CreateRoom(str(uuid4()), name))).room.id

    async def send(self, user: str, room: str, text: str) -> int:
        """Have a message committed and return its sequence."""
        return (await self._submit(user, SendMessage(str(uuid4()), room, text))).sequence

    async def history(self, user: str, room: str, before: int) -> int:
        """Read a page, and return how many events it has."""
        page = await self._state.queries.history(History(room, before, limit=PAGE), _identity(user))
        return len(page.events)

    async def sync(self, user: str, cursors: dict[str, int]) -> int:
        """Read what was missed in these rooms, and return how many events that is."""
        rooms = await self._state.queries.sync(Sync(cursors), _identity(user))
        return sum(len(room.events) for room in rooms.values())

    async def _submit(self, user: str, command: RoomCommand) -> Any:
        identity = _identity(user)
        return ack(await self._state.writer.submit(command, identity, "bench"), identity)


def _identity(user: str) -> Identity:
    # Names stand in every event, and are about as long.
    return Identity(user, f"User {user[:5]}")


@asynccontextmanager
async def chat(database_url: str) -> AsyncGenerator[Chat]:
    """Run the service on a database, with a NATS of its own."""
    with tempfile.TemporaryDirectory() as directory, embedded.nats(Path(directory) / "nats") as nats_url:
        settings = Settings(nats_url=nats_url, database_url=database_url, log_level="warning")
        async with service.running(settings) as running:
            yield Chat(running.state)
