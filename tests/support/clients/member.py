"""A client of the stock kind that loses its transport and comes back, and who talks with it meanwhile."""

from __future__ import annotations

from typing import Any

from tests.support.clients.conversation import ok
from tests.support.clients.people import People
from tests.support.clients.stock_clients import JsClient
from tests.support.stack.stack import Process


class Member:
    """A client of the first gateway in a room with somebody who talks on the second."""

    def __init__(self, client: JsClient, account: dict[str, Any], talker: Any, room: str) -> None:
        self.client = client
        self.account = account
        self.talker = talker
        self.room = room
        self.said = 0

    async def hears(self, count: int = 1) -> None:
        """So many more messages are sent, and it gets them."""
        await self.miss(count)
        await self.is_whole()

    async def miss(self, count: int) -> None:
        """So many more messages are sent."""
        for _ in range(count):
            self.said += 1
            await ok(self.talker, "message.send", room=self.room, body=str(self.said))

    async def is_whole(self) -> None:
        """It gets everything that was said, once and in order."""
        await self.client.until(lambda: len(self.client.bodies(self.room)) >= self.said, "what was said")
        assert self.client.bodies(self.room) == [str(n) for n in range(1, self.said + 1)]

    async def returns(self, gateway: Process, *, recovered: bool = True) -> None:
        """It comes back there, and says whether it got back what it had."""
        times, sid = len(self.client.connects), self.client.connects[-1]
        self.client.turn(gateway.url)
        self.client.back()
        await self.client.connected(times + 1)
        assert self.client.recovered[-1] is recovered
        assert (self.client.connects[-1] == sid) is recovered


async def js(people: People, auth: Any, **options: Any) -> JsClient:
    """A stock client that tries to connect."""
    client = await people.attempt(auth, kind="js", **options)
    assert isinstance(client, JsClient)
    return client
