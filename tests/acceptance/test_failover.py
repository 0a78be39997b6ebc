"""Any part may be restarted in the middle of a conversation: no ack is lost, and clients carry on by themselves."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded
from tests.acceptance.conftest import KINDS, AnyClient, People
from tests.support.clients.conversation import make_room, ok, persist
from tests.support.own_server import Server
from tests.support.stack.stack import Stack, free_port


class Breakable(NamedTuple):
    """A stack whose NATS and Postgres may be stopped as well."""

    stack: Stack
    nats: Server
    postgres: Server

    async def mend(self) -> None:
        """Start whatever does not run, and wait until everybody is ready."""
        for server in (self.nats, self.postgres):
            if not server.running:
                await server.start()
        for process in self.stack.processes:
            if not process.running:
                process.start()
        await asyncio.gather(*(process.ready() for process in self.stack.processes))


@pytest.fixture(scope="module")
async def breakable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Breakable]:
    """One stack for all of these tests, each of which leaves it whole."""
    directory, port = tmp_path_factory.mktemp("failover"), free_port()
    nats = Server(lambda: embedded.nats(directory / "nats", port))
    postgres = Server(lambda: embedded.postgres(directory / "pg"))
    await asyncio.gather(nats.start(), postgres.start())
    await asyncio.to_thread(upgrade, postgres.url)
    stack = Stack(postgres.url, nats.url, directory, PARLEY_GATEWAY_DRAIN_SECONDS="1.5")
    await stack.start()
    yield Breakable(stack, nats, postgres)
    await stack.stop()
    await asyncio.gather(nats.stop(), postgres.stop())


@pytest.fixture(autouse=True)
async def mended(breakable: Breakable) -> None:
    """A test that failed half-way takes no other with it."""
    await breakable.mend()


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
        async with asyncio.timeout(40):
            while True:
                now = Counter(body.split(":")[0] for body in self.acked)
                if all(now[str(n)] >= before[str(n)] + count for n in range(len(self.clients))):
                    return
                await asyncio.sleep(0.05)

    async def ends_whole(self) -> None:
        """Stop talking; the log and what every member saw must be exactly what was acked."""
        self._talking = False
        await asyncio.gather(*self._tasks)
        logged: dict[str, int] = {}
        after = 0
        while True:
            page = await self.clients[0].emit("history", {"room": self.room, "after": after, "limit": 200})
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
async def test_a_gateway_is_restarted(breakable: Breakable, kind: str, how: signal.Signals):
    stack = breakable.stack
    talk = await converse(stack, (kind, "python"))
    await talk.goes_on()
    await stack.gateways[0].restart(how)
    await talk.goes_on()
    await talk.ends_whole()
    assert len(talk.clients[0].connects) >= 2
    assert len(talk.clients[1].connects) == 1
    await talk.people.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
async def test_each_chat_is_restarted_in_turn(breakable: Breakable, how: signal.Signals):
    stack = breakable.stack
    talk = await converse(stack)
    await talk.goes_on()
    for chat in stack.chats:
        await chat.restart(how)
        await talk.goes_on()
    await talk.ends_whole()
    assert all(len(client.connects) == 1 for client in talk.clients), "connections outlive a chat"
    await talk.people.stop()


async def test_all_chats_are_away_for_a_while(breakable: Breakable):
    stack = breakable.stack
    talk = await converse(stack)
    await talk.goes_on()
    await asyncio.gather(*(asyncio.to_thread(chat.stop, signal.SIGKILL) for chat in stack.chats))
    answer = await talk.clients[0].emit(
        "message.send", {"id": "nobody", "room": talk.room, "body": "anyone?"}, timeout=30
    )
    assert answer["error"]["code"] in {"unavailable", "timeout"}
    assert answer["error"]["retryable"]
    for chat in stack.chats:
        chat.start()
        await chat.ready()
    await talk.goes_on()
    await talk.ends_whole()
    await talk.people.stop()


async def test_auth_is_restarted_and_connections_that_come_meanwhile_wait_for_it(breakable: Breakable):
    stack = breakable.stack
    talk = await converse(stack)
    late = await talk.people.account("late")
    await talk.goes_on()
    await asyncio.to_thread(stack.auth.stop)
    attempt = asyncio.create_task(talk.people.attempt({"token": late["access_token"]}))
    await talk.goes_on()
    stack.auth.start()
    await stack.auth.ready()
    await (await attempt).connected()
    await talk.goes_on()
    await talk.ends_whole()
    await talk.people.stop()


async def test_nats_is_restarted(breakable: Breakable):
    stack, nats, _ = breakable
    talk = await converse(stack)
    await talk.goes_on()
    for _ in range(2):
        await nats.stop()
        await nats.start()
        await talk.goes_on()
    await talk.ends_whole()
    assert all(len(client.connects) == 1 for client in talk.clients), "connections outlive NATS"
    await talk.people.stop()


async def test_while_nats_is_away_services_are_not_ready_and_commands_are_refused_at_once(breakable: Breakable):
    stack, nats, _ = breakable
    people = People(stack)
    client, _ = await people.join()
    room = await make_room(client)
    await nats.stop()
    async with asyncio.timeout(10):
        for process in stack.processes:
            while (await stack.http.get(f"{process.url}/readyz")).status_code != 503:
                await asyncio.sleep(0.05)
    answer = await client.emit("message.send", {"id": "x", "room": room, "body": "x"}, timeout=1)
    assert answer["error"] | {"message": ""} == {"code": "unavailable", "message": "", "retryable": True}
    assert (await stack.http.get(f"{stack.gateways[0].url}/healthz")).status_code == 200
    await nats.start()
    await asyncio.gather(*(process.ready() for process in stack.processes))
    await ok(client, "message.send", room=room, body="back")
    await client.until(lambda: client.bodies(room) == ["back"], "events after the reconnect")
    await people.stop()


async def test_postgres_is_restarted(breakable: Breakable):
    stack, _, postgres = breakable
    talk = await converse(stack)
    await talk.goes_on()
    await postgres.stop()
    answer: dict[str, Any] = await talk.clients[0].emit(
        "message.send", {"id": "away", "room": talk.room, "body": "x"}, timeout=30
    )
    assert answer["error"]["retryable"], answer
    await postgres.start()
    await talk.goes_on()
    await talk.ends_whole()
    assert all(len(client.connects) == 1 for client in talk.clients), "connections outlive Postgres"
    await talk.people.stop()
