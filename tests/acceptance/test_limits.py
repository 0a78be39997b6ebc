"""Every limit of a gateway: who goes beyond it is told, or ended with a reason that is counted; others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psutil
import pytest

from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.rooms import Delivery, RoomEvent
from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import People
from tests.support.clients.plain_http import plain_http
from tests.support.clients.raw_socket import TIMEOUT, Polling, RawSocket, codes, joined
from tests.support.stack.meter import Meter
from tests.support.stack.running import running_stack
from tests.support.stack.stack import Stack
from tests.support.waiting import until

BURST, USER_BURST = 40, 60
LIMITS = {
    "CONNECT_TIMEOUT": "1",
    "UPGRADE_TIMEOUT": "1",
    "MAX_PER_ADDRESS": "30",
    "MAX_PER_USER": "3",
    "EVENTS_PER_SECOND": "10",
    "EVENTS_BURST": str(BURST),
    "USER_EVENTS_PER_SECOND": "10",
    "USER_EVENTS_BURST": str(USER_BURST),
    "MAX_ATTACHMENTS": "2",
    "MAX_PACKETS": "10",
    "MAX_MESSAGE": "20000",
    "DRAIN_SECONDS": "0",
}


@pytest.fixture(scope="module")
async def narrow(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack whose gateways allow little."""
    settings = {f"PARLEY_GATEWAY_{name}": value for name, value in LIMITS.items()}
    directory = tmp_path_factory.mktemp("narrow")
    async with running_stack(postgres_url, template_database, directory, **settings) as running:
        yield running


@pytest.fixture
async def people(narrow: Stack) -> AsyncIterator[People]:
    """Users of that stack."""
    everybody = People(narrow, registered=False)
    yield everybody
    await everybody.stop()


@pytest.fixture
async def auth(people: People) -> dict[str, Any]:
    """What a fresh user says."""
    return {"token": (await people.account())["access_token"]}


@pytest.fixture
async def bus(narrow: Stack) -> AsyncIterator[Bus]:
    """A service's connection."""
    async with connect(ServiceSettings(nats_url=narrow.nats_url), "test") as connected:
        yield connected


@pytest.fixture
async def meter(narrow: Stack) -> Meter:
    """Counters from here on."""
    made = Meter(narrow)
    made._before = await made.read()
    return made


@pytest.fixture
async def polling(narrow: Stack) -> AsyncIterator[Polling]:
    """A client that polls."""
    async with plain_http(timeout=TIMEOUT) as http:
        yield Polling(http, narrow.gateways[0].url)


async def test_who_polls_and_joins_nothing_is_told_to_go(polling: Polling, meter: Meter):
    assert (await polling.open()).status_code == 200
    assert (await polling.poll()).text == "1"
    await meter.grows('sessions_closed_total{reason="connect_timeout"}')
    assert (await polling.poll()).json() == {"code": 1, "message": "Session ID unknown"}


async def test_an_upgrade_that_is_not_finished_is_given_up_and_polling_goes_on(
    polling: Polling, narrow: Stack, meter: Meter, auth: dict[str, Any]
):
    await polling.open()
    await polling.join(auth)
    address = f"{narrow.gateways[0].url}/socket.io/?EIO=4&transport=websocket&sid={polling.sid}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as probe:
        await probe.send_str("2probe")
        assert await probe.receive_str() == "3probe"
        assert (await probe.receive(TIMEOUT)).type is aiohttp.WSMsgType.CLOSE
    assert await meter.grown('limited_total{limit="upgrade_timeout"}') == 1
    await polling.post('42/chat,1["history",{"room":"nowhere"}]')
    assert codes([(await polling.poll()).text]) == ["not_found"]


