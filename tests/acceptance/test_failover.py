"""Any part may be restarted in the middle of a conversation: no ack is lost, and clients carry on by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded
from tests.support.clients.conversation import make_room, ok
from tests.support.clients.people import KINDS, People
from tests.support.clients.presence_api import PresenceApi, states
from tests.support.clients.talking import converse
from tests.support.clients.watcher import Watcher
from tests.support.own_server import Server
from tests.support.ports import free_port
from tests.support.readiness import is_not_ready
from tests.support.stack.stack import Stack
from tests.support.waiting import until


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
    settings = {"PARLEY_GATEWAY_DRAIN_SECONDS": "1.5", "PARLEY_GATEWAY_PRESENCE_LEASE": "2"}
    stack = Stack(postgres.url, nats.url, directory, **settings)
    await stack.start()
    yield Breakable(stack, nats, postgres)
    await stack.stop()
    await asyncio.gather(nats.stop(), postgres.stop())


@pytest.fixture(autouse=True)
async def mended(breakable: Breakable) -> None:
    """A test that failed half-way takes no other with it."""
    await breakable.mend()


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
    for process in stack.processes:
        await until(lambda url=process.url: is_not_ready(url), f"{process.name} has noticed")
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


# -- who is there ------------------------------------------------------------------------------------------------------


async def test_nobody_is_shown_for_long_whose_gateway_was_killed_and_who_comes_back_is(breakable: Breakable):
    stack = breakable.stack
    people = People(stack)
    ann, a = await people.join("ann", gateway=stack.gateways[0])
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    watcher = Watcher(ann, room)
    await watcher.look()
    await watcher.sees({a["user_id"]: "online", b["user_id"]: "online"})
    await asyncio.to_thread(stack.gateways[1].stop, signal.SIGKILL)
    await watcher.sees({a["user_id"]: "online"})
    stack.gateways[1].start()
    # Nobody looks again: the new gateway asks who looks, and tells.
    await watcher.sees({a["user_id"]: "online", b["user_id"]: "online"}, seconds=30)
    await people.stop()


async def test_over_rest_it_is_said_when_a_gateway_does_not_answer_and_nobody_of_it_is_shown(breakable: Breakable):
    stack = breakable.stack
    people = People(stack)
    ann, a = await people.join("ann", gateway=stack.gateways[0])
    cem, c = await people.join("cem", gateway=stack.gateways[0])
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben, cem)
    api = PresenceApi(stack.http, stack.chats[0], a)
    everybody = {account["user_id"]: "online" for account in (a, b, c)}
    left = {account["user_id"]: "online" for account in (a, c)}
    await until(lambda: api.shows(room, everybody), "all are there")

    async def partial() -> bool:
        answer = await api.room(room)
        return states(answer) == left and answer["partial"]

    os.kill(stack.gateways[1].pid, signal.SIGSTOP)
    try:
        await until(partial, "it says that somebody may be missing")
        # Who is known to be there is called, though one gateway stands still.
        await ok(ann, "message.send", room=room, body="@here", mention_here=True)
        await cem.until(lambda: [one["data"]["cause"] for one in cem.of("notification")] == ["mention"], "the call")
    finally:
        os.kill(stack.gateways[1].pid, signal.SIGCONT)
    await until(lambda: api.shows(room, everybody), "it goes on")
    await asyncio.to_thread(stack.gateways[1].stop, signal.SIGKILL)
    await until(partial, "he is gone, and it says that others may be missing")
    stack.gateways[1].start()
    await until(lambda: api.shows(room, everybody), "he is back, and nobody may be missing", seconds=30)
    assert not ben.of("notification")
    await people.stop()


async def test_who_looks_is_told_on_though_both_chats_were_killed(breakable: Breakable):
    stack = breakable.stack
    people = People(stack)
    ann, a = await people.join("ann", gateway=stack.gateways[0])
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    watcher = Watcher(ann, room)
    await watcher.look()
    await asyncio.gather(*(asyncio.to_thread(chat.stop, signal.SIGKILL) for chat in stack.chats))
    await ben.stop()
    await watcher.sees({a["user_id"]: "online"})
    await breakable.mend()
    again = await people.attempt({"token": b["access_token"]}, gateway=stack.gateways[1])
    await again.connected()
    await watcher.sees({a["user_id"]: "online", b["user_id"]: "online"})
    await people.stop()


async def test_nobody_is_shown_who_left_while_nats_was_away_and_everybody_is_who_stayed(breakable: Breakable):
    stack = breakable.stack
    people = People(stack)
    ann, a = await people.join("ann", gateway=stack.gateways[0])
    ben, b = await people.join("ben", gateway=stack.gateways[1])
    cem, c = await people.join("cem", gateway=stack.gateways[1])
    room = await make_room(ann, ben, cem)
    watcher = Watcher(ann, room)
    await watcher.look()
    await watcher.sees({user["user_id"]: "online" for user in (a, b, c)})
    await breakable.nats.stop()
    await ben.stop()
    # Of gateways that cannot be heard, nobody is shown for longer than a lease.
    await watcher.sees({a["user_id"]: "online"})
    await breakable.mend()
    await watcher.sees({a["user_id"]: "online", c["user_id"]: "online"}, seconds=30)
    assert len(cem.connects) == 1
    await people.stop()
