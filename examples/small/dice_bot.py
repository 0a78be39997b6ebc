"""A bot with a slash command: in a room that it was invited into, `/roll` throws dice, for all or for who asks alone.

The throw follows from the invocation, so a bot that is killed and answers again says the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from typing import Any

import socketio

ROLL = {
    "name": "roll", "description": "Throw dice", "options": [
        {"name": "sides", "type": "integer", "description": "6, unless you say otherwise"},
        {"name": "secret", "type": "boolean", "description": "Only you see it"},
    ],
}  # fmt: skip


async def main(url: str, token: str) -> None:
    """Serve until the connection is ended for good. The token is an API key that may read and write."""
    client: Any = socketio.AsyncClient()

    async def send(command: str, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await client.call(command, fields, namespace="/chat")
        if not answer["ok"]:
            print(command, answer["error"]["message"], file=sys.stderr)
        return answer

    async def invited(event: dict[str, Any]) -> None:
        await send("room.join", id=f"join-{event['room']}-{event['sequence']}", room=event["room"])

    async def asked(question: dict[str, Any]) -> None:
        sides = max(2, question["options"].get("sides", 6))
        thrown = random.Random(question["invocation"]).randint(1, sides)
        body = f"{question['user']['name']} throws {thrown} of {sides}"
        only_you = question["options"].get("secret", False)
        await send("command.reply", invocation=question["invocation"], body=body, only_you=only_you)

    async def connected() -> None:
        await send("commands.set", commands=[ROLL])
        for room in [one for one in (await send("rooms")).get("rooms", []) if one.get("invited")]:
            await invited({"room": room["id"], "sequence": room["head"]})
        for question in (await send("invocations")).get("invocations", []):
            await asked(question)  # what came while it was away

    client.on("connect", connected, namespace="/chat")
    client.on("member.invited", invited, namespace="/chat")
    client.on("command.invoked", asked, namespace="/chat")
    await client.connect(url, namespaces=["/chat"], auth={"token": token}, transports=["websocket"])
    await client.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], os.environ["PARLEY_TOKEN"]))
