"""A gateway asks auth whether those whom it holds are still welcome, and ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.subscription import Subscription

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, Identity, Unwelcome, UnwelcomeUsers
from parley.gateway.admission import reconciliation, standing_check
from parley.gateway.admission.standing_check import ASKING, StandingCheck
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from tests.support.gateway.rooms import another
from tests.support.waiting import until


class Auth:
    """Auth, which refuses whom it is told to."""

    def __init__(self, bus: Bus) -> None:
        self.refused: dict[str, Unwelcome] = {}
        """By user: the code and the message; the place is filled in."""
        self.issued_before = float("inf")
        self.asked: list[HeldUser] = []
        self.away = False
        self._bus = bus
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        self._subscription = await self._bus.respond(subjects.WELCOME, CheckWelcome, self._check, queue="auth")
        await self._bus.flush()

    async def stop(self) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            await self._bus.flush()

    def refuse(self, user_id: str, code: Code, message: str = "") -> None:
        self.refused[user_id] = Unwelcome(0, str(code), message)

    async def _check(self, question: CheckWelcome) -> UnwelcomeUsers:
        self.asked += question.held
        if self.away:
            raise Reject(Code.UNAVAILABLE)
        return UnwelcomeUsers(
            [
                Unwelcome(position, why.code, why.message)
                for position, held in enumerate(question.held)
                if (why := self.refused.get(held.user_id)) and held.issued_at < self.issued_before
            ]
        )


class Gateway:
    """Who is here, and who was ended."""

    def __init__(self) -> None:
        self.here = ConnectionRegistry()
        self.parked: list[Connection] = []
        self.ended_users: list[tuple[str, Code, str]] = []
        self.ended: list[tuple[Connection, Code, str]] = []

    def connect(self, user_id: str, *, issued_at: float = 100.0, authenticated: bool = True) -> Connection:
        connection = another("/n", Identity(user_id, user_id, (), issued_at))
        connection.registered_at -= 5
        connection.authenticated = authenticated
        connection.state = ConnectionState.OPEN if authenticated else ConnectionState.ATTEMPTING
        self.here.add(connection)
        return connection

    def end_user(self, user_id: str, code: Code, message: str) -> int:
        self.ended_users.append((user_id, code, message))
        return 1

    def end(self, connection: Connection, code: Code, message: str) -> None:
        self.ended.append((connection, code, message))


@asynccontextmanager
async def checking(bus: Bus, gateway: Gateway, seconds: float = 3600) -> AsyncGenerator[StandingCheck]:
    ends = gateway.end_user, gateway.end
    check = StandingCheck(bus, gateway.here, lambda: gateway.parked, *ends, round_seconds=seconds)
    yield check
    await check.close()


@pytest.fixture
async def auth(own_bus: Bus) -> AsyncIterator[Auth]:
    auth = Auth(own_bus)
    await auth.start()
    yield auth
    await auth.stop()


@pytest.fixture
async def own_bus(other: Bus) -> Bus:
    return other


async def test_everybody_is_asked_about_and_who_is_not_welcome_is_ended(auth: Auth, bus: Bus):
    gateway = Gateway()
    for user in ("ann", "ben", "cleo"):
        gateway.connect(user)
    auth.refuse("ben", Code.BANNED, "spam")
    async with checking(bus, gateway) as check:
        assert check.check() is None
        check.verify_all()
        assert check.check() == ASKING
        await until(lambda: check.check() is None)
    assert {held.user_id for held in auth.asked} == {"ann", "ben", "cleo"}
    assert all(held.issued_at == 100.0 and 4 < held.age < 60 for held in auth.asked)
    assert (gateway.ended_users, gateway.ended) == ([("ben", Code.BANNED, "spam")], [])


async def test_who_has_gone_and_may_come_back_is_asked_about_as_well(auth: Auth, bus: Bus):
    gateway = Gateway()
    connection = gateway.connect("ann")
    gateway.here.remove(connection)
    gateway.parked.append(connection)
    auth.refuse("ann", Code.BANNED)
    async with checking(bus, gateway) as check:
        check.verify_all()
        await until(lambda: check.check() is None)
    assert gateway.ended_users == [("ann", Code.BANNED, "")]


async def test_who_has_gone_and_may_come_back_is_asked_about_in_the_slow_rounds_as_well(auth: Auth, bus: Bus):
    gateway = Gateway()
    connection = gateway.connect("guest")
    gateway.here.remove(connection)
    gateway.parked.append(connection)
    auth.refuse("guest", Code.KICKED)
    async with checking(bus, gateway, seconds=0.1) as check:
        check.start()
        await until(lambda: gateway.ended_users)
    assert gateway.ended_users[0] == ("guest", Code.KICKED, "")


async def test_a_clock_that_is_set_makes_nobody_older_or_younger_than_a_kick(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    gateway = Gateway()
    gateway.connect("ann")
    monkeypatch.setattr("time.time", lambda: 0.0)
    async with checking(bus, gateway) as check:
        check.verify_all()
        await until(lambda: auth.asked)
    assert 4 < auth.asked[0].age < 60


async def test_of_a_user_with_two_tokens_only_the_connection_with_the_revoked_one_is_ended(auth: Auth, bus: Bus):
    gateway = Gateway()
    old, new = gateway.connect("ann", issued_at=100.0), gateway.connect("ann", issued_at=200.0)
    auth.refuse("ann", Code.REVOKED_TOKEN, "revoked")
    auth.issued_before = 150.0
    async with checking(bus, gateway) as check:
        check.verify_all()
        await until(lambda: check.check() is None)
    assert old is not new
    assert (gateway.ended_users, gateway.ended) == ([], [(old, Code.REVOKED_TOKEN, "revoked")])


async def test_who_has_not_been_identified_yet_is_not_taken_at_their_word_and_asked_about_afterwards(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(standing_check, "AUTHENTICATED_AFTER", 0.1)
    gateway = Gateway()
    connection = gateway.connect("ann", issued_at=0.0, authenticated=False)
    auth.refuse("ann", Code.BANNED)
    async with checking(bus, gateway) as check:
        check.verify_all()
        await until(lambda: check.check() is None)
        assert not auth.asked
        connection.authenticated = True
        await until(lambda: gateway.ended_users)


async def test_it_is_not_ready_until_auth_has_answered_however_long_that_takes(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciliation, "PAUSES", (0.01,))
    gateway = Gateway()
    gateway.connect("ann")
    auth.refuse("ann", Code.BANNED)
    auth.away = True
    async with checking(bus, gateway) as check:
        check.verify_all()
        await until(lambda: len(auth.asked) > 5)
        await auth.stop()  # nobody answers at all
        await asyncio.sleep(0.1)
        assert check.check() == ASKING
        auth.away = False
        await auth.start()
        await until(lambda: check.check() is None)
        assert len(gateway.ended_users) == 1


async def test_everybody_is_asked_about_now_and_then_and_that_is_no_matter_of_readiness(auth: Auth, bus: Bus):
    gateway = Gateway()
    gateway.connect("ann")
    auth.away = True
    async with checking(bus, gateway, seconds=0.2) as check:
        check.start()
        await until(lambda: len(auth.asked) >= 2)
        assert check.check() is None
        auth.away = False
        auth.refuse("ann", Code.KICKED, "too loud")
        await until(lambda: gateway.ended_users)
    assert gateway.ended_users[0] == ("ann", Code.KICKED, "too loud")


async def test_a_second_reconnect_during_the_questions_asks_anew(auth: Auth, bus: Bus):
    gateway = Gateway()
    gateway.connect("ann")
    async with checking(bus, gateway) as check:
        check.verify_all()
        await asyncio.sleep(0)
        check.verify_all()
        auth.refuse("ann", Code.BANNED)
        await until(lambda: check.check() is None)
    assert gateway.ended_users
