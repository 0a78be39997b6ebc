"""Which rooms users are in is asked again, for ever: a join or leave that nobody heard of takes effect all the same."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import (
    Delivery,
    GetMemberships,
    GetRoomHeads,
    Membership,
    MembershipChange,
    Memberships,
    RoomEvent,
    RoomHeads,
)
from parley.framework import Replayed, RoomHead, Router, Service
from parley.gateway.admission import memberships, reconciliation
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.rooms import heads
from tests.support.bus import fresh, running_bus
from tests.support.gateway.rooms import Gateway, running_gateway
from tests.support.proxy import Proxy
from tests.support.waiting import until


class Answers:
    """The service behind a namespace, as far as it says which rooms users are in."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self.rooms: defaultdict[str, set[str]] = defaultdict(set)
        self.joined = 1
        self.asked: list[list[str]] = []
        self.away = False
        self.no_heads = False
        self.most = 1000
        """Users in one answer."""
        self.gate = asyncio.Event()
        """Answers are read before it, and sent after it."""
        self.gate.set()
        self._bus = bus
        self._namespace = namespace

    async def start(self) -> None:
        """Begin to answer."""
        await self._bus.respond(subjects.memberships(self._namespace), GetMemberships, self._answer, queue="service")
        await self._bus.respond(subjects.room_heads(self._namespace), GetRoomHeads, self._heads, queue="service")
        await self._bus.flush()

    async def _heads(self, question: GetRoomHeads) -> RoomHeads:
        if self.no_heads:
            raise Reject(Code.UNAVAILABLE)
        return RoomHeads(self._namespace, [RoomHead(room, 0) for room in question.rooms])

    async def _answer(self, question: GetMemberships) -> Memberships:
        users = [identity.user_id for identity in question.users][: self.most]
        self.asked.append(users)
        if self.away:
            raise Reject(Code.UNAVAILABLE)
        found = [[Membership(room, 0, self.joined) for room in sorted(self.rooms[user])] for user in users]
        await self.gate.wait()
        return Memberships(list(found))


class Scene:
    """A gateway behind a proxy to NATS, with a registry of its connections."""

    def __init__(self, answers: Answers, proxy: Proxy, gateway: Gateway) -> None:
        self.answers = answers
        self.proxy = proxy
        self.gateway = gateway
        self.registry = ConnectionRegistry()

    async def member(self, *rooms: str) -> Connection:
        connection = await self.gateway.connect()
        self.registry.add(connection)
        for room in rooms:
            self.gateway.fanout.enter(connection, room, head=0)
        self.answers.rooms[connection.identity.user_id] |= set(rooms)
        return connection

    def rooms(self, connection: Connection) -> set[str]:
        return connection.rooms - {subjects.user_room(connection.identity.user_id)}

    def check(self, seconds: float = 3600) -> MembershipCheck:
        return MembershipCheck(self.gateway.bus, self.registry, self.gateway.fanout, round_seconds=seconds)


@pytest.fixture
async def scene(nats_url: str, namespace: str, other: Bus) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        answers = Answers(other, namespace)
        await answers.start()
        proxy = await stack.enter_async_context(Proxy.running(nats_url))
        bus = await stack.enter_async_context(running_bus(proxy.url, "gateway"))
        yield Scene(answers, proxy, await stack.enter_async_context(running_gateway(bus, namespace)))


async def test_what_changed_while_nats_was_away_takes_effect_after_it(scene: Scene):
    ann, ben = await scene.member("kept", "left"), await scene.member("kept")
    check = scene.check()
    scene.gateway.bus.on_reconnect(check.verify_all)
    scene.proxy.cut()
    await until(lambda: not scene.gateway.bus.connected)
    scene.answers.rooms[ann.identity.user_id] = {"kept", "joined"}
    scene.proxy.mend()
    await until(lambda: scene.rooms(ann) == {"kept", "joined"})
    assert scene.rooms(ben) == {"kept"}
    await check.close()


async def test_a_service_that_is_back_long_after_nats_is_asked_then(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconciliation, "PAUSES", (0.002,))
    ann = await scene.member("left")
    check = scene.check()
    scene.answers.away = True
    check.verify_all()
    await until(lambda: len(scene.answers.asked) > 50)
    assert (scene.rooms(ann), check.done) == ({"left"}, False)
    scene.answers.rooms.clear()
    scene.answers.away = False
    await until(lambda: not scene.rooms(ann))
    await until(lambda: check.done)
    await check.close()


async def test_who_is_no_member_leaves_soon_though_nobody_says_where_the_log_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heads, "DOUBT_SECONDS", 0.2)
    monkeypatch.setattr(heads, "RETRY", 0.05)
    ann = await scene.member("left")
    scene.answers.no_heads = True
    scene.answers.rooms.clear()
    check = scene.check()
    check.verify_all()
    await until(lambda: not scene.rooms(ann))
    await check.close()


async def test_a_lost_move_takes_effect_by_and_by_without_any_reconnect(scene: Scene):
    ann = await scene.member("left")
    check = scene.check(seconds=0.2)
    check.start()
    scene.answers.rooms[ann.identity.user_id] = {"joined"}
    await until(lambda: scene.rooms(ann) == {"joined"})
    await check.close()


