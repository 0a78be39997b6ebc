"""People who talk while parts of the stack are restarted."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.support.clients.conversation import make_room, persist
from tests.support.clients.people import AnyClient, People
from tests.support.stack.stack import Stack
from tests.support.waiting import until


class Conversation:
    """People who talk all the time, and a ledger of what was acked to them."""

    def __init__(self, people: People, clients: list[AnyClient], room: str) -> None:
        self.people = people
        self.clients = clients
        self.room = room
        self.acked: dict[str, int] = {}
        self._talking = True
        self._tasks = [asyncio.create_task(self._talk(n, client)) for n, client in enumerate(clients)]

    async def _talk(self, who: int, client: AnyClient) -> None:
        number = 0
        while self._talking:
            body = f"{who}:{number}"
            answer = await persist(client, "message.send", room=self.room, body=body)
            self.acked[body] = answer["sequence"]
            number += 1
            await asyncio.sleep(0.01)

    async def goes_on(self, count: int = 20) -> None:
        """Wait until everybody got so many more messages acked."""
        before = Counter(body.split(":")[0] for body in self.acked)

        def went_on() -> bool:
            now = Counter(body.split(":")[0] for body in self.acked)
            return all(now[str(n)] >= before[str(n)] + count for n in range(len(self.clients)))

        await until(went_on, f"everybody got {count} more messages acked", seconds=40)

    async def ends_whole(self) -> None:
        """Stop talking; the log and what every member saw must be exactly what was acked."""
        self._talking = False
        await asyncio.gather(*self._tasks)
        logged: dict[str, int] = {}
        after = 0
        while True:
            page = await self.clients[0].emit("history", {"room": self.room, "after": after, "limit": 200, "raw": True})
            for event in page["events"]:
                assert event["sequence"] == after + 1, "a gap in the log"
                after += 1
                if event["type"] == "message.sent":
                    assert event["data"]["body"] not in logged, "doubled"
                    logged[event["data"]["body"]] = event["sequence"]
            if not page["more"]:
                break
        assert logged == self.acked
        for n in range(len(self.clients)):
            mine = [sequence for body, sequence in logged.items() if body.startswith(f"{n}:")]
            assert mine == sorted(mine), "out of the order sent"
        for client in self.clients:
            await client.until(lambda c=client: c.logged(self.room)[-1]["sequence"] == after, "the last event")
            sequences = [event["sequence"] for event in client.logged(self.room)]
            assert sequences == list(range(sequences[0], after + 1)), "a member missed or doubled an event"
            assert not client.of("reset")


async def converse(stack: Stack, kinds: tuple[str, ...] = ("python", "python")) -> Conversation:
    """Members on both gateways in one room, talking."""
    people = People(stack)
    clients = [
        (await people.join(f"p{n}", kind=kind, gateway=stack.gateways[n % 2]))[0] for n, kind in enumerate(kinds)
    ]
    room = await make_room(clients[0], *clients[1:])
    await clients[0].until(lambda: clients[0].logged(room), "the room")
    return Conversation(people, clients, room)
