"""Acks of what a service emits: which clients owe one, and what they answered, gathered per tick for who asked.

One emit has one ack id on a gateway, so that it is one packet for all its receivers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from parley.common.bus import Bus
from parley.common.errors import Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.common.wire.operations import ClientAck, ClientAckReport
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.packets import AckPacket

log = get_logger(__name__)

MAX_OWED = 256
"""Acks that one connection may owe; beyond it it is not asked."""
MAX_REPORT_BYTES = 512 * 1024
"""A report is cut here, to stay below the broker's message limit."""


@dataclass(slots=True)
class _Question:
    inbox: str
    owing: set[Connection]
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _News:
    """What one inbox is to be told at the end of this tick."""

    asked: int = 0
    answers: list[ClientAck] = field(default_factory=list[ClientAck])
    lost: int = 0


class ClientAcks:
    """The questions that clients have not answered yet."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ids = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._owed: dict[Connection, set[int]] = {}
        self._news: dict[str, _News] = {}
        self._reporting = False
        self._tasks = Tasks()

    async def close(self) -> None:
        """Stop what still runs."""
        for question in self._questions.values():
            question.timer.cancel()
        await self._tasks.close()

    def ask(self, connections: Collection[Connection], inbox: str, timeout: float) -> tuple[int, list[Connection]]:
        """Expect acks from connections: under this id, and from these of them."""
        ack_id = next(self._ids)
        asked = [connection for connection in connections if len(self._owed.get(connection, ())) < MAX_OWED]
        news = self._news_for(inbox)
        news.asked += len(connections)
        news.lost += len(connections) - len(asked)
        if asked:
            timer = asyncio.get_running_loop().call_later(timeout, self._give_up, ack_id)
            self._questions[ack_id] = _Question(inbox, set(asked), timer)
            for connection in asked:
                self._owed.setdefault(connection, set()).add(ack_id)
        return ack_id, asked

    def answered(self, connection: Connection, packet: AckPacket) -> None:
        """A client answered; too late, twice, or what it was never asked, that is nothing."""
        question = self._questions.get(packet.ack_id)
        if question is None or connection not in question.owing:
            return
        self._forget(connection, packet.ack_id)
        self._settle(connection, packet.ack_id, question)
        self._news_for(question.inbox).answers.append(ClientAck(packet.args, packet.attachments))

    def lost(self, connection: Connection) -> None:
        """A connection is gone, and answers nothing any more."""
        for ack_id in self._owed.pop(connection, ()):
            question = self._questions[ack_id]
            self._settle(connection, ack_id, question)
            self._news_for(question.inbox).lost += 1

    def _settle(self, connection: Connection, ack_id: int, question: _Question) -> None:
        question.owing.discard(connection)
        if not question.owing:
            question.timer.cancel()
            del self._questions[ack_id]

    def _give_up(self, ack_id: int) -> None:
        # Who asked has the same timeout, so nobody is told.
        for connection in self._questions.pop(ack_id).owing:
            self._forget(connection, ack_id)

    def _forget(self, connection: Connection, ack_id: int) -> None:
        owed = self._owed[connection]
        owed.discard(ack_id)
        if not owed:
            del self._owed[connection]

    # -- reports ---------------------------------------------------------------------------------------------------

    def _news_for(self, inbox: str) -> _News:
        if not self._reporting:
            self._reporting = True
            # A task runs on the next tick, when all news of this one have been gathered.
            self._tasks.spawn(self._report(), name="ack reports")
        return self._news.setdefault(inbox, _News())

    async def _report(self) -> None:
        try:
            while self._news:
                gathered, self._news = self._news, {}
                for inbox, news in gathered.items():
                    for report in _cut(self._bus.instance, news):
                        await self._send(inbox, report)
        finally:
            self._reporting = False

    async def _send(self, inbox: str, report: ClientAckReport) -> None:
        try:
            await self._bus.publish(inbox, report.encode())
        except Reject as rejection:
            log.warning("acks not reported", code=str(rejection.code), answers=len(report.answers))


def _cut(gateway: str, news: _News) -> Iterator[ClientAckReport]:
    asked, lost = news.asked, news.lost
    chunk: list[ClientAck] = []
    size = 0
    for acked in news.answers:
        weight = len(acked.args) + sum(map(len, acked.attachments))
        if chunk and size + weight > MAX_REPORT_BYTES:
            yield ClientAckReport(gateway, asked, chunk, lost)
            asked, lost, chunk, size = 0, 0, [], 0
        chunk.append(acked)
        size += weight
    yield ClientAckReport(gateway, asked, chunk, lost)