async def test_an_answer_undoes_nothing_that_was_heard_after_the_question(scene: Scene, namespace: str, other: Bus):
    ann = await scene.member("old")
    ann.opened_at = float("-inf")  # so that it heeds a hint of a join, which is not late
    check = scene.check()
    scene.answers.gate.clear()
    check.verify_all()
    await until(lambda: scene.answers.asked)
    scene.answers.rooms[ann.identity.user_id] = {"new"}
    moves = [MembershipChange("old", False, 1), MembershipChange("new", True, 1)]
    mine = subjects.room(namespace, subjects.user_room(ann.identity.user_id))
    await other.publish(mine, Delivery([], moves).encode())
    await until(lambda: "new" in scene.rooms(ann))
    scene.answers.gate.set()
    await until(lambda: check.done)
    event = RoomEvent("member.left", b"{}", 1)
    await other.publish(subjects.room(namespace, "old"), Delivery([event]).encode())
    await until(lambda: scene.rooms(ann) == {"new"})
    await check.close()


async def test_flapping_asks_once_more_and_not_once_each(scene: Scene):
    for _ in range(5):
        await scene.member("room")
    check = scene.check()
    scene.answers.gate.clear()
    for _ in range(20):
        check.verify_all()
        await asyncio.sleep(0.002)
    scene.answers.gate.set()
    await until(lambda: check.done)
    assert len(scene.answers.asked) <= 2
    await check.close()


async def test_where_one_namespaces_service_is_away_the_others_users_are_looked_up(scene: Scene):
    lost = await scene.member("room")
    ann = await scene.member("left")
    lost.namespace = fresh("/gone")
    scene.answers.rooms.clear()
    check = scene.check()
    check.verify_all()
    await until(lambda: not scene.rooms(ann))
    assert not check.done
    await check.close()


async def test_an_answer_that_has_not_room_for_all_is_followed_by_another_question(scene: Scene):
    members = [await scene.member("left") for _ in range(5)]
    scene.answers.rooms.clear()
    scene.answers.most = 2
    check = scene.check()
    check.verify_all()
    await until(lambda: not any(scene.rooms(member) for member in members))
    assert [len(users) for users in scene.answers.asked] == [2, 2, 1]
    await check.close()


async def test_users_with_long_names_and_many_roles_are_asked_about_in_more_than_one_message(scene: Scene):
    roles = tuple(f"{number:064}" for number in range(32))
    members = [await scene.member("left") for _ in range(500)]
    for member in members:
        member.identity = msgspec.structs.replace(member.identity, name="n" * 128, roles=roles)
    scene.answers.rooms.clear()
    check = scene.check()
    check.verify_all()
    await until(lambda: not any(scene.rooms(member) for member in members))
    assert sum(map(len, scene.answers.asked)) == 500
    await check.close()


async def test_a_service_that_answers_for_nobody_is_asked_again_at_a_pace(scene: Scene):
    ann = await scene.member("left")
    scene.answers.rooms.clear()
    scene.answers.most = 0
    check = scene.check()
    check.verify_all()
    await until(lambda: scene.answers.asked)
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 0.2)
    assert len(scene.answers.asked) <= 4
    scene.answers.most = 1
    await until(lambda: not scene.rooms(ann))
    await check.close()


async def test_who_is_opened_meanwhile_is_asked_about_after_that(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memberships, "OPENED_AFTER", 0.1)
    ann = await scene.member("left")
    ann.state = ConnectionState.ATTEMPTING
    scene.answers.rooms.clear()
    check = scene.check()
    check.verify_all()
    await until(lambda: check.done)
    assert not scene.answers.asked
    ann.state = ConnectionState.OPEN
    await until(lambda: not scene.rooms(ann))
    await check.close()


# -- the service's side ------------------------------------------------------------------------------------------------


class Log:
    """A log of which a service answers for its users, some of whom it cannot look up."""

    incarnation = ""

    def __init__(self) -> None:
        self.failing: dict[str, Exception] = {}

    async def memberships(self, identity: Identity) -> list[Membership]:
        if (error := self.failing.get(identity.user_id)) is not None:
            raise error
        return [Membership(f"{identity.user_id}-{number}-{'x' * 100}", 7, number) for number in range(20)]

    async def replay(self, room: str, after: int, limit: int) -> Replayed:
        return Replayed([], 0)

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        return []


async def ask(bus: Bus, namespace: str, count: int) -> list[Any]:
    question = GetMemberships([Identity(f"u{number}", "") for number in range(count)])
    return (await bus.request(subjects.memberships(namespace), question, Memberships)).rooms


async def test_a_service_answers_for_many_users_as_far_as_a_message_goes(nats_url: str, namespace: str, bus: Bus):
    log = Log()
    service = Service("rooms", Router[Any](namespace, room_log=lambda _state: log))
    async with service.running(service.settings(nats_url=nats_url, instance=fresh("rooms"))):
        answered = await ask(bus, namespace, 300)
        assert 100 < len(answered) < 300
        assert [rooms[3].joined for rooms in answered] == [3] * len(answered)
        log.failing = {"u1": ZeroDivisionError(), "u2": Reject(Code.FORBIDDEN), "u4": Reject(Code.UNAVAILABLE)}
        assert [rooms and len(rooms) for rooms in await ask(bus, namespace, 10)] == [20, None, None, 20]
        log.failing = {"u0": Reject(Code.UNAVAILABLE)}
        with pytest.raises(Reject) as refused:
            await ask(bus, namespace, 10)
        assert refused.value.code is Code.UNAVAILABLE
