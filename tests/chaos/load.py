"""One process of clients: `python -m tests.chaos.load SPECIFICATION`. It is told by lines on standard input.

`quiet` ends what its people do of themselves; it prints `quiet` when each of their commands has its answer and every
client is connected, or that could not be had. `end` closes the ledger.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ledger
from tests.chaos.people import Habits, Person, Place
from tests.chaos.sockets import AnySocket, RecordedJs, RecordedPython

SETTLING_SECONDS = 20.0
"""For answers and connections after the last fault. What is not there by then is judged as it is."""
LOOKING_SECONDS = 60.0
"""For looking at everything when all is over."""
TRANSPORTS = (["websocket"], ["polling", "websocket"], ["polling"])


def person(specification: dict[str, Any], shared: dict[str, Any], ledger: Ledger) -> Person:
    """A person as the specification has them, with clients that are not connected yet."""
    user = specification["user"]
    clients: list[AnySocket] = []
    for number, kind in enumerate(specification["clients"], 1):
        make = RecordedPython if kind == "python" else RecordedJs
        clients.append(make(f"{user}#{number}", user, ledger))
    return Person(
        user, specification["name"], specification["own"], clients, [Place(**place) for place in shared["places"]],
        [other for other in shared["users"] if other != user], shared["auths"], ledger,
        random.Random(f"{shared['seed']} {user}"), Habits(**shared["habits"]),
    )  # fmt: skip


async def settled(people: list[Person], living: list[asyncio.Task[None]]) -> None:
    """Wait until everything is answered and everybody is there, for as long as that may take."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLING_SECONDS):
            await asyncio.gather(*living)
            while not all(client.connected_now for someone in people for client in someone.clients):
                await asyncio.sleep(0.05)


async def marked(people: list[Person]) -> None:
    """Have everybody say how far they have read, with nothing broken, so that it must be known in the end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLING_SECONDS):
            await asyncio.gather(*(someone.read_some() for someone in people))


async def main(specification: dict[str, Any]) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with Ledger.open(Path(specification["ledger"])) as ledger:
        people = [person(each, specification, ledger) for each in specification["people"]]
        clients = {client.name: client.user for someone in people for client in someone.clients}
        ledger.write("begin", users=[someone.user for someone in people], clients=clients)
        for number, someone in enumerate(people):
            while not (token := await someone.token()):
                await asyncio.sleep(0.2)
            for client in someone.clients:
                client.begin(specification["url"], {"token": token}, TRANSPORTS[number % len(TRANSPORTS)])
        over = asyncio.Event()
        returning = [asyncio.create_task(someone.come_back()) for someone in people]
        living = [asyncio.create_task(someone.live(over)) for someone in people]
        print("begun", flush=True)  # noqa: T201
        await orders.readline()
        over.set()
        await settled(people, living)
        await marked(people)
        print("quiet", flush=True)  # noqa: T201
        await orders.readline()
        # From here on nobody comes back: what ends now is no part of the run.
        for task in (*returning, *living):
            task.cancel()
        await asyncio.gather(*returning, *living, return_exceptions=True)
        # What cannot be looked at is missing in the ledger, and so is nothing that is good.
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKING_SECONDS):
                await asyncio.gather(*(someone.look() for someone in people), return_exceptions=True)
    for someone in people:
        for client in someone.clients:
            await client.stop()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
