"""What is kept in `context.data` is there after a recovery, also where the command was in flight meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.framework import Context, Router, Service
from parley.testing import running
from tests.support.gateway.lives import Hand, ack, hand
from tests.support.waiting import until

router = Router[None]("/kept")
begun, gate = asyncio.Event(), asyncio.Event()


async def note(context: Context[None], value: int) -> None:
    """Keep a value once the gate is open."""
    begun.set()
    await gate.wait()
    context.data["value"] = value


async def told(context: Context[None]) -> dict[str, Any]:
    """Say what is kept."""
    return dict(context.data)


router.on("note")(note)
router.on("told")(told)


async def kept(client: Hand) -> dict[str, Any]:
    """What is kept with a client's connection."""
    await client.send('42/kept,1["told"]')
    return ack(await client.text(), "/kept", 1)


@pytest.mark.parametrize("finished", ["while it is away", "when it is back"])
async def test_what_a_command_in_flight_keeps_is_there_after_a_recovery(nats_url: str, finished: str):
    begun.clear()
    gate.clear()
    namespaces = {"/kept": {"recovery": 60}}
    async with running(Service("kept", router), namespaces=namespaces, settings={"nats_url": nats_url}) as server:
        async with hand(server, "somebody") as client:
            first = await client.joined("/kept")
            await client.send('42/kept,["note",7]')
            await begun.wait()
        if finished == "while it is away":
            gate.set()
        async with hand(server, "somebody") as client:
            again = await client.joined("/kept", pid=first["pid"], offset="")
            assert again["sid"] == first["sid"]
            gate.set()

            async def there() -> bool:
                return (await kept(client)).get("value") == 7

            await until(there, seconds=5)
