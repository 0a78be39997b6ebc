"""The chat service inside of this process: its own controllers, writer and queries, without gateway and sockets.

Commands and queries are what a client sends, so that nothing here depends on what is behind them.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from parley.chat.queries import members
from parley.chat.service import service
from parley.chat.settings import ChatSettings
from parley.chat.state import ChatState
from parley.cli.stack import embedded
from parley.common.wire.identity import Identity
from parley.testing.fake_connection import FakeConnection
from parley.testing.fake_namespace import FakeNamespace

PAGE = 50


class Chat:
    """What is asked of it, each as one user. Raises `RuntimeError` when it refuses."""

    def __init__(self, namespace: FakeNamespace, state: ChatState) -> None:
        self._namespace = namespace
        self._state = state
        self._connections: dict[str, FakeConnection] = {}

    async def connect(self, user: str) -> None:
        """Let a user in; must be done once before anything else."""
        # Names stand in every event, and are about as long.
        self._connections[user] = await self._namespace.connect(user, name=f"User {user[:5]}")

    async def create_room(self, user: str, name: str) -> str:
        """Make a public room and return its id."""
        ack = await self.ask(user, "room.create", {"id": str(uuid4()), "name": name, "kind": "public"})
        return ack["room"]["id"]

    async def send(self, user: str, room: str, text: str) -> int:
        """Have a message committed and return its sequence."""
        return (await self.ask(user, "message.send", {"id": str(uuid4()), "room": room, "body": text}))["sequence"]

    async def history(self, user: str, room: str, before: int) -> int:
        """Read a page of the log's own events, and return how many it has."""
        asked = {"room": room, "before": before, "limit": PAGE, "raw": True}
        return len((await self.ask(user, "history", asked))["events"])

    async def sync(self, user: str, cursors: dict[str, int]) -> int:
        """Read what was missed in these rooms, and return how many events that is."""
        rooms = (await self.ask(user, "sync", {"cursors": cursors}))["rooms"]
        return sum(len(room.get("events", ())) for room in rooms.values())

    async def members(self, user: str, room: str, after: str, limit: int) -> int:
        """Read a page of a room's members, and return how many it has."""
        found, _ = await members.page(self._state.reads, room, Identity(user, user), after, limit)
        return len(found)

    async def ask(self, user: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send anything, and return the ack."""
        ack = await self._connections[user].emit(event, payload)
        if not ack["ok"]:
            raise RuntimeError(f"{event}: {ack}")
        return ack


@asynccontextmanager
async def chat(database_url: str, users: set[str]) -> AsyncGenerator[Chat]:
    """Run the service on a database, with a NATS of its own, and let these users in."""
    with tempfile.TemporaryDirectory() as directory, embedded.nats(Path(directory) / "nats") as nats_url:
        settings = ChatSettings(nats_url=nats_url, database_url=database_url, log_level="warning")
        async with service.running(settings) as running, FakeNamespace(service, state=running.state) as namespace:
            found = Chat(namespace, running.state)
            for user in users:
                await found.connect(user)
            yield found
