"""Commands as people send them, each with a fresh id, for the acceptance tests."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.support.clients.stock_clients import JsClient, PythonClient

AnyClient = PythonClient | JsClient


async def command(client: AnyClient, event: str, **fields: Any) -> dict[str, Any]:
    """Send a command and return its ack."""
    return await client.emit(event, {"id": str(uuid.uuid4()), **fields})


async def ok(client: AnyClient, event: str, **fields: Any) -> dict[str, Any]:
    """Send a command that must be accepted."""
    answer = await command(client, event, **fields)
    assert answer["ok"], answer
    return answer


async def persist(client: AnyClient, event: str, **fields: Any) -> dict[str, Any]:
    """Send a command until it is accepted, always with the same id, as a client does through an outage."""
    fields = {"id": str(uuid.uuid4()), **fields}
    async with asyncio.timeout(40):
        while True:
            try:
                answer = await client.emit(event, fields, timeout=3)
            except Exception:  # noqa: BLE001 - disconnected or timed out: whatever it is, it is tried again
                answer = {}
            if answer.get("ok"):
                return answer
            assert answer.get("error", {"retryable": True})["retryable"], answer
            await asyncio.sleep(0.1)


async def make_room(client: AnyClient, *members: AnyClient, kind: str = "public") -> str:
    """Create a room that the others join, and wait until each has seen its own arrival."""
    room: str = (await ok(client, "room.create", name="Room", kind=kind))["room"]["id"]
    for member in members:
        sequence = (await ok(member, "room.join", room=room))["sequence"]
        await member.until(lambda m=member, s=sequence: any(e["sequence"] == s for e in m.logged(room)), "own arrival")
    return room


def code(answer: dict[str, Any]) -> str:
    """The code of a rejection."""
    assert answer.get("ok") is False, answer
    assert set(answer["error"]) == {"code", "message", "retryable"}, answer
    return answer["error"]["code"]
