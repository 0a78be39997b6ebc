"""Who missed much gets it as fast as they read; what is read from the log is shared, bounded and paced."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection

import pytest
from structlog.testing import capture_logs

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.packets import Packet
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms import catch_up, heads, log_reader, repair
from parley.gateway.rooms.fanout import Fanout
from tests.support.bus import running_bus
from tests.support.gateway.rooms import ROOM, Gateway, Log, Sockets, background
from tests.support.waiting import until

CHOKED = 64 * 1024
MAX_BUFFER = 1024 * 1024


class NarrowSockets(Sockets):
    """Sockets that their clients read slowly: bytes wait, and a client that lets too many wait is cut off."""

    def __init__(self, bytes_per_millisecond: int) -> None:
        super().__init__()
        self.waiting: defaultdict[Connection, int] = defaultdict(int)
        self.most = 0
        self._speed = bytes_per_millisecond

    def send(self, connection: Connection, packet: Packet) -> None:
        super().send(connection, packet)
        self.waiting[connection] += packet.size
        self.most = max(self.most, self.waiting[connection])
        if self.waiting[connection] > MAX_BUFFER:
            connection.end_reason = DisconnectReason.SLOW

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        for connection in connections:
            self.send(connection, packet)

    def congested(self, connection: Connection) -> bool:
        return self.waiting[connection] > CHOKED

    async def read(self) -> None:
        """Let the clients read, for ever."""
        while True:
            await asyncio.sleep(0.001)
            for connection in self.waiting:
                self.waiting[connection] = max(0, self.waiting[connection] - self._speed)


@pytest.fixture
async def narrow(nats_url: str, namespace: str) -> AsyncIterator[Gateway]:
    """A gateway whose clients have a narrow line: 256 Mbit/s here, so that the test takes no longer than others."""
    async with running_bus(nats_url, "gateway") as bus:
        gateway = Gateway(bus, namespace)
        sockets = NarrowSockets(32 * 1024)
        gateway.sockets, gateway.fanout = sockets, Fanout(bus, sockets, {}, [namespace])
        await gateway.fanout.start()
        reading = asyncio.create_task(sockets.read())
        yield gateway
        reading.cancel()
        await gateway.fanout.close()


async def test_a_slow_client_that_missed_megabytes_in_many_rooms_arrives_and_is_not_cut_off(log: Log, narrow: Gateway):
    ann = await narrow.connect()
    rooms = [f"room {number}" for number in range(40)]
    for room in rooms:
        log.append(30, room, size=10_000)
        narrow.fanout.enter(ann, room, head=30, after=0)
    await until(lambda: len(narrow.sockets.sequences(ann)) == 40 * 30 or ann.end_reason, seconds=30)
    assert not ann.end_reason
    sockets = narrow.sockets
    assert isinstance(sockets, NarrowSockets)
    assert sockets.most < 4 * CHOKED, "only a little is on its way"
    assert sorted(sockets.sequences(ann)) == sorted([*range(1, 31)] * 40)
    await until(lambda: not background("catch up"))
    await log.publish(log.append(room="room 7"), room="room 7")
    await until(lambda: len(sockets.sequences(ann)) == 40 * 30 + 1)


async def test_members_who_missed_the_same_share_what_is_read(log: Log, gateway: Gateway):
    log.append(100)
    members = [await gateway.connect() for _ in range(50)]
    for number, member in enumerate(members):
        gateway.fanout.enter(member, ROOM, head=100, after=50 + number % 10)
    for number, member in enumerate(members):
        await gateway.receives(member, [*range(51 + number % 10, 101)])
    assert log.replays <= 10


async def test_kept_pages_are_given_back(log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_reader, "KEPT_SECONDS", 0.05)
    log.append(5)
    await gateway.member(head=5, after=0)
    await until(lambda: not background("catch up"))
    reader = gateway.fanout._log
    await until(lambda: not reader._kept)
    assert reader._kept_bytes == 0


async def test_however_many_rooms_are_read_only_so_many_requests_are_under_way(log: Log, gateway: Gateway):
    log.gate.clear()
    for number in range(100):
        log.append(3, f"room {number}")
        for _ in range(2):
            connection = await gateway.connect()
            gateway.fanout.enter(connection, f"room {number}", head=3, after=0)
    await until(lambda: log.replays >= log_reader.REPLAYS)
    await gateway.settled()
    assert log.replays == log_reader.REPLAYS
    log.gate.set()
    await until(lambda: not background("catch up"))
    assert sum(len(sent) for sent in gateway.sockets.written.values()) == 600


async def test_after_an_outage_rooms_are_repaired_a_few_at_a_time_and_it_is_logged_once(
    log: Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    for module in (repair, catch_up, heads):
        monkeypatch.setattr(module, "RETRY", 0.05)
    rooms = [f"room {number}" for number in range(100)]
    members = [await gateway.member(room, head=0) for room in rooms]
    for room in rooms:
        log.append(2, room)
    log.gate.clear()
    with capture_logs() as logged:
        log.away = True
        await log.beacon(*rooms)
        await until(lambda: log.replays > 2 * repair.WORKERS)
        log.away = False
        await until(lambda: log.held == repair.WORKERS)
        await gateway.settled()
        assert log.held == repair.WORKERS
        log.gate.set()
        for member in members:
            await gateway.receives(member, [1, 2])
    assert len([entry for entry in logged if entry["event"] == "cannot read the log, trying again"]) == 1


async def test_members_that_catch_up_hold_up_no_repair(log: Log, gateway: Gateway):
    log.gate.clear()
    for number in range(log_reader.REPLAYS + 10):
        log.append(3, f"room {number}")
        connection = await gateway.connect()
        gateway.fanout.enter(connection, f"room {number}", head=3, after=0)
    await until(lambda: log.replays == log_reader.REPLAYS)
    await gateway.member(head=0)
    log.append()
    await log.beacon(ROOM)
    await until(lambda: log.replays == log_reader.REPLAYS + 1)
    log.gate.set()
    await until(lambda: not background("catch up", "repair"))
