"""Lost connections that wander between gateways: each gateway lets go of what it does not have any more."""

from __future__ import annotations

from parley.common.nats.bus import Bus
from parley.common.wire.recovery import Recover
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.namespaces import Namespace
from parley.gateway.recovery.packet_history import PacketHistory
from parley.gateway.recovery.recovery import Recovery, RecoveryToken
from tests.support.bus import fresh
from tests.support.gateway.rooms import another
from tests.support.waiting import until


class Rooms:
    """What the fanout does for lost connections, and which it has let go of."""

    def __init__(self) -> None:
        self.left: list[Connection] = []
        self.heads: dict[str, int] = {}

    def park(self, connection: Connection) -> dict[str, int]:
        """Everybody may come back."""
        return dict(self.heads)

    def leave_all(self, connection: Connection) -> None:
        """Take note."""
        self.left.append(connection)


async def holder(bus: Bus, namespace: str) -> tuple[Recovery, Rooms]:
    """The part of a gateway that holds lost connections."""
    rooms = Rooms()
    table = {namespace: Namespace("service", recovery=60)}
    recovery = Recovery(bus, table, {namespace: PacketHistory(bus.run_address)}, rooms)
    await recovery.start()
    await bus.flush()
    return recovery, rooms


async def test_who_came_back_by_way_of_another_gateway_and_is_lost_again_leaves_nothing_behind(bus: Bus, other: Bus):
    namespace = fresh("/n")
    (here, rooms), (elsewhere, _) = await holder(bus, namespace), await holder(other, namespace)
    first = another(namespace)

    async def comes_back(to: Recovery) -> Connection:
        found = await to.find(namespace, first.identity.user_id, RecoveryToken(first.pid, ""))
        assert found is not None
        await to.claim(found, first.identity.user_id)
        connection = another(namespace, first.identity)
        to.begin(connection, first.pid)
        return connection

    here.begin(first, "")
    assert here.lose(first, recoverable=True)
    second = await comes_back(elsewhere)
    assert elsewhere.lose(second, recoverable=True)
    third = await comes_back(here)
    assert here.lose(third, recoverable=True)
    await until(lambda: rooms.left == [first])
    assert here.parked == [third]
    for recovery in (here, elsewhere):
        await recovery.close()


async def test_an_offset_of_a_stay_elsewhere_says_nothing_of_what_its_client_has(bus: Bus):
    """An attempt that its client had given up took the connection here, while the client went on elsewhere."""
    namespace = fresh("/n")
    here, _ = await holder(bus, namespace)
    found: list[bool] = []
    for offset in ("elsewhere-7", "elsewhere-8"):
        connection = another(namespace)
        here.begin(connection, "", "elsewhere-7")
        assert here.lose(connection, recoverable=True)
        question = Recover(bus.run_address, namespace, connection.identity.user_id, connection.pid, offset, "look")
        found.append(bool(here._on_recover(question).sid))
    assert found == [True, False]
    await here.close()


async def test_who_entered_ahead_of_the_gateway_lacks_nothing_of_what_others_were_sent_later(bus: Bus):
    namespace = fresh("/n")
    here, rooms = await holder(bus, namespace)
    connection = another(namespace)
    here.begin(connection, "", "")
    connection.ahead = {"room": 11}
    rooms.heads = {"room": 12}
    for sequence in (9, 10, 11):
        here._histories[namespace].add(("room",), sequence=sequence)
    offset = here._histories[namespace].add(("room",), sequence=12)
    assert here.lose(connection, recoverable=True)
    for received, has in (("", 11), (offset, 12)):
        question = Recover(bus.run_address, namespace, connection.identity.user_id, connection.pid, received, "claim")
        assert here._on_recover(question).cursors == {"room": has}
        connection.state = ConnectionState.PARKED
        here.begin(connection, connection.pid, "")
        connection.first_offset = 0
        assert here.lose(connection, recoverable=True)
    await here.close()
