"""Who is in rooms, on two gateways and real NATS, with stock clients of an adopter's namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from parley.framework.remote.gateway_registry import Sighting
from parley.framework.remote.presence_requests import COUNTS_SECONDS
from parley.testing import RunningServer, StockClient, running
from tests.support.bus import fresh
from tests.support.services.lounge import NAMESPACE, service
from tests.support.waiting import until

LEASE = 2.0


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncGenerator[RunningServer]:
    settings = {"nats_url": nats_url, "gateway_presence_lease": LEASE}
    async with running(service, gateways=2, namespaces={NAMESPACE: {"recovery": 60}}, settings=settings) as served:
        yield served


class Person:
    """A user at a stock client, and who is in a room as the client knows it by the answer and the events."""

    def __init__(self, client: StockClient, user: str) -> None:
        self.client = client
        self.user = user
        self.states: dict[str, str] = {}
        self.count = 0
        self._read = 0

    async def look(self, room: str) -> Any:
        """Look at a room, and take over the answer."""
        answer = await self.client.emit("who", room)
        if answer["ok"]:
            self.states = {user["id"]: user["state"] for user in answer["users"]}
            self.count = answer["count"]
            self._read = len(self.client.received)
        return answer

    def sees(self, **states: str) -> bool:
        """Whether the client knows exactly these users, by all that has arrived."""
        for event, args in self.client.received[self._read :]:
            if event != "presence":
                continue
            if args[0].get("whole"):
                self.states = {}
            self.states |= {user["id"]: user["state"] for user in args[0]["users"]}
            self.count = args[0]["count"]
        self._read = len(self.client.received)
        here = {user: state for user, state in self.states.items() if state != "offline"}
        return here == states and self.count == len(states)

    async def comes_to_see(self, **states: str) -> None:
        """Wait for it."""
        await until(lambda: self.sees(**states), lambda: f"{self.user} sees {states}: {self.states} {self.count}")


@pytest.fixture
def room() -> str:
    return fresh("room")


@pytest.fixture(autouse=True)
async def _nobody_stays(server: RunningServer) -> AsyncGenerator[None]:
    """Users are the same in all tests, and what one chose lasts as long as its connections."""
    yield
    for client in server._clients:
        await client.close()


async def person(server: RunningServer, user: str, room: str = "", *, gateway: int = 0, **auth: str) -> Person:
    client = await server.connect(NAMESPACE, user=user, gateway=gateway, auth=auth)
    if room:
        assert (await client.emit("enter", room))["ok"]
    return Person(client, user)


async def test_who_looks_sees_who_is_there_on_all_gateways_and_who_comes_and_goes(server: RunningServer, room: str):
    ann, ben = await person(server, "ann", room), await person(server, "ben", room, gateway=1)
    assert (await ann.look(room))["ok"]
    assert ann.sees(ann="online", ben="online")
    cem = await person(server, "cem", room, gateway=1)
    await ann.comes_to_see(ann="online", ben="online", cem="online")
    await ben.client.close()
    await cem.client.emit("leave", room)
    await ann.comes_to_see(ann="online")
    assert not [event for event, _ in cem.client.received if event == "presence"]


async def test_a_user_on_two_gateways_counts_once_and_is_gone_with_the_last_connection(
    server: RunningServer, room: str
):
    ann = await person(server, "ann", room)
    first, second = await person(server, "ben", room), await person(server, "ben", room, gateway=1)
    await ann.look(room)
    await ann.comes_to_see(ann="online", ben="online")
    heard = len(ann.client.received)
    await first.client.close()
    assert (await second.client.emit("be", "dnd"))["ok"]
    await ann.comes_to_see(ann="online", ben="dnd")
    told = [user for _, args in ann.client.received[heard:] for user in args[0]["users"]]
    assert told == [{"id": "ben", "state": "dnd"}]
    await second.client.close()
    await ann.comes_to_see(ann="online")


async def test_a_user_is_away_once_all_devices_are_idle_and_a_choice_by_hand_counts_for_more(
    server: RunningServer, room: str
):
    ann = await person(server, "ann", room)
    phone, desk = await person(server, "ben", room), await person(server, "ben", room, gateway=1)
    await ann.look(room)
    await phone.client.emit("idle", True)
    await desk.client.emit("idle", True)
    await ann.comes_to_see(ann="online", ben="away")
    assert not [args for _, args in ann.client.received if args[0]["users"] == []]
    assert (await desk.client.emit("idle", False)) == {"ok": True}
    await ann.comes_to_see(ann="online", ben="online")
    await phone.client.emit("be", "dnd")
    await desk.client.emit("idle", True)
    await ann.comes_to_see(ann="online", ben="dnd")
    await desk.client.emit("be", "automatic")
    await ann.comes_to_see(ann="online", ben="away")
    assert (await phone.client.emit("be", "asleep"))["error"]["code"] == "invalid_payload"


async def test_who_wants_not_to_be_seen_is_never_shown_from_connect_on_and_on_every_device(
    server: RunningServer, room: str
):
    ann = await person(server, "ann", room)
    await ann.look(room)
    shy = await person(server, "shy", room, gateway=1, presence="invisible")
    await person(server, "ben", room)
    await ann.comes_to_see(ann="online", ben="online")
    # A device that says nothing of it, on another gateway.
    await person(server, "shy", room)
    await person(server, "cem", room)
    await ann.comes_to_see(ann="online", ben="online", cem="online")
    assert not [user for _, args in ann.client.received for user in args[0]["users"] if user["id"] == "shy"]
    await shy.client.emit("be", "online")
    await ann.comes_to_see(ann="online", ben="online", cem="online", shy="online")
    await shy.client.emit("be", "invisible")
    await ann.comes_to_see(ann="online", ben="online", cem="online")


async def test_only_who_is_in_a_room_may_look_and_no_longer_than_that(server: RunningServer, room: str):
    ann, eve = await person(server, "ann", room), await person(server, "eve", room, gateway=1)
    stranger = await person(server, "stranger")
    for name in (room, fresh("no such room")):
        assert (await stranger.look(name))["error"]["code"] == "not_a_member"
    assert (await eve.look(room))["ok"]
    await eve.client.emit("leave", room)
    await ann.look(room)
    ben = await person(server, "ben", room)
    await ann.comes_to_see(ann="online", ben="online")
    await ben.client.emit("be", "dnd")
    await ann.comes_to_see(ann="online", ben="dnd")
    assert not [event for event, _ in eve.client.received if event == "presence"]
    assert (await eve.look(room))["error"]["code"] == "not_a_member"


async def test_who_says_so_is_told_no_more(server: RunningServer, room: str):
    ann, ben = await person(server, "ann", room), await person(server, "ben", room)
    await ann.look(room)
    await ben.look(room)
    assert (await ann.client.emit("enough", room))["ok"]
    await ben.client.emit("be", "dnd")
    await ben.comes_to_see(ann="online", ben="dnd")
    assert not [event for event, _ in ann.client.received if event == "presence"]


async def test_who_looks_at_very_many_rooms_is_told_to_stop(server: RunningServer):
    eve = await person(server, "eve")
    codes: set[str] = set()
    for number in range(150):
        await eve.client.emit("enter", f"{number}")
        answer = await eve.look(f"{number}")
        codes.add(answer["error"]["code"] if not answer["ok"] else "")
    assert "limit_exceeded" in codes <= {"", "limit_exceeded", "rate_limited"}
    # At once, since a slow machine would take so long for one after the other that all were allowed.
    answers = await asyncio.gather(*(eve.look("1") for _ in range(150)))
    assert "rate_limited" in {answer["error"]["code"] for answer in answers if not answer["ok"]}


async def test_who_asks_once_is_told_of_all_gateways_and_of_no_change(server: RunningServer, room: str):
    other, nowhere = fresh("other"), fresh("nowhere")
    await person(server, "ann", room)
    first, second = await person(server, "ben", room), await person(server, "ben", room, gateway=1)
    cem = await person(server, "cem", other, gateway=1)
    await person(server, "shy", room, gateway=1, presence="invisible")
    await second.client.emit("idle", True)

    async def told() -> dict[str, Any]:
        answer = await cem.client.emit("there", [room, other, nowhere])
        assert not any(one["partial"] for one in answer["rooms"].values())
        return {name: one["users"] for name, one in answer["rooms"].items()}

    assert await told() == {room: {"ann": "online", "ben": "online"}, other: {"cem": "online"}, nowhere: {}}
    await first.client.emit("be", "dnd")
    assert (await told())[room] == {"ann": "online", "ben": "dnd"}
    await second.client.close()
    await first.client.close()

    async def gone() -> bool:
        return (await told())[room] == {"ann": "online"}

    await until(gone, "ben has gone")
    assert not [event for event, _ in cem.client.received if event == "presence"]


async def test_it_is_partial_while_what_a_gateway_said_would_still_count_that_fell_silent(
    server: RunningServer, room: str
):
    emitter, table = server._emitter.of(NAMESPACE), f"table:{room}"
    await emitter.start()
    await until(lambda: emitter.registry.warmed_up, "it knows the gateways")
    await person(server, "ann", room)
    for seconds, partial in ((COUNTS_SECONDS - 2, True), (COUNTS_SECONDS + 1, False)):
        emitter.registry.remember([Sighting("killed:1", 0, seconds)])
        found = (await emitter.present(table))[table]
        assert (found.shown(), found.partial) == ({"ann": "online"}, partial)
