"""Clients of a gateway's commands, and what they are told."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from parley.common.wire.identity import Identity
from parley.engineio.session import Session
from parley.framework.serving.event_result import EventResult
from parley.gateway.commands.forwarder import CommandForwarder
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.packets import EventPacket
from tests.support.bus import fresh
from tests.support.waiting import until


class Reply(NamedTuple):
    """What one client was told."""

    connection: Connection
    ack_id: int | None
    body: dict[str, Any]
    ok: bool


class Clients:
    """The clients' side: connections that emit, and a record of what they were told."""

    def __init__(self, commands: CommandForwarder, namespace: str) -> None:
        self.commands = commands
        self.namespace = namespace
        self.replies: list[Reply] = []
        self._ack_ids = itertools.count(1)

    def reply(self, connection: Connection, ack_id: int | None, outcome: EventResult) -> None:
        """Take note of an outcome."""
        self.replies.append(Reply(connection, ack_id, json.loads(outcome.payload), outcome.ok))

    def connect(self, namespace: str = "") -> Connection:
        """A connection of a user of its own."""
        sid = fresh("sid")
        identity = Identity(f"u_{sid}", sid)
        session = cast("Session", SimpleNamespace(address="192.0.2.1"))
        return Connection(sid, session, namespace or self.namespace, identity, 0.0)

    def emit(self, connection: Connection, event: str = "say", args: bytes = b"[]") -> int:
        """Emit an event with an ack, and return the ack's id."""
        ack_id = next(self._ack_ids)
        self.commands.submit(connection, EventPacket(connection.namespace, ack_id, event, args))
        return ack_id

    async def told(self, count: int) -> list[str]:
        """Wait for so many outcomes: `ok` or the code, in the order of the emits."""
        await until(lambda: len(self.replies) >= count)
        assert len({reply.ack_id for reply in self.replies}) == len(self.replies), "told twice"
        assert all(reply.body["ok"] is reply.ok for reply in self.replies)
        ordered = sorted(self.replies, key=lambda reply: reply.ack_id or 0)
        return ["ok" if reply.ok else reply.body["error"]["code"] for reply in ordered]


class ForwardedReplies:
    """Stands in until the clients exist: they and the commands know each other."""

    clients: Clients

    def reply(self, connection: Connection, ack_id: int | None, outcome: EventResult) -> None:
        self.clients.reply(connection, ack_id, outcome)
