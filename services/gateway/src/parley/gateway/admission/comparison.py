"""Telling services which of the connections that they know are still here.

That a connection has gone is told once. A service therefore compares what it believes with what its gateways have: when
one was silent, and now and then for ever.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.logs import get_logger
from parley.common.wire.connections import CompareConnections, ComparedConnections
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.registry import ConnectionRegistry

log = get_logger(__name__)


class Comparison:
    """Answers services what has become of connections."""

    def __init__(
        self, bus: Bus, address: str, connections: ConnectionRegistry, drop: Callable[[Connection], object]
    ) -> None:
        """`drop` ends a connection's transport so that a stock client comes back."""
        self._bus = bus
        self._address = address
        self._connections = connections
        self._drop = drop

    async def start(self) -> None:
        """Begin to answer."""
        subject = subjects.compare(self._address)
        await self._bus.respond(subject, CompareConnections, self._compare, queue=self._address)

    async def _compare(self, question: CompareConnections) -> ComparedConnections:
        here = self._found(question.namespace, {*question.held, *question.ended})
        seen_off = [here[sid] for sid in question.ended if sid in here]
        for connection in seen_off:
            # The service has heard of its end, from itself; its clients have not.
            connection.admitted = msgspec.structs.replace(connection.admitted, notices=())
            self._drop(connection)
        if seen_off:
            log.warning("a service took us for gone", namespace=question.namespace, connections=len(seen_off))
        return ComparedConnections([sid for sid in question.held if sid not in here])

    def _found(self, namespace: str, sids: set[str]) -> dict[str, Connection]:
        """The connections here that were admitted with these sids."""
        found: dict[str, Connection] = {}
        for sid in sids:
            connection = self._connections.get(sid)
            if connection is not None and connection.opening == sid and _is_here(connection, namespace):
                found[sid] = connection
        if len(found) < len(sids):
            # One that was recovered goes on under another sid.
            found |= {c.opening: c for c in self._connections if c.opening in sids and _is_here(c, namespace)}
        return found


def _is_here(connection: Connection, namespace: str) -> bool:
    return connection.namespace == namespace and not connection.ended
