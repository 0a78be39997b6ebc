"""Acks of what a service emits: which clients owe one, and what they answered.

Answers are reported to the asker once per turn of the loop. An emit has one ack id on a gateway, so that it is one
packet for all its receivers.
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
"""Acks that one connection may owe. It is not asked for more."""
MAX_REPORT_BYTES = 512 * 1024
"""Bytes at which a report is split, to stay below NATS' limit."""
OVERHEAD = 16
"""Bytes counted for an ack besides its arguments, and for each of its attachments."""


@dataclass(slots=True)
class _PendingAck:
    inbox: str
    owing: set[Connection]
    timer: asyncio.TimerHandle


class ClientAcks:
    """The acks that clients still owe."""

    def __init__(self, bus: Bus) -> None:
        self._gateway = bus.run_address
        # A client may answer late, and on a transport to another gateway. Ids begin at random in each run, so that an
        # answer to an earlier run or another gateway matches nothing here.
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
            # A report that is too large: the asker is still told how many were asked, and that one does not answer.
            replace=lambda report: ClientAckReport(report.gateway, report.matched, [], report.lost + 1),
        )

    async def close(self) -> None:
        """Stop the timeouts, and what is being sent."""
        for pending in self._pending.values():
            pending.timer.cancel()
        await self._tasks.close()

    def ask(self, connections: Collection[Connection], inbox: str, timeout: float) -> tuple[int, list[Connection]]:
        """Expect acks from connections. Returns the ack id, and those of the connections that may be asked."""
        ack_id = next(self._ids)
        asked = [connection for connection in connections if len(self._owed.get(connection, ())) < MAX_OWED]
        # The inbox is told this before any answer, and also if nobody was asked: the asker waits for it.
        self._report(inbox, matched=len(connections), lost=len(connections) - len(asked))
        if asked:
            timer = asyncio.get_running_loop().call_later(timeout, self._give_up, ack_id)
            self._pending[ack_id] = _PendingAck(inbox, set(asked), timer)
            for connection in asked:
                # By connection as well, so that its end settles all that it owes without a search.
                self._owed.setdefault(connection, set()).add(ack_id)
        return ack_id, asked

    def answered(self, connection: Connection, packet: AckPacket) -> None:
        """Record a client's ack. Late, repeated and unsolicited acks are ignored."""
        pending = self._pending.get(packet.ack_id)
        # Ids can be guessed. An ack counts only from a connection that was asked, and once.
        if pending is None or connection not in pending.owing:
            return
        self._forget(connection, packet.ack_id)
        self._settle(connection, packet.ack_id, pending)
        self._report(pending.inbox, answers=[ClientAck(packet.args, packet.attachments)])

    def lost(self, connection: Connection) -> None:
        """Note that a connection is gone and will answer nothing."""
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
        # The asker has the same timeout, so it is told nothing.
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
        """Merge reports to one inbox into one."""
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
