"""Tells services which of the connections that they know are still here.

The end of a connection is published once. So a service compares what it knows with what its gateways have: after a
gateway was silent, and now and then for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.wire import subjects
from parley.common.wire.connections import CompareConnections, ComparedConnections
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry

log = get_logger(__name__)


class Comparison:
    """Answers services that ask about their connections."""

    def __init__(
        self, bus: Bus, connections: ConnectionRegistry, end_presumed_gone: Callable[[Connection], object]
    ) -> None:
        """`end_presumed_gone` ends a connection that its service took for gone, so that a stock client reconnects."""
        self._bus = bus
        self._connections = connections
        self._end_presumed_gone = end_presumed_gone

    async def start(self) -> None:
        """Begin to answer."""
        subject = subjects.compare(self._bus.run_address)
        await self._bus.respond(subject, CompareConnections, self._compare, queue=self._bus.instance)

    async def _compare(self, question: CompareConnections) -> ComparedConnections:
        here = self._found(question.namespace, {*question.held, *question.ended})
        presumed_gone = [here[sid] for sid in question.ended if sid in here]
        for connection in presumed_gone:
            self._end_presumed_gone(connection)
        if presumed_gone:
            log.warning("a service took us for gone", namespace=question.namespace, connections=len(presumed_gone))
        return ComparedConnections([sid for sid in question.held if sid not in here])

    def _found(self, namespace: str, sids: set[str]) -> dict[str, Connection]:
        found: dict[str, Connection] = {}
        for sid in sids:
            connection = self._connections.get(sid)
            if connection is not None and connection.namespace == namespace and connection.end_reason is None:
                found[sid] = connection
        return found