async def test_one_address_has_so_many_connections_and_no_more(narrow: Stack, meter: Meter, auth: dict[str, Any]):
    async with plain_http(timeout=TIMEOUT) as http:
        sessions = [Polling(http, narrow.gateways[0].url) for _ in range(30)]
        for session in sessions:
            assert (await session.open(**{"x-forwarded-for": "192.0.2.7"})).status_code == 200
        refused = await Polling(http, narrow.gateways[0].url).open(**{"x-forwarded-for": "192.0.2.7"})
        assert (refused.status_code, refused.json()["code"]) == (429, 4)
        assert (await Polling(http, narrow.gateways[0].url).open(**{"x-forwarded-for": "192.0.2.8"})).status_code == 200
        url = f"{narrow.gateways[0].url}/socket.io/?EIO=4&transport=websocket"
        async with aiohttp.ClientSession(headers={"x-forwarded-for": "192.0.2.7"}) as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect(url)
            assert caught.value.status == 429
        assert await meter.grown('sessions_refused_total{reason="address"}') == 2
        await sessions[0].post("1")
        assert (await Polling(http, narrow.gateways[0].url).open(**{"x-forwarded-for": "192.0.2.7"})).status_code == 200


async def test_one_user_has_so_many_connections_and_no_more(people: People, meter: Meter, auth: dict[str, Any]):
    clients = [await people.attempt(auth) for _ in range(3)]
    for client in clients:
        await client.connected()
    refused = await people.attempt(auth)
    await refused.until(lambda: refused.errors, "a refusal")
    assert refused.errors[0]["data"]["code"] == "limit_exceeded"
    assert await meter.grown('limited_total{limit="connections_per_user"}') == 1
    await people.join("somebody_else")
    await clients[0].stop()
    await meter.grows('sessions_closed_total{reason="transport close"}')
    await (await people.attempt(auth)).connected()


async def test_a_connection_that_emits_too_fast_is_told_and_then_ended(
    people: People, narrow: Stack, meter: Meter, auth: dict[str, Any]
):
    async with RawSocket.open(narrow.gateways[0].url) as socket:
        await joined(socket, auth)
        for number in range(BURST + 20):
            await socket.send(f'42/chat,{number}["history",{{"room":"nowhere"}}]')
        acked = codes([await socket.text() for _ in range(BURST + 20)])
        assert set(acked) == {"not_found", "rate_limited"}
        assert acked.count("not_found") in range(BURST - 5, BURST + 10)
        for _ in range(2 * BURST):
            await socket.send('42/chat,1["history",{"room":"nowhere"}]')
        await socket.closed()
    assert await meter.grown('sessions_closed_total{reason="rate_limited"}') == 1
    assert await meter.grown('limited_total{limit="events_per_second"}') >= BURST
    calm, _ = await people.join("calm")
    assert code(await command(calm, "history", room="nowhere")) == "not_found"


async def test_all_connections_of_a_user_share_a_rate_and_stay(narrow: Stack, meter: Meter, auth: dict[str, Any]):
    url = narrow.gateways[0].url
    async with RawSocket.open(url) as one, RawSocket.open(url) as two:
        acked: list[str] = []
        for socket in (one, two):
            await joined(socket, auth)
        for socket in (one, two):
            for number in range(BURST - 2):
                await socket.send(f'42/chat,{number}["history",{{"room":"nowhere"}}]')
            acked += codes([await socket.text() for _ in range(BURST - 2)])
        assert acked.count("not_found") in range(USER_BURST - 5, USER_BURST + 10)
        assert acked.count("rate_limited") == await meter.grown('limited_total{limit="user_events_per_second"}') > 0

        async def recovered() -> bool:
            await one.send('42/chat,99["history",{"room":"nowhere"}]')
            return codes([await one.text()]) == ["not_found"]

        await until(recovered, "its rate has recovered", seconds=TIMEOUT)


