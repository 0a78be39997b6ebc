"""The end of a session ends its connections, in whatever state they are, and no others of its user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.operations import Kick, Selection
from parley.framework import Code
from parley.gateway.admission.standing_check import StandingCheck
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.testing import RunningServer
from parley.testing.tokens import token_for
from tests.support.auth.identities import identify
from tests.support.auth.service import Auth, bearer, running_auth
from tests.support.auth.sessions import session_of
from tests.support.bus import running_bus
from tests.support.gateway.lives import Hand, at_the_door, ended, forget, gate, hand, refusal, served
from tests.support.gateway.rooms import another
from tests.support.own_server import Server
from tests.support.waiting import until

PHONE, LAPTOP = "s_phone", "s_laptop"


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    async with served(nats_url) as running:
        yield running


@pytest.fixture(autouse=True)
def _blank() -> Iterator[None]:
    forget()
    yield
    gate.set()


async def end_session(server: RunningServer, user: str, session: str) -> None:
    selection = Selection("", user_id=user, logins=(session,))
    await server._bus.publish(subjects.GATEWAYS, Kick(selection, "", "revoked_token", "bye").encode())


async def joined(socket: Hand, namespace: str, session: str, **auth: str) -> str:
    return (await socket.joined(namespace, token=token_for(socket.user, login=session), **auth))["sid"]


async def test_the_end_of_a_session_ends_its_connections_and_no_other_of_its_user(server: RunningServer):
    async with hand(server) as phone, hand(server, phone.user) as laptop:
        await joined(phone, "/a", PHONE)
        await joined(laptop, "/a", LAPTOP)
        await end_session(server, phone.user, LAPTOP)
        assert await laptop.text() == '42/a,["kicked",{"code":"revoked_token","reason":"bye"}]'
        assert await laptop.text() == "41/a,"
        await laptop.closed()
        assert (await phone.acked("/a", 1))["ok"]


async def test_the_end_of_a_session_refuses_who_is_being_let_in_with_it(server: RunningServer):
    gate.clear()
    async with hand(server) as phone, hand(server, phone.user) as laptop:
        for socket, session in ((phone, PHONE), (laptop, LAPTOP)):
            await socket.connect("/slow", token=token_for(socket.user, login=session))
        await until(lambda: len(at_the_door) == 2)
        await end_session(server, phone.user, LAPTOP)
        assert refusal(await laptop.text(), "/slow") == "revoked_token"
        gate.set()
        phone.admitted(await phone.text(), "/slow")


@pytest.mark.parametrize(("session", "same"), [(PHONE, True), (LAPTOP, False)])
async def test_lost_connections_of_a_session_that_ended_do_not_come_back(
    server: RunningServer, session: str, same: bool
):
    async with hand(server) as socket:
        token = token_for(socket.user, login=session)
        first = await socket.joined("/b", token=token)
    await until(lambda: (socket.user, "/b", "transport close") in ended)
    await end_session(server, socket.user, LAPTOP)
    # Who answers this has heard of it.
    await server.emitter("/b").fetch_connections()
    async with hand(server, socket.user) as socket:
        again = await socket.joined("/b", token=token, pid=first["pid"], offset="")
        assert (again["sid"] == first["sid"]) is same


@pytest.fixture
async def auth(database_url: str, own_nats: Server) -> AsyncIterator[Auth]:
    # Where the server of this module is, something else answers for auth.
    async with running_auth(database_url, own_nats.url) as running:
        yield running


@pytest.fixture
async def bus(own_nats: Server) -> AsyncIterator[Bus]:
    async with running_bus(own_nats.url) as connected:
        yield connected


async def test_a_gateway_that_missed_the_end_of_a_session_ends_its_connections_later(auth: Auth, bus: Bus):
    phone = await auth.register()
    laptop = (await auth.login()).json()
    here, ended_connections = ConnectionRegistry(), list[tuple[Connection, Code]]()

    def connect(identity: Identity) -> Connection:
        connection = another("/n", identity)
        connection.authenticated, connection.state = True, ConnectionState.OPEN
        here.add(connection)
        return connection

    def end_user(user_id: str, code: Code, message: str) -> int:
        raise AssertionError("another session of the user stands")

    def end(connection: Connection, code: Code, message: str) -> None:
        ended_connections.append((connection, code))

    _, gone = [connect(await identify(bus, each["access_token"])) for each in (phone, laptop)]
    # No gateway listens to what is said to all of them.
    path = f"/auth/sessions/{session_of(laptop)}"
    assert (await auth.client.delete(path, headers=bearer(phone["access_token"]))).status_code == 200
    check = StandingCheck(bus, here, list, end_user, end, round_seconds=0.2)
    check.start()
    await until(lambda: ended_connections)
    await check.close()
    assert {*ended_connections} == {(gone, Code.REVOKED_TOKEN)}
