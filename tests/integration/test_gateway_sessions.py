"""The end of a session ends its connections, in whatever state they are, and no others of its user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.operations import Kick, Selection
from parley.framework import Code
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.testing import RunningServer
from parley.testing.tokens import token_for
from tests.integration.fanout_parts import another
from tests.integration.life_parts import Hand, at_the_door, ended, gate, hand, refusal, served
from tests.integration.test_auth_accounts import Auth, bearer, running_auth
from tests.integration.test_auth_identities import identify
from tests.integration.test_auth_sessions import session_of
from tests.integration.test_gateway_standing import Gateway, checking
from tests.support.bus import until

PHONE, LAPTOP = "s_phone", "s_laptop"


@pytest.fixture(scope="module")
async def server(nats_url: str) -> AsyncIterator[RunningServer]:
    async with served(nats_url) as running:
        yield running


@pytest.fixture(autouse=True)
def _blank() -> Iterator[None]:
    ended.clear()
    at_the_door.clear()
    gate.set()
    yield
    gate.set()


async def end_session(server: RunningServer, user: str, session: str) -> None:
    selection = Selection("", user_id=user, sessions=(session,))
    await server._bus.publish(subjects.GATEWAYS, Kick(selection, "", "revoked_token", "bye").encode())


async def joined(socket: Hand, namespace: str, session: str, **auth: str) -> str:
    return (await socket.joined(namespace, token=token_for(socket.user, session=session), **auth))["sid"]


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
            await socket.connect("/slow", token=token_for(socket.user, session=session))
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
        token = token_for(socket.user, session=session)
        first = await socket.joined("/b", token=token)
    await until(lambda: (socket.user, "/b", "transport close") in ended)
    await end_session(server, socket.user, LAPTOP)
    # Who answers this has heard of it.
    await server.emitter("/b").fetch_connections()
    async with hand(server, socket.user) as socket:
        again = await socket.joined("/b", token=token, pid=first["pid"], offset="")
        assert (again["sid"] == first["sid"]) is same


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


async def test_a_gateway_that_missed_the_end_of_a_session_ends_its_connections_later(auth: Auth, bus: Bus):
    phone = await auth.register()
    laptop = (await auth.login()).json()
    gateway = Gateway()

    def connect(identity: Identity) -> Connection:
        connection = another("/n", identity)
        connection.authenticated, connection.state = True, ConnectionState.OPEN
        gateway.here.add(connection)
        return connection

    _, gone = [connect(await identify(bus, each["access_token"])) for each in (phone, laptop)]
    # No gateway listens to what is said to all of them.
    path = f"/auth/sessions/{session_of(laptop)}"
    assert (await auth.client.delete(path, headers=bearer(phone["access_token"]))).status_code == 200
    async with checking(bus, gateway, seconds=0.2) as check:
        check.start()
        await until(lambda: gateway.ended)
    assert gateway.ended_users == []
    assert {(connection, code) for connection, code, _ in gateway.ended} == {(gone, Code.REVOKED_TOKEN)}
