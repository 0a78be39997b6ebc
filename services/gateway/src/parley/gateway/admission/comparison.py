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

    def __init__(self, bus: Bus, connections: ConnectionRegistry, seen_off: Callable[[Connection], object]) -> None:
        """`seen_off` ends a connection that its service took for gone, so that a stock client reconnects."""
        self._bus = bus
        self._connections = connections
        self._seen_off = seen_off

    async def start(self) -> None:
        """Begin to answer."""
        subject = subjects.compare(self._bus.address)
        await self._bus.respond(subject, CompareConnections, self._compare, queue=self._bus.instance)

    async def _compare(self, question: CompareConnections) -> ComparedConnections:
        here = self._found(question.namespace, {*question.held, *question.ended})
        seen_off = [here[sid] for sid in question.ended if sid in here]
        for connection in seen_off:
            self._seen_off(connection)
        if seen_off:
            log.warning("a service took us for gone", namespace=question.namespace, connections=len(seen_off))
        return ComparedConnections([sid for sid in question.held if sid not in here])

    def _found(self, namespace: str, sids: set[str]) -> dict[str, Connection]:
        found: dict[str, Connection] = {}
        for sid in sids:
            connection = self._connections.get(sid)
            if connection is not None and connection.namespace == namespace and connection.ended is None:
                found[sid] = connection
        return found