@pytest.mark.parametrize(
    ("reason", "frames"),
    [
        pytest.param("attachments", ['453-/chat,["x"]', b"", b"", b""], id="too many"),
        pytest.param("attachments", ['452-/chat,["x"]', b"x" * 12_000, b"x" * 12_000], id="too large"),
        pytest.param("parse error", ['451-/chat,["x"]', "42"], id="text where one is due"),
    ],
)
async def test_attachments_beyond_the_limit_end_the_connection(
    narrow: Stack, meter: Meter, auth: dict[str, Any], reason: str, frames: list[str | bytes]
):
    async with RawSocket.open(narrow.gateways[0].url) as socket:
        await joined(socket, auth)
        for frame in frames:
            await socket.send(frame)
        await socket.closed()
    assert await meter.grown(f'sessions_closed_total{{reason="{reason}"}}') == 1


async def test_one_request_has_so_many_packets_and_bytes_and_no_more(
    polling: Polling, meter: Meter, auth: dict[str, Any]
):
    await polling.open()
    await polling.join(auth)
    event = '42/chat,["x"]'
    assert (await polling.post("\x1e".join([event] * 10))).status_code == 200
    assert (await polling.post("x" * 20_001)).status_code == 413
    assert (await polling.post("\x1e".join([event] * 11))).status_code == 400
    assert (await polling.poll()).json()["code"] == 1
    assert await meter.grown('sessions_closed_total{reason="too many packets"}') == 1
    assert await meter.grown('limited_total{limit="message"}') == 1


@pytest.mark.parametrize("size", [20_000, 20_001])
async def test_one_frame_has_so_many_bytes_and_no_more(narrow: Stack, meter: Meter, auth: dict[str, Any], size: int):
    async with RawSocket.open(narrow.gateways[0].url) as socket:
        await joined(socket, auth)
        event = '42/chat,1["no.such.event"'
        await socket.send(f'{event},"{"x" * (size - len(event) - 4)}"]')
        if size == 20_000:
            assert codes([await socket.text()]) == ["unknown_event"]
        else:
            assert await socket.close_code() == 1009
            assert await meter.grown('sessions_closed_total{reason="message too big"}') == 1


async def test_half_received_attachments_are_freed_with_their_connection(narrow: Stack, auth: dict[str, Any]):
    gateway = psutil.Process(narrow.gateways[0].pid)

    async def leave_half(count: int) -> int:
        for _ in range(count):
            async with RawSocket.open(narrow.gateways[0].url) as socket:
                await joined(socket, auth)
                await socket.send('452-/chat,["x"]')
                await socket.send(b"x" * 19_000)
        return gateway.memory_info().rss

    before = await leave_half(20)
    assert await leave_half(200) - before < 200 * 19_000 / 2


async def test_a_slow_client_loses_signals_first_and_then_its_connection_while_others_go_on(
    people: People, narrow: Stack, meter: Meter, bus: Bus, auth: dict[str, Any]
):
    reader, _ = await people.join("reader")
    room = await make_room(reader)
    subject = subjects.room("/chat", room)
    big = b'"' + b"x" * 50_000 + b'"'
    async with RawSocket.open(narrow.gateways[0].url) as slow:
        await joined(slow, auth)
        await slow.send(f'42/chat,["room.join",{{"id":"j","room":"{room}"}}]')
        await reader.until(lambda: reader.of("member.joined"), "the arrival")
        while not await meter.grown("volatile_dropped_total"):
            await bus.publish(subject, Delivery([RoomEvent("signal", big, volatile=True)] * 5).encode())
        for _ in range(20):
            await bus.publish(subject, Delivery([RoomEvent("signal", big, volatile=True)] * 5).encode())
        await meter.grows("volatile_dropped_total", 100)
        assert await meter.grown('sessions_closed_total{reason="slow"}') == 0
        notices = 0
        while not await meter.grown('sessions_closed_total{reason="slow"}'):
            notices += 1
            await bus.publish(
                subject, Delivery([RoomEvent("notice", str(notices).encode()), RoomEvent("big", big)]).encode()
            )
            assert notices < 500
        await reader.until(lambda: len(reader.of("notice")) == notices, "everything, at the one who reads")
    assert reader.of("notice") == list(range(1, notices + 1))
    assert reader.disconnects == []
    await ok(reader, "message.send", room=room, body="still here")
