"""Acks of what a service emits: which clients owe one, and what they answered, gathered per tick for who asked.

One emit has one ack id on a gateway, so that it is one packet for all its receivers.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from parley.common.nats.bus import Bus
from parley.common.nats.outbox import Outbox
from parley.common.process.tasks import Tasks
from parley.common.wire.operations import ClientAck, ClientAckReport
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.packets import AckPacket

MAX_OWED = 256
"""Acks that one connection may owe; beyond it it is not asked."""
MAX_REPORT_BYTES = 512 * 1024
"""A report is cut here, to stay below the broker's message limit."""
OVERHEAD = 16
"""Bytes counted for an ack besides its arguments, and for each of its attachments."""


@dataclass(slots=True)
class _PendingAck:
    inbox: str
    owing: set[Connection]
    timer: asyncio.TimerHandle


class ClientAcks:
    """The acks that clients have not given yet."""

    def __init__(self, bus: Bus) -> None:
        self._gateway = bus.address
        # A client answers late, and on whatever transport it has by then: ids begin at random in each run, so that an
        # answer to an earlier run, or to another gateway, finds no question here.
        self._ids = itertools.count(secrets.randbits(40))
        self._pending: dict[int, _PendingAck] = {}
        self._owed: dict[Connection, set[int]] = {}
        self._tasks = Tasks()
        self._reports = Outbox[ClientAckReport](
            bus,
            self._tasks,
            "ack reports",
            encode=self._encode,
            weigh=_weight,
            max_bytes=MAX_REPORT_BYTES,
            # Who asked is told how many it asked all the same, and that this one does not answer.
            replace=lambda report: ClientAckReport(report.gateway, report.matched, [], report.lost + 1),
        )

    async def close(self) -> None:
        """Stop what still runs."""
        for pending in self._pending.values():
            pending.timer.cancel()
        await self._tasks.close()

    def ask(self, connections: Collection[Connection], inbox: str, timeout: float) -> tuple[int, list[Connection]]:
        """Expect acks from connections: under this id, and from these of them."""
        ack_id = next(self._ids)
        asked = [connection for connection in connections if len(self._owed.get(connection, ())) < MAX_OWED]
        # The first thing that this inbox is told, even when it is that nobody was asked.
        self._report(inbox, matched=len(connections), lost=len(connections) - len(asked))
        if asked:
            timer = asyncio.get_running_loop().call_later(timeout, self._give_up, ack_id)
            self._pending[ack_id] = _PendingAck(inbox, set(asked), timer)
            for connection in asked:
                self._owed.setdefault(connection, set()).add(ack_id)
        return ack_id, asked

    def answered(self, connection: Connection, packet: AckPacket) -> None:
        """Record a client's ack. Late, repeated and unsolicited acks are ignored."""
        pending = self._pending.get(packet.ack_id)
        if pending is None or connection not in pending.owing:
            return
        self._forget(connection, packet.ack_id)
        self._settle(connection, packet.ack_id, pending)
        self._report(pending.inbox, answers=[ClientAck(packet.args, packet.attachments)])

    def lost(self, connection: Connection) -> None:
        """A connection is gone, and answers nothing any more."""
        for ack_id in self._owed.pop(connection, ()):
            pending = self._pending[ack_id]
            self._settle(connection, ack_id, pending)
            self._report(pending.inbox, lost=1)

    def _settle(self, connection: Connection, ack_id: int, pending: _PendingAck) -> None:
        pending.owing.discard(connection)
        if not pending.owing:
            pending.timer.cancel()
            del self._pending[ack_id]

    def _give_up(self, ack_id: int) -> None:
        # Who asked has the same timeout, so nobody is told.
        for connection in self._pending.pop(ack_id).owing:
            self._forget(connection, ack_id)

    def _forget(self, connection: Connection, ack_id: int) -> None:
        owed = self._owed[connection]
        owed.discard(ack_id)
        if not owed:
            del self._owed[connection]

    # -- reports ---------------------------------------------------------------------------------------------------

    def _report(self, inbox: str, matched: int = 0, answers: Sequence[ClientAck] = (), lost: int = 0) -> None:
        self._reports.add(inbox, ClientAckReport(self._gateway, matched, list(answers), lost))

    def _encode(self, reports: Sequence[ClientAckReport]) -> bytes:
        """One report that says what some say together."""
        return ClientAckReport(
            self._gateway,
            sum(report.matched for report in reports),
            [answer for report in reports for answer in report.answers],
            sum(report.lost for report in reports),
        ).encode()


def _weight(report: ClientAckReport) -> int:
    return 1 + sum(
        OVERHEAD + len(answer.args) + sum(OVERHEAD + len(attachment) for attachment in answer.attachments)
        for answer in report.answers
    )
