"""A support desk: whoever invites this bot into a room is greeted, answered, and brought a person who can help.

Every command's id is derived from what it answers. So nobody is answered twice, whatever is lost or restarted.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import Any

import socketio

ANSWERS = {
    "hours": "We are here on weekdays from 9 to 17.",
    "price": "It costs nothing: Parley is free software.",
}
GREETING = f"Hello! Ask me about {' or '.join(ANSWERS)}, or say *human* and I fetch somebody."


async def main(url: str, token: str, agents: list[str]) -> None:
    """Serve until the connection is ended for good. `agents` are the ids of the users who help, in turn."""
    client: Any = socketio.AsyncClient()
    turns = itertools.cycle(agents)

    async def send(command: str, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await client.call(command, fields, namespace="/chat")
        print(command, answer.get("error", "done"), file=sys.stderr)
        return answer

    async def invited(event: dict[str, Any]) -> None:
        cause = f"{event['room']}-{event['sequence']}"
        await send("room.join", id=f"join-{cause}", room=event["room"])
        await send("message.send", id=f"greet-{cause}", room=event["room"], body=GREETING)

    async def said(event: dict[str, Any]) -> None:
        room, cause, body = event["room"], event["event_id"], event["data"]["body"].lower()
        if event["id"].startswith(("greet-", "answer-")):
            return  # its own
        if agents and "human" in body:
            await send("room.invite", id=f"fetch-{cause}", room=room, user={"id": next(turns)})
        elif answer := next((text for word, text in ANSWERS.items() if word in body), None):
            await send("message.send", id=f"answer-{cause}", room=room, body=answer, reply_to=event["sequence"])

    async def connected() -> None:
        for room in [one for one in (await send("rooms")).get("rooms", []) if one.get("invited")]:
            await invited({"room": room["id"], "sequence": room["head"]})

    client.on("connect", connected, namespace="/chat")
    client.on("member.invited", invited, namespace="/chat")
    client.on("message.sent", said, namespace="/chat")
    await client.connect(url, namespaces=["/chat"], auth={"token": token}, transports=["websocket"])
    await client.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], os.environ["PARLEY_TOKEN"], sys.argv[2:]))
